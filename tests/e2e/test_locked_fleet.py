"""The commands as an operator types them: init, serve, enroll, agent, renewal, revoke. Real processes."""

from __future__ import annotations

import datetime as dt
import os
import re
import shlex
import signal
import stat
import subprocess
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from fleet.adapters import pki
from fleet.adapters.broker import free_port
from tests.support.local_fleet import ROOT, edgeflock, run
from tests.support.locked_broker import needs_mosquitto
from tests.support.locked_fleet import Locked
from wire.deadline import Deadline, wait_until

pytestmark = needs_mosquitto


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Locked]:
    fleet = Locked(tmp_path)
    yield fleet
    fleet.stop()


def test_a_device_enrolls_itself_and_a_revoked_one_is_shut_out(fleet: Locked) -> None:
    fleet.serve()
    for name in ("pi-1", "pi-2"):
        fleet.prepare(name)
        fleet.start_device(name)
    for name in ("pi-1", "pi-2"):
        fleet.wait(f"{name} online", lambda name=name: fleet.presence(name) == "online")
    identity = fleet.identity("pi-1")
    assert stat.S_IMODE(identity.stat().st_mode) == 0o600
    assert sorted(p.name for p in identity.parent.glob("identity*")) == ["identity.pem"]

    fleet.command("fleet", "revoke", "pi-1", "--state", fleet.state)
    fleet.wait(
        "pi-1 refused", lambda: "refuses this device's certificate: it is revoked" in fleet.log("pi-1")
    )
    fleet.wait("pi-2 back", lambda: fleet.log("pi-2").count("control: connected") >= 2)
    assert fleet.processes["pi-1"].poll() is None, "no network is a normal state"
    assert fleet.end("pi-1") == 0

    # A restarted server and broker still refuse it; a new claim by the operator lets it in again.
    fleet.end("server")
    fleet.serve()
    identity.unlink()
    (fleet.folder / "pi-1" / "claim-token").unlink()
    token = fleet.folder / "pi-1" / "claim-token"
    fleet.command("fleet", "enroll", "pi-1", "--state", fleet.state, "--out", token)
    fleet.start_device("pi-1")
    fleet.wait("pi-1 back", lambda: identity.exists() and fleet.log("pi-1").count("control: connected") >= 2)


def test_a_certificate_is_renewed_before_it_ends(fleet: Locked) -> None:
    fleet.serve("--certificate-days", str(30 / 86_400))
    fleet.prepare("pi-1")
    fleet.start_device("pi-1")
    fleet.wait("enrolled", fleet.identity("pi-1").exists)
    first = fleet.certificate("pi-1")
    fleet.wait("renewed", lambda: fleet.certificate("pi-1").serial_number != first.serial_number)
    second = fleet.certificate("pi-1")
    assert second.public_key() != first.public_key()
    assert second.not_valid_before_utc < first.not_valid_after_utc
    fleet.wait("proved", lambda: "the broker has taken the new certificate" in fleet.log("pi-1"))
    assert not fleet.identity("pi-1").with_name("identity.pem.previous").exists()
    fleet.wait("online with it", lambda: fleet.presence("pi-1") == "online")


def test_a_certificate_in_a_folder_that_takes_no_file_ends_no_agent(fleet: Locked) -> None:
    """As an operator places one by hand: 80 of its 90 days are over, and nothing can be written beside it."""
    fleet.serve()
    fleet.prepare("pi-1")
    at, key = dt.datetime.now(dt.UTC) - dt.timedelta(days=80), pki.make_key()
    made = fleet.files.authority().client("pi-1", key.public_key(), at, dt.timedelta(days=90))
    identity = fleet.identity("pi-1")
    identity.parent.mkdir()
    identity.write_bytes(pki.key_pem(key) + made.pem.encode())
    identity.with_name("identity.pem.next").mkdir()  # stops root, too
    fleet.start_device("pi-1")
    fleet.wait("told", lambda: "the certificate cannot be renewed" in fleet.log("pi-1"))
    fleet.wait("pi-1 online", lambda: fleet.presence("pi-1") == "online")
    assert fleet.log("pi-1").count("the certificate cannot be renewed") == 1
    assert fleet.end("pi-1") == 0


def test_a_device_that_starts_before_its_server_waits(fleet: Locked) -> None:
    fleet.prepare("pi-1")
    fleet.start_device("pi-1")
    fleet.wait("pi-1 tries", lambda: "no enrolment yet" in fleet.log("pi-1"))
    fleet.serve()
    fleet.wait("pi-1 online", lambda: fleet.presence("pi-1") == "online", 90)


def brokers_of(server: subprocess.Popen[bytes], config: str) -> list[int]:
    """Return the processes that `server` has started with the file `config`."""
    found = subprocess.run(
        ["pgrep", "-P", str(server.pid), "-f", f"{config}$"], capture_output=True, text=True, check=False
    )
    return [int(pid) for pid in found.stdout.split()]


@pytest.mark.parametrize("times", [1, 2])
def test_a_broker_that_is_killed_is_started_again(fleet: Locked, times: int) -> None:
    fleet.serve()
    fleet.prepare("pi-1")
    fleet.start_device("pi-1")
    fleet.wait("pi-1 online", lambda: fleet.presence("pi-1") == "online")
    server = fleet.processes["server"]
    for time in range(1, times + 1):
        for config in ("running-mosquitto.conf", "running-claims.conf"):
            (pid,) = brokers_of(server, config)
            os.kill(pid, signal.SIGKILL)
            fleet.wait("another", lambda c=config, p=pid: brokers_of(server, c) not in ([], [p]))
        fleet.wait("back", lambda n=time: fleet.log("pi-1").count("control: connected") > n)
    assert fleet.log("server").count("the broker has ended (-9)") == times
    assert fleet.log("server").count("the broker for enrolment has ended (-9)") == times
    fleet.prepare("pi-2")
    fleet.start_device("pi-2")
    fleet.wait("pi-2 online", lambda: fleet.presence("pi-2") == "online")
    assert fleet.end("server") == 0


def test_an_open_broker_that_is_killed_is_started_again(tmp_path: Path) -> None:
    log, port = tmp_path / "log", free_port()
    command = edgeflock("fleet", "serve", "--state", tmp_path / "fleet", "--unsigned", "--port", str(port))
    with log.open("wb") as file, subprocess.Popen(command, cwd=ROOT, stdout=file, stderr=file) as server:
        try:
            assert wait_until(lambda: "serving the fleet" in log.read_text(), Deadline.after(60))
            (pid,) = brokers_of(server, "plain.conf")
            os.kill(pid, signal.SIGKILL)
            assert wait_until(lambda: brokers_of(server, "plain.conf") not in ([], [pid]), Deadline.after(30))
            assert wait_until(lambda: "connected" in log.read_text(), Deadline.after(30)), log.read_text()
        finally:
            server.terminate()
        assert server.wait(30) == 0
    assert brokers_of(server, "plain.conf") == []


def test_a_token_of_another_device_makes_no_certificate(fleet: Locked) -> None:
    fleet.serve()
    fleet.prepare("pi-1", device="pi-2")
    fleet.start_device("pi-1")
    fleet.wait("refused", lambda: "it is for 'pi-1', not for pi-2" in fleet.log("pi-1"))
    assert not fleet.identity("pi-1").exists()
    assert "bad certificate request" in fleet.log("server")


def test_a_fleet_is_made_once(fleet: Locked) -> None:
    before = {p: p.read_bytes() for p in fleet.files.folder.iterdir()}
    assert "nothing was written" in fleet.command("fleet", "init", "--state", fleet.state, code=2)
    assert {p: p.read_bytes() for p in fleet.files.folder.iterdir()} == before
    secret = {"device-ca.key", "broker-ca.key", "broker.key", "fleet-server.pem", "claims.passwd"}
    assert {p.name for p in before if stat.S_IMODE(p.stat().st_mode) == 0o600} == secret


PAGE = (ROOT / "docs/how-to/secure-the-broker.md").read_text()


def boot_partition(folder: Path) -> Path:
    boot = folder / "bootfs"
    boot.mkdir()
    for name in ("cmdline.txt", "config.txt", "user-data", "meta-data", "network-config"):
        (boot / name).write_text("# as Raspberry Pi OS has it\n")
    (boot / "issue.txt").write_text("Raspberry Pi reference 2025-10-01\n")
    return boot


def assert_card(boot: Path, device: str, token: Path) -> None:
    card = b"".join(path.read_bytes() for path in boot.rglob("*") if path.is_file())
    for part in (b"BEGIN CERTIFICATE", f'name = "{device}"'.encode(), token.read_bytes().strip()):
        assert part in card


def test_the_pages_commands_make_a_card_that_lets_its_device_in(fleet: Locked) -> None:
    fleet.serve()
    fleet.prepare("kitchen-1")  # the card's token ends this one
    boot = boot_partition(fleet.folder)
    (block,) = [b for b in re.findall(r"```sh\n(.*?)```", PAGE, re.S) if "flash" in b]
    block = block.replace("/srv/fleet", str(fleet.state)).replace("/media/$USER/bootfs", str(boot))
    for line in block.replace("\\\n", " ").splitlines():
        fleet.command(*shlex.split(line)[1:])
    (token,) = boot.rglob("claim-token")
    assert_card(boot, "kitchen-1", token)
    (fleet.folder / "kitchen-1" / "claim-token").write_bytes(token.read_bytes())
    fleet.start_device("kitchen-1")
    fleet.wait("kitchen-1 online", lambda: fleet.presence("kitchen-1") == "online")


@pytest.mark.parametrize("source", ["page", "hint"])
def test_the_settings_by_hand_let_a_device_in(fleet: Locked, source: str) -> None:
    fleet.serve()
    folder = fleet.folder / "kitchen-1"
    folder.mkdir()
    said = fleet.command(
        "fleet", "enroll", "kitchen-1", "--state", fleet.state, "--out", folder / "claim-token"
    )
    if source == "page":
        (block,) = re.findall(r"```toml\n(.*?)```", PAGE, re.S)
        block = block.replace("8883", f"{fleet.port}\nclaim_port = {fleet.claim_port}")
    else:
        block = textwrap.dedent(said[said.index("    [broker]") : said.index("or on its card")])
    block = re.sub(r'host = ".*"', 'host = "127.0.0.1"', block)
    for path in (fleet.files.broker_ca, fleet.state / "root.json"):
        (folder / path.name).write_bytes(path.read_bytes())
    (folder / "device.toml").write_text(
        f'[device]\nname = "kitchen-1"\nstate = "{folder}/state"\n[model]\nname = "digits"\n{block}'
    )
    fleet.start_device("kitchen-1")
    fleet.wait("kitchen-1 online", lambda: fleet.presence("kitchen-1") == "online")


def test_the_hint_of_enroll_makes_a_card(fleet: Locked) -> None:
    boot, token = boot_partition(fleet.folder), fleet.folder / "token"
    said = fleet.command("fleet", "enroll", "pi-1", "--state", fleet.state, "--out", token)
    hint = said[said.index("edgeflock flash") :].replace("\\\n", " ").replace("FOLDER", str(boot))
    fleet.command(*shlex.split(hint)[1:])
    assert_card(boot, "pi-1", token)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [(["enroll", "fleet-server"], "the server's own"), (["enroll", "a/b"], "letters"),
     (["enroll", "pi-1", "--days", "0"], "--days"), (["serve", "--prefix", "other"], "access lists"),
     (["serve", "--certificate-days", "-1"], "--certificate-days"),
     (["serve", "--home-assistant"], "add `topic write homeassistant/device/+/config` and "),
     (["serve", "--home-assistant", "a b"], "prefix")],
)  # fmt: skip
def test_what_cannot_be_is_one_line(fleet: Locked, arguments: list[str], problem: str) -> None:
    said = fleet.command("fleet", *arguments, "--state", fleet.state, code=2)
    assert problem in said
    assert len(said.splitlines()) == 1


def test_without_init_there_is_nothing_to_enroll_in(tmp_path: Path) -> None:
    done = run("fleet", "enroll", "pi-1", "--state", tmp_path)
    assert (done.returncode, "fleet init" in done.stderr) == (2, True)


def test_a_check_proves_that_the_broker_takes_the_certificate(fleet: Locked) -> None:
    fleet.serve()
    fleet.prepare("pi-1")
    settings = fleet.folder / "pi-1" / "device.toml"
    fleet.command("agent", "--check", settings)  # a claim that can be made is good enough
    fleet.start_device("pi-1")
    fleet.wait("pi-1 online", lambda: fleet.presence("pi-1") == "online")
    fleet.end("pi-1")
    assert "answers" in fleet.command("agent", "--check", settings)
    fleet.command("fleet", "revoke", "pi-1", "--state", fleet.state)
    fleet.wait("the restart", lambda: "is restarted to refuse 1" in fleet.log("server"))
    assert "revoked" in fleet.command("agent", "--check", settings, code=1)


def test_a_device_that_is_behind_the_brokers_certificate_is_let_in_when_it_has_the_time(
    fleet: Locked,
) -> None:
    """As a board in 1970: here the broker is ahead of the device by two years, and then not."""
    folder = fleet.files.folder
    good = (folder / "broker.crt").read_bytes()
    pem, ca_key = ((folder / f"broker-ca.{end}").read_bytes() for end in ("pem", "key"))
    key = x509.load_pem_x509_certificate(good).public_key()
    assert isinstance(key, ec.EllipticCurvePublicKey)
    ahead = dt.datetime.now(dt.UTC) + dt.timedelta(days=2 * 365)
    (folder / "broker.crt").write_text(pki.Authority.load(pem, ca_key).broker(["127.0.0.1"], key, ahead).pem)
    fleet.start("server", "fleet", "serve", "--state", fleet.state)
    fleet.prepare("pi-1")
    fleet.start_device("pi-1")
    fleet.wait("the device refuses the broker", lambda: "certificate is not yet valid" in fleet.log("pi-1"))
    fleet.end("server")
    (folder / "broker.crt").write_bytes(good)
    fleet.serve()
    fleet.wait("pi-1 is enrolled", fleet.identity("pi-1").exists, 120)
