"""A mounted boot partition becomes a device: rendering, writing, the command, and the unit itself."""

from __future__ import annotations

import argparse
import errno
import json
import re
import shutil
import subprocess
import tomllib
from dataclasses import replace
from pathlib import Path

import pytest

from edge.settings_file import load as load_settings
from fleet.provision import app, templates
from fleet.provision.adapters import mounted_folder
from fleet.provision.adapters.mounted_folder import MountedFolder
from fleet.provision.card import DeviceCard
from fleet.provision.cli import add_parser
from fleet.provision.systems import Os
from tests.support.cards import (
    CA,
    CMDLINE,
    FULL,
    KEY,
    LOCKED,
    PLAIN,
    ROOT_JSON,
    SSID,
    TOKEN,
    TRIXIE,
    UBUNTU,
    lay,
)
from wire.adapters.files import write_atomic
from wire.errors import SettingsError, UnavailableError

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


@pytest.fixture
def boot(tmp_path: Path) -> Path:
    """A boot partition as a stock image has it."""
    return lay(tmp_path / "bootfs", TRIXIE)


@pytest.fixture
def own_templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of firmware-config that a test may spoil."""
    folder = tmp_path / "firmware-config"
    shutil.copytree(templates.locate(), folder)
    monkeypatch.setattr(templates, "locate", lambda: folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def flash(boot: Path, card: DeviceCard, *, force: bool = False, system: Os | None = None) -> list[str]:
    return list(app.flash(MountedFolder(boot), card, force=force, system=system))


def after(text: str, start: str) -> str:
    """Return the rest of the one line that begins with `start`."""
    [line] = [line for line in text.splitlines() if line.startswith(start)]
    return line.removeprefix(start)


# --- writing ------------------------------------------------------------------------------------


def test_flash_writes_the_device_and_touches_cmdline_last(boot: Path) -> None:
    before = contents(boot)
    written = flash(boot, PLAIN)
    now = contents(boot)
    assert {*written} == {name for name in now if now[name] != before.get(name)}
    assert written[-1] == "cmdline.txt"


def test_flashing_twice_changes_nothing(boot: Path) -> None:
    flash(boot, FULL)
    first = contents(boot)
    assert flash(boot, FULL) == []
    assert contents(boot) == first


def test_flashing_another_device_leaves_nothing_of_the_first(boot: Path) -> None:
    flash(boot, replace(LOCKED, name="first-one", broker_host="hub.old", root=ROOT_JSON))
    flash(boot, PLAIN)
    marks = (b"first-one", b"hub.old", TOKEN.encode(), b"MIIB", ROOT_JSON.encode())
    assert not [name for name, data in contents(boot).items() if any(mark in data for mark in marks)]
    assert (boot / "cmdline.txt").read_text().count("ds=nocloud") == 1


def test_new_packages_take_the_place_of_those_of_an_earlier_flash(boot: Path) -> None:
    old = {"edgeflock/edgeflock_0.9_arm64.deb": b"old", "edgeflock/wheels/x-0.9-py3-none-any.whl": b"old"}
    app.flash(MountedFolder(boot), PLAIN, packages=old)
    assert not app.flash(MountedFolder(boot), PLAIN), "without packages those that are there stay"
    changes = app.flash(MountedFolder(boot), PLAIN, packages={"edgeflock/edgeflock_0.10_arm64.deb": b"new"})
    assert dict(changes) == {**dict.fromkeys(old), "edgeflock/edgeflock_0.10_arm64.deb": b"new"}
    assert [path.name for path in boot.rglob("*") if path.suffix in (".deb", ".whl")] == [
        "edgeflock_0.10_arm64.deb"
    ]


def test_an_empty_folder_is_taken_for_the_system_that_is_named_and_gets_none_of_its_files(
    tmp_path: Path,
) -> None:
    with pytest.raises(SettingsError, match="it is empty"):
        flash(tmp_path, PLAIN)
    flash(tmp_path, PLAIN, system=Os.BOOKWORM)
    assert not {"cmdline.txt", "config.txt"} & set(contents(tmp_path))
    assert flash(tmp_path, PLAIN, system=Os.BOOKWORM) == []


def test_cmdline_in_ubuntus_subfolder_is_found(tmp_path: Path) -> None:
    assert flash(lay(tmp_path, UBUNTU), PLAIN)[-1] == "current/cmdline.txt"


def test_a_folder_that_is_no_boot_partition_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(SettingsError, match=r"but thesis\.tex"):
        flash(tmp_path, PLAIN)
    assert set(contents(tmp_path)) == {"thesis.tex"}


@pytest.mark.parametrize("force", [False, True])
def test_names_on_a_mangled_card_do_not_steer_the_terminal(*, force: bool, tmp_path: Path) -> None:
    (tmp_path / "\x1b[2j\nedgeflock: wrote it").write_text("x")
    with pytest.raises(SettingsError, match=r"\?\[2j\?edgeflock: wrote it"):
        flash(tmp_path, PLAIN, force=force)


def test_force_takes_any_folder(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    assert flash(tmp_path, PLAIN, force=True, system=Os.UBUNTU)


def test_a_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="is no folder"):
        flash(tmp_path / "nowhere", PLAIN)


def test_a_wrong_template_writes_nothing(boot: Path, own_templates: Path) -> None:
    before = contents(boot)
    (own_templates / "boot" / "cmdline-additions.txt").write_text("@nonsense@\n")
    with pytest.raises(SettingsError, match="nonsense"):
        flash(boot, PLAIN)
    assert contents(boot) == before


def test_a_lost_template_says_so(boot: Path, own_templates: Path) -> None:
    (own_templates / "boot" / "meta-data.in").unlink()
    with pytest.raises(UnavailableError, match=r"meta-data\.in"):
        flash(boot, PLAIN)


def test_a_template_that_cannot_be_read_is_not_taken_for_the_card(boot: Path, own_templates: Path) -> None:
    (own_templates / "boot" / "meta-data.in").unlink()
    (own_templates / "boot" / "meta-data.in").mkdir()
    with pytest.raises(UnavailableError, match=r"cannot read the template .*meta-data\.in"):
        flash(boot, PLAIN)


def test_a_full_card_keeps_whole_files_and_its_old_cmdline(
    boot: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_until_full(path: Path, data: bytes) -> None:
        if path.name == "user-data":
            raise OSError(errno.ENOSPC, "No space left on device")
        write_atomic(path, data)

    monkeypatch.setattr(mounted_folder, "write_atomic", write_until_full)
    with pytest.raises(UnavailableError, match="flash it again"):
        flash(boot, PLAIN)
    written = contents(boot)
    monkeypatch.undo()
    flash(boot, PLAIN)
    assert written["cmdline.txt"] == CMDLINE.encode()
    now = contents(boot)
    changed = {name for name in written if written[name] != now[name]}
    assert changed == {"cmdline.txt", "config.txt", "user-data", "meta-data"}


def test_a_folder_in_a_files_place_is_an_error_before_anything_is_written(boot: Path) -> None:
    (boot / "network-config").mkdir()
    before = contents(boot)
    with pytest.raises(UnavailableError, match="cannot read"):
        flash(boot, PLAIN)
    assert contents(boot) == before


def test_bytes_that_are_no_utf8_come_back_as_they_were(boot: Path) -> None:
    (boot / "config.txt").write_bytes(b"# caf\xe9\n")
    flash(boot, PLAIN)
    assert (boot / "config.txt").read_bytes().startswith(b"# caf\xe9\n")


def test_templates_are_found_beside_a_checkout_or_in_an_installation(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        templates, "__file__", str(tmp_path / "site-packages" / "fleet" / "provision" / "x.py")
    )
    monkeypatch.setattr("sys.prefix", str(tmp_path))
    with pytest.raises(UnavailableError, match="no firmware-config"):
        templates.locate()
    installed = tmp_path / "share" / "edgeflock" / "firmware-config"
    installed.mkdir(parents=True)
    assert templates.locate() == installed


# --- the command --------------------------------------------------------------------------------


def run(*arguments: str) -> int:
    parser = argparse.ArgumentParser(prog="edgeflock")
    add_parser(parser.add_subparsers(required=True))
    trust = [] if {"--root", "--unsigned"} & {*arguments} else ["--unsigned"]
    args = parser.parse_args(["flash", *arguments, *trust])
    code: int = args.run(args)
    return code


def test_the_command_prints_what_it_wrote_and_what_comes_next(
    boot: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("--boot", str(boot), "--device", "kitchen-1", "--broker", "hub.local") == 0
    out = capsys.readouterr().out
    assert f"wrote {boot / 'edgeflock' / 'device.toml'}\n" in out
    assert out.splitlines()[-1].startswith("next: ")


def test_the_command_puts_the_root_on_the_card_and_does_not_go_without(boot: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="no root of trust"):
        run("--boot", str(boot), "--device", "a", "--root", str(tmp_path / "root.json"))
    (tmp_path / "root.json").write_text(ROOT_JSON)
    run("--boot", str(boot), "--device", "a", "--root", str(tmp_path / "root.json"))
    assert (boot / "edgeflock" / "root.json").read_text() == ROOT_JSON


def test_the_command_takes_the_password_from_the_environment(
    boot: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("EDGEFLOCK_WIFI_PASSWORD", "correct horse")
    run("--boot", str(boot), "--device", "a", "--wifi-ssid", SSID, "--wifi-country", "DE")
    assert 'password: "correct horse"\n' in (boot / "network-config").read_text()
    assert "correct horse" not in capsys.readouterr().out


def test_the_command_takes_password_and_key_from_files(boot: Path, tmp_path: Path) -> None:
    (tmp_path / "pw").write_text("correct horse\n")
    (tmp_path / "id.pub").write_text(KEY + "\n")
    run(
        *("--boot", str(boot), "--device", "a", "--ssh-key", str(tmp_path / "id.pub"), "--wifi-ssid", "net"),
        *("--wifi-country", "DE", "--wifi-password-file", str(tmp_path / "pw")),
    )
    assert 'password: "correct horse"\n' in (boot / "network-config").read_text()
    assert json.dumps(KEY) in (boot / "user-data").read_text()


@pytest.mark.parametrize(("option", "known"), [("--os", "raspios-trixie, ubuntu"), ("--identity", "claim")])
def test_a_word_that_an_option_does_not_have_is_told_with_those_it_has(
    option: str, known: str, boot: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        run("--boot", str(boot), "--device", "a", option, "trixie")
    assert ended.value.code == 2
    assert f"argument {option}: 'trixie' is none of {known}" in capsys.readouterr().err


@pytest.mark.parametrize("option", ["--ssh-key", "--ca", "--claim", "--root"])
def test_a_file_of_a_user_that_there_is_not_is_told(option: str, boot: Path) -> None:
    with pytest.raises(SettingsError, match="~nobody-of-this-name/x"):
        run("--boot", str(boot), "--device", "a", option, "~nobody-of-this-name/x")


def test_the_command_refuses_wifi_without_a_password(boot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEFLOCK_WIFI_PASSWORD", raising=False)
    with pytest.raises(SettingsError, match="EDGEFLOCK_WIFI_PASSWORD"):
        run("--boot", str(boot), "--device", "a", "--wifi-ssid", "net", "--wifi-country", "DE")


def test_the_command_refuses_a_bad_device_name(boot: Path) -> None:
    with pytest.raises(SettingsError, match="device 'a/b'"):
        run("--boot", str(boot), "--device", "a/b")
    assert set(contents(boot)) == set(TRIXIE)


@pytest.mark.parametrize(
    ("option", "value", "complaint"),
    [
        ("--device", "", "device ''"),
        ("--broker", "", "broker ''"),
        ("--port", "0", "broker port 0"),
        ("--claim-port", "0", "claim port 0"),
    ],
)
def test_an_option_that_says_nothing_is_not_the_default(
    option: str, value: str, complaint: str, boot: Path
) -> None:
    with pytest.raises(SettingsError, match=complaint):
        run("--boot", str(boot), "--device", "a", option, value)
    assert set(contents(boot)) == set(TRIXIE)


# --- the unit -----------------------------------------------------------------------------------


def unit() -> Path:
    return templates.locate() / "systemd" / "edgeflock.service"


@needs_systemd
def test_the_unit_lets_the_agent_limit_its_children() -> None:
    allowed = expand("@default")
    for names in re.findall(r"^SystemCallFilter=(.*)$", unit().read_text(), re.MULTILINE):
        calls = set().union(*map(expand, names.lstrip("~").split()))
        allowed = allowed - calls if names.startswith("~") else allowed | calls
    assert {"setrlimit", "prlimit64", "setpriority", "execve", "clone", "capset"} <= allowed
    assert not {"mount", "ptrace", "chroot", "sched_setscheduler"} & allowed


def expand(name: str) -> set[str]:
    """Return the system calls of a set such as @resources; a plain name is itself."""
    if not name.startswith("@"):
        return {name}
    command = ["systemd-analyze", "syscall-filter", name]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[1:]
    members = [line.strip() for line in lines if line.strip() and not line.strip().startswith("#")]
    return set().union(*map(expand, members))


def test_the_fallback_credential_is_a_comment_and_not_empty() -> None:
    fallback = after(unit().read_text(), "SetCredential=device.toml:")
    assert fallback.startswith("#")
    assert tomllib.loads(fallback) == {}


def test_the_unit_stays_down_on_wrong_settings_only() -> None:
    assert int(after(unit().read_text(), "RestartPreventExitStatus=")) == SettingsError.exit_code


# --- a locked broker ------------------------------------------------------------------------------


def test_the_ca_and_the_claim_lie_beside_the_settings_that_name_them(boot: Path) -> None:
    flash(boot, LOCKED)
    broker = tomllib.loads((boot / "edgeflock" / "device.toml").read_text())["broker"]
    assert (broker["ca"], broker["claim_port"]) == ("broker-ca.pem", 8884)
    assert (boot / "edgeflock" / broker["ca"]).read_text() == CA + "\n"
    assert (boot / "edgeflock" / "claim-token").read_text() == TOKEN + "\n"
    others = {k: v for k, v in contents(boot).items() if not k.endswith(("claim-token", "broker-ca.pem"))}
    assert not [name for name, data in others.items() if TOKEN.encode() in data or b"MIIB" in data]


def test_the_settings_of_a_locked_device_find_their_files(boot: Path) -> None:
    flash(boot, LOCKED)
    settings = load_settings(boot / "edgeflock" / "device.toml")
    assert Path(settings.broker.ca) == boot / "edgeflock" / "broker-ca.pem"
    # The first boot moves it there, out of a stranger's reach; test_first_boot.py has that.
    assert Path(settings.broker.claim) == Path(settings.device.state) / "claim-token"


def test_the_unit_hands_on_every_file_that_the_settings_may_name() -> None:
    unit = templates.load()["systemd/edgeflock.service"]
    for name in ("device.toml", "broker-ca.pem", "claim-token"):
        assert f"LoadCredential={name}:/boot/firmware/edgeflock/{name}\n" in unit
        assert f"SetCredential={name}:#" in unit, "without it a missing file would stop the service"


def test_with_a_ca_the_port_is_that_of_tls(boot: Path, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(CA)
    (tmp_path / "token").write_text(TOKEN + "\n")
    arguments = ["flash", "--boot", boot, "--device", "a", "--unsigned", "--ca", tmp_path / "ca.pem"]
    commands = argparse.ArgumentParser()
    add_parser(commands.add_subparsers())
    parsed = commands.parse_args([*map(str, arguments), "--claim", str(tmp_path / "token")])
    assert parsed.run(parsed) == 0
    assert tomllib.loads((boot / "edgeflock" / "device.toml").read_text())["broker"]["port"] == 8883
