"""The first boot: first-boot.sh itself, on a board that is a folder, the power cut wherever it may go."""

from __future__ import annotations

import hashlib
import stat
from dataclasses import replace
from pathlib import Path

import pytest

from fleet.provision.formats import wifi_key
from fleet.provision.systems import Os
from tests.support.cards import BOOKWORM, KEY, LOCKED, PLAIN, SSID, TOKEN, TRIXIE
from tests.support.scratch_board import Board

PASSWORD = 'pa"ss \\xx: #1"'
CARD = replace(LOCKED, ssh_key=KEY, wifi_ssid="net", wifi_password=PASSWORD, wifi_country="DE")
#: As it stands in a file: JSON's quotes.
SECRETS = (TOKEN, r"pa\"ss", wifi_key("net", PASSWORD))


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


def test_a_card_becomes_a_serving_device(board: Board) -> None:
    board.insert(CARD, TRIXIE)
    assert board.run() == 0, board.errors
    assert (board.root / "opt/edgeflock/venv/whole").exists()
    assert (board.state / "identity.pem").read_text() == f"made with {TOKEN}\n"
    assert "systemctl enable edgeflock.service" in board.calls
    told = [line.split(" s) ", 1)[1] for line in board.log.splitlines()]
    assert told == [
        "system files: laid out",
        "SSH: the key on the card may log in as fleet",
        "claim-token: is in the state folder",
        "runtime: installing from the package index",
        "runtime: installed from the package index",
        "agent: runs",
        "scrubbed: claim-token.used",
        "scrubbed: the password in network-config",
        "enrolled: yes",
        "served: not yet; a model comes with the first push",
        "done",
    ]


def test_the_second_boot_does_nothing(board: Board) -> None:
    board.insert(CARD, TRIXIE)
    board.run()
    log, calls = board.log, board.calls
    assert board.boot_again() == 0
    assert (board.log, board.calls) == (log, calls)


@pytest.mark.parametrize(
    ("files", "system"),
    [(TRIXIE, None), (BOOKWORM, None), (BOOKWORM, Os.BOOKWORM_TOML), (TRIXIE, Os.PRESEED)],
)
def test_no_secret_stays_on_the_card(board: Board, files: dict[str, str], system: Os | None) -> None:
    board.insert(CARD, files, system)
    assert board.on_card(*SECRETS)
    cmdline = board.boot / "cmdline.txt"
    cmdline.write_text(cmdline.read_text().replace("systemd.run=", "done="))  # as firstrun.sh ends
    assert board.run() == 0, board.errors
    assert board.on_card(*SECRETS) == []


def test_scrubbing_changes_no_length_and_nothing_else(board: Board) -> None:
    board.insert(replace(CARD, wifi_ssid=SSID), TRIXIE)
    before = (board.boot / "network-config").read_text()
    board.run()
    now = (board.boot / "network-config").read_text()
    assert len(now) == len(before)
    [(old, new)] = {*zip(before.splitlines(), now.splitlines(), strict=True)} - {
        (line, line) for line in before.splitlines()
    }
    assert new.strip() == f'password: "{"x" * (len(old.strip()) - len("password: ") - 2)}"'


def test_firstrun_stays_while_the_system_has_yet_to_run_it(board: Board) -> None:
    board.insert(CARD, BOOKWORM)
    board.run()
    assert board.on_card(SECRETS[2]) == ["firstrun.sh"]


@pytest.mark.parametrize("end", ["\n", ""], ids=["ended", "without its line's end"])
def test_the_words_for_firstrun_become_blanks_in_the_same_bytes(board: Board, end: str) -> None:
    board.insert(CARD, BOOKWORM)
    cmdline = board.boot / "cmdline.txt"
    armed = cmdline.read_text().rstrip("\n") + " quiet" + end
    assert "systemd.run=" in armed
    cmdline.write_text(armed)
    inode = cmdline.stat().st_ino
    assert board.run("disarm") == 0, board.errors
    disarmed = cmdline.read_text()
    assert (len(disarmed), cmdline.stat().st_ino) == (len(armed), inode)
    assert disarmed.split() == [word for word in armed.split() if not word.startswith("systemd.")]
    assert board.run("disarm") == 0, "a second time changes nothing"
    assert cmdline.read_text() == disarmed


def test_a_cut_at_any_moment_loses_nothing_and_the_next_boot_ends_the_same(tmp_path: Path) -> None:
    new = Board(tmp_path / "new")
    new.insert(CARD, TRIXIE)
    whole = new.copy(tmp_path / "whole")
    whole.run()
    for cut in range(1, whole.changes + 1):
        board = new.copy(tmp_path / str(cut))
        board.run(cut=cut)
        held = [board.boot / "edgeflock/claim-token", board.state / "claim-token"]
        enrolled = (board.state / "identity.pem").exists()
        assert enrolled or TOKEN in "".join(path.read_text() for path in held if path.exists()), cut
        if (board.root / "opt/edgeflock/installed").exists():
            assert (board.root / "opt/edgeflock/venv/whole").exists(), cut
        assert board.boot_again() == 0, (cut, board.errors)
        assert board.on_card(*SECRETS) == [], cut
        assert (board.state / "identity.pem").read_text() == f"made with {TOKEN}\n", cut
        assert board.log.splitlines()[-1].endswith("done"), cut


def test_what_is_the_services_is_for_its_account_alone(board: Board) -> None:
    board.touch("no-hub")
    board.insert(CARD, TRIXIE)
    assert board.run() == 0
    token = board.state / "claim-token"
    assert token.read_text() == TOKEN + "\n"
    assert stat.S_IMODE(token.stat().st_mode) == 0o600
    assert stat.S_IMODE(board.state.stat().st_mode) == 0o700
    assert "enrolled: not yet; the agent goes on trying." in board.log


def test_a_used_token_is_forgotten(board: Board) -> None:
    board.insert(CARD, TRIXIE)
    board.run()
    assert not (board.state / "claim-token").exists()


def test_an_identity_made_at_flash_comes_into_use(board: Board) -> None:
    pem = "-----BEGIN PRIVATE KEY-----\nkey\n-----BEGIN CERTIFICATE-----\n"
    board.insert(replace(CARD, claim_token=None, identity=pem), TRIXIE)
    assert board.run() == 0
    identity = board.state / "identity.pem"
    assert identity.read_text() == pem
    assert stat.S_IMODE(identity.stat().st_mode) == 0o600
    assert board.on_card("PRIVATE KEY") == []


def test_what_a_device_has_renewed_is_not_replaced_by_its_card(board: Board) -> None:
    pem = "-----BEGIN PRIVATE KEY-----\nkey\n"
    board.insert(replace(CARD, claim_token=None, identity=pem), TRIXIE)
    card = (board.boot / "edgeflock/identity.pem").read_bytes()
    board.run()
    (board.state / "identity.pem").write_text("renewed")
    (board.boot / "edgeflock/identity.pem").write_bytes(card)  # a card that could not be written to
    board.run()
    assert (board.state / "identity.pem").read_text() == "renewed"


def test_a_new_token_ends_the_certificate_before_it(board: Board) -> None:
    board.insert(CARD, TRIXIE)
    board.run()
    board.insert(replace(CARD, claim_token="another-" + TOKEN), TRIXIE)
    board.run()
    assert (board.state / "identity.pem").read_text() == f"made with another-{TOKEN}\n"


# --- where the runtime comes from ---------------------------------------------------------------


def test_an_image_that_has_the_runtime_needs_nothing(board: Board) -> None:
    (board.root / "opt/edgeflock").mkdir()
    (board.root / "opt/edgeflock/installed").write_text("deb 0.1.0\n")
    board.insert(PLAIN, TRIXIE)
    assert board.run() == 0
    assert not [call for call in board.calls if call.startswith(("pip", "apt-get"))]


def test_a_package_on_the_card_is_installed_and_brings_its_own_unit(board: Board) -> None:
    board.insert(PLAIN, TRIXIE)
    for name in ("edgeflock_0.1.0+deb13_arm64.deb", "edgeflock_0.1.0+deb12_armhf.deb"):
        (board.boot / "edgeflock" / name).touch()
    (board.root / "etc/systemd/system/edgeflock.service").write_bytes(
        (board.boot / "edgeflock/edgeflock.service").read_bytes()
    )
    board.run()
    [call] = [call for call in board.calls if call.startswith("apt-get")]
    assert call.endswith("edgeflock_0.1.0+deb13_arm64.deb")
    assert not (board.root / "etc/systemd/system/edgeflock.service").exists()


def test_wheels_on_the_card_need_no_index(board: Board) -> None:
    board.insert(PLAIN, TRIXIE)
    wheels = board.boot / "edgeflock/wheels"
    wheels.mkdir()
    (wheels / "edgeflock-0.1.0-py3-none-any.whl").write_bytes(b"wheel")
    assert board.run() == 0
    [call] = [call for call in board.calls if call.startswith("pip")]
    assert call.startswith("pip install --quiet --no-index --no-deps /")
    (wheels / "edgeflock-0.1.0-py3-none-any.whl").unlink()
    (wheels / "edgeflock-0.2.0-py3-none-any.whl").write_bytes(b"wheel")
    assert board.run() == 0
    assert ["--dry-run" in call for call in board.calls if call.startswith("pip")] == [False, True, False]


def test_a_damaged_wheel_is_not_installed(board: Board) -> None:
    board.insert(PLAIN, TRIXIE)
    wheels = board.boot / "edgeflock/wheels"
    wheels.mkdir()
    (wheels / "a.whl").write_bytes(b"wheel")
    (wheels / "SHA256SUMS").write_text(f"{'0' * 64}  a.whl\n")
    assert board.run() == 0
    assert "a.whl: FAILED" in board.log
    assert "installed from the package index" in board.log


@pytest.mark.parametrize("why", ["damaged", "no-fit"])
def test_a_runtime_that_works_does_not_give_way_to_wheels_that_do_not_go_in(board: Board, why: str) -> None:
    board.insert(CARD, TRIXIE)
    assert board.run() == 0
    wheels = board.boot / "edgeflock/wheels"
    wheels.mkdir()
    (wheels / "a.whl").write_bytes(b"wheel")
    digest = hashlib.sha256(b"another" if why == "damaged" else b"wheel").hexdigest()
    (wheels / "SHA256SUMS").write_text(f"{digest}  a.whl\n")
    for switch in ("no-index", why):
        board.touch(switch)
    board.insert(replace(CARD, claim_token="another-" + TOKEN), TRIXIE)
    assert [board.run() for _ in range(2)] == [1, 0], "not a try a minute for ever"
    assert (board.root / "opt/edgeflock/installed").exists()
    assert (board.root / "opt/edgeflock/venv/whole").exists()
    assert not [call for call in board.calls if call == "systemctl stop edgeflock.service"][1:]
    assert "what is on the card cannot be installed; the one before it stays" in board.log
    assert (board.state / "identity.pem").read_text() == f"made with another-{TOKEN}\n"
    assert board.on_card(TOKEN) == []


def test_without_an_index_it_is_told_why_and_tried_again(board: Board) -> None:
    board.touch("no-index")
    board.insert(CARD, TRIXIE)
    assert board.run() == 1
    assert "no route to the index" in board.log
    assert board.log.splitlines()[-1].endswith("runtime: not installed; trying again")
    assert board.on_card(TOKEN) == ["claim-token"]
    (board.folder / "no-index").unlink()
    assert board.run() == 0


def test_a_32_bit_board_takes_numpy_from_its_system(board: Board) -> None:
    board.insert(PLAIN, BOOKWORM)
    (board.folder / "bin/python3").write_text('#!/bin/sh\necho "$@" > "$BOARD/venv-arguments"; exit 1\n')
    board.run(architecture="armhf")
    assert "--system-site-packages" in (board.folder / "venv-arguments").read_text()


# --- the rest -----------------------------------------------------------------------------------


def test_an_agent_that_does_not_run_leaves_the_secrets_and_its_last_words(board: Board) -> None:
    board.touch("broken")
    board.insert(CARD, TRIXIE)
    assert board.run() == 1
    assert [line.split(" s) ", 1)[1] for line in board.log.splitlines()[-2:]] == [
        "agent: failed; its last words:",
        "  the agent said why",
    ]
    assert TOKEN in (board.boot / "edgeflock/claim-token").read_text()


def test_a_device_that_fails_for_days_does_not_fill_its_card(board: Board) -> None:
    board.touch("no-index")
    board.insert(CARD, TRIXIE)
    board.run()
    tries = board.root / "run/edgeflock-first-boot.tries"
    for count, grows in ((1, True), (7, False), (59, True)):
        before = board.log
        tries.write_text(str(count))
        assert board.run() == 1
        assert (board.log != before) is grows
    (board.boot / "edge-firstboot.log").write_text("a line\n" * 10_000)
    board.run()
    assert len(board.log.splitlines()) < 300


def test_a_host_is_called_as_the_device_is(board: Board) -> None:
    board.insert(replace(PLAIN, name="Pi_{serial}"), TRIXIE)
    (board.root / "proc/device-tree").mkdir()
    (board.root / "proc/device-tree/serial-number").write_bytes(b"10000000DEADBEEF\0")
    assert board.run() == 0, board.errors
    assert (board.root / "etc/hostname").read_text() == "pi-10000000deadbeef\n"
    assert "127.0.1.1\tpi-10000000deadbeef\n" in (board.root / "etc/hosts").read_text()


def test_a_root_in_memory_is_left_alone(board: Board) -> None:
    (board.folder / "root-type").write_text("overlay\n")
    board.insert(CARD, TRIXIE)
    assert board.run() == 0
    assert board.calls == []


def test_the_key_is_put_in_once_and_can_be_taken_out(board: Board) -> None:
    board.insert(CARD, TRIXIE)
    board.run()
    keys = board.root / "home/fleet/.ssh/authorized_keys"
    assert keys.read_text() == KEY + "\n"
    keys.write_text("")
    board.run()
    assert keys.read_text() == ""


def test_keys_that_are_there_stay_whole_and_missing_ones_are_added(board: Board) -> None:
    board.insert(CARD, TRIXIE)
    keys = board.root / "home/fleet/.ssh/authorized_keys"
    keys.parent.mkdir()
    keys.write_text("ssh-ed25519 AAAA somebody")  # without an end, as a power cut leaves it
    assert board.run() == 0, board.errors
    assert keys.read_text() == f"ssh-ed25519 AAAA somebody\n{KEY}\n"


def test_the_script_is_enabled_by_what_starts_it(board: Board) -> None:
    board.insert(PLAIN, TRIXIE)
    assert board.run("start") == 0
    assert (board.root / "etc/systemd/system/edgeflock-first-boot.service").exists()
    assert board.run("start") == 0, "at each boot, by cloud-init"
    assert [call for call in board.calls if "is-enabled" not in call] == [
        "systemctl daemon-reload",
        "systemctl enable edgeflock-first-boot.service",
        "systemctl start --no-block edgeflock-first-boot.service",
    ]
    assert board.run("nonsense") == 2


def test_a_system_without_an_ssh_daemon_serves_all_the_same(board: Board) -> None:
    (board.folder / "bin/systemctl").write_text(
        (board.folder / "bin/systemctl").read_text().replace('case "$*" in', 'case "$*" in\n*ssh) exit 1 ;;')
    )
    board.insert(CARD, TRIXIE)
    assert [board.run() for _ in range(3)] == [1, 1, 0]
    assert board.on_card(*SECRETS) == []
    assert (board.state / "identity.pem").exists()
    assert "SSH: the key was not put in its place" in board.log


def test_what_a_cut_has_left_of_a_scrubbed_file_is_removed(board: Board) -> None:
    board.insert(CARD, TRIXIE)
    (board.boot / "edgeflock/claim-token.used").touch()
    assert board.run() == 0
    assert not list(board.boot.rglob("*.used"))


def test_a_secret_is_renamed_on_the_card_before_its_first_byte_is_overwritten(board: Board) -> None:
    board.insert(CARD, TRIXIE)
    board.run()
    renamed = board.step("mv ", "claim-token.used")
    assert renamed < board.step("sync ", "/boot/firmware/edgeflock") < board.step("dd ", "claim-token.used")


@pytest.mark.parametrize("noted", ["system.tar", "authorized_keys"])
def test_what_is_noted_as_done_is_on_the_disk(board: Board, noted: str) -> None:
    board.insert(CARD, TRIXIE)
    board.run()
    at = board.step("install ", f"opt/edgeflock/{noted}")
    assert board.steps[at - 1].split() == ["sync"]


def test_a_cut_leaves_no_host_with_two_names(tmp_path: Path) -> None:
    new = Board(tmp_path / "new")
    new.insert(replace(PLAIN, name="Pi_{serial}"), TRIXIE)
    (new.root / "proc/device-tree").mkdir()
    (new.root / "proc/device-tree/serial-number").write_bytes(b"10000000DEADBEEF\0")
    whole = new.copy(tmp_path / "whole")
    whole.run()
    named = whole.step("hostnamectl ") + 1
    for cut in range(named - 1, named + 3):
        board = new.copy(tmp_path / str(cut))
        board.run(cut=cut)
        board.boot_again()
        assert (board.root / "etc/hostname").read_text() == "pi-10000000deadbeef\n", cut
        assert "127.0.1.1\tpi-10000000deadbeef\n" in (board.root / "etc/hosts").read_text(), cut


def test_a_cut_lets_no_secret_leave_the_card_before_the_agent_ran_with_it(tmp_path: Path) -> None:
    old, new = Board(tmp_path / "old"), f"another-{TOKEN}"
    old.insert(CARD, TRIXIE)
    old.run()
    old.insert(replace(CARD, claim_token=new), TRIXIE)
    whole = old.copy(tmp_path / "whole")
    before = len(whole.steps)
    whole.run()
    restarted = whole.step("systemctl restart", after=before) - before
    for cut in range(restarted - 12, restarted + 2):
        board = old.copy(tmp_path / str(cut))
        board.run(cut=cut)
        board.touch("broken")
        assert board.boot_again() == 1, cut
        assert board.on_card(new) == ["claim-token"], cut
