"""A mounted boot partition becomes a device: rendering, writing, the command, and the unit itself."""

from __future__ import annotations

import argparse
import errno
import itertools
import json
import re
import shutil
import subprocess
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edge.settings import load as load_settings
from fleet.provision import app, templates
from fleet.provision.adapters import mounted_folder
from fleet.provision.adapters.mounted_folder import MountedFolder
from fleet.provision.cli import add_parser
from fleet.provision.render import (
    DeviceCard,
    append_cmdline,
    append_config,
    host_name,
    render,
    render_additions,
)
from wire.adapters.files import write_atomic
from wire.errors import SettingsError, UnavailableError

SSID = 'Café "5G" \\ 👨‍👩‍👧'
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBx1 me@desk # mine"
CMDLINE = "console=serial0,115200 console=tty1 root=PARTUUID=1-02 rootwait\n"
CONFIG = "dtparam=audio=on\n\n[pi4]\nmax_framebuffers=2\n"

ROOT_JSON = '{"signed": {"_type": "root"}, "signatures": []}'

PLAIN = DeviceCard("kitchen-1", "192.168.1.10", "digits")
FULL = DeviceCard(
    "Kitchen_1",
    "hub.local",
    "digits",
    ssh_key=KEY,
    wifi_ssid=SSID,
    wifi_password='pa"ss: #1\\n',
    wifi_country="DE",
)

needs_systemd = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed"
)


@pytest.fixture
def boot(tmp_path: Path) -> Path:
    """A boot partition as a stock image has it."""
    folder = tmp_path / "bootfs"
    folder.mkdir()
    (folder / "cmdline.txt").write_text(CMDLINE)
    (folder / "config.txt").write_text(CONFIG)
    return folder


@pytest.fixture
def own_templates(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of firmware-config that a test may spoil."""
    folder = tmp_path / "firmware-config"
    shutil.copytree(templates.locate(), folder)
    monkeypatch.setattr(templates, "locate", lambda: folder)
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def flash(boot: Path, card: DeviceCard, *, force: bool = False) -> list[str]:
    return app.flash(MountedFolder(boot), card, force=force)


def after(text: str, start: str) -> str:
    """Return the rest of the one line that begins with `start`."""
    [line] = [line for line in text.splitlines() if line.startswith(start)]
    return line.removeprefix(start)


# --- rendering ----------------------------------------------------------------------------------


def test_device_toml_has_the_cards_values_and_the_agreed_keys() -> None:
    toml = tomllib.loads(render(templates.load(), PLAIN)["edgeflock/device.toml"])
    assert toml == {
        "device": {"name": "kitchen-1", "state": "/var/lib/edgeflock"},
        "broker": {"host": "192.168.1.10", "port": 1883, "prefix": "edgeflock"},
        "trust": {"unsigned": True},
        "model": {"name": "digits", "backend": "auto", "threads": 1},
        "source": {"kind": "none"},
        "sink": {"kind": "none"},
        "telemetry": {"interval_s": 60, "sample_rate": 0.01},
    }


def test_a_card_with_a_root_is_signed() -> None:
    files = render(templates.load(), replace(PLAIN, root=ROOT_JSON))
    assert tomllib.loads(files["edgeflock/device.toml"])["trust"] == {"root": "root.json"}
    assert files["edgeflock/root.json"] == ROOT_JSON


@pytest.mark.parametrize("text", ["", "{}", '{"signed": {"_type": "targets"}}', "[]"])
def test_a_root_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=r"not a root\.json"):
        replace(PLAIN, root=text)


def test_every_key_of_device_toml_has_a_line_of_meaning_above_it() -> None:
    lines = templates.load()["device/device.toml.in"].splitlines()
    for above, line in itertools.pairwise(lines):
        if re.match(r"#?\w+ = ", line):
            assert above.startswith("# "), line


def test_an_ssid_with_quotes_and_emoji_survives() -> None:
    text = render(templates.load(), FULL)["network-config"]
    name = after(text, '        "')  # the only line that deep with a quote
    assert json.loads('"' + name.removesuffix(":")) == SSID
    assert "👨‍👩‍👧" in text  # raw: YAML refuses the surrogates of a JSON escape


def test_the_wifi_password_is_quoted() -> None:
    text = render(templates.load(), FULL)["network-config"]
    assert json.loads(after(text, "          password: ")) == FULL.wifi_password


def test_characters_that_end_a_line_in_yaml_are_escaped() -> None:
    sources = {**templates.load(), "boot/meta-data.in": "id: @wifi_ssid@"}
    card = DeviceCard("a", "b", "m", wifi_ssid="x\u2028y\ufeff", wifi_password="12345678", wifi_country="DE")
    assert render(sources, card)["meta-data"] == 'id: "x\\u2028y\\ufeff"'


def test_without_wifi_there_is_a_cable_and_no_empty_wifis_key() -> None:
    text = render(templates.load(), PLAIN)["network-config"]
    assert "eth0:" in text
    assert "wifi" not in text


def test_every_interface_is_optional() -> None:
    text = render(templates.load(), FULL)["network-config"]
    assert text.count("optional: true") == text.count("dhcp4: true") == 2


def test_user_data_begins_as_cloud_init_demands() -> None:
    assert render(templates.load(), FULL)["user-data"].startswith("#cloud-config\n")


def test_the_ssh_key_may_log_in_and_the_daemon_is_started() -> None:
    text = render(templates.load(), FULL)["user-data"]
    assert json.loads(after(text, "    - ")) == KEY
    assert "  - [systemctl, enable, --now, ssh]\n" in text


def test_without_an_ssh_key_no_daemon_is_started() -> None:
    text = render(templates.load(), PLAIN)["user-data"]
    assert "ssh_authorized_keys" not in text
    assert "systemctl, enable" not in text


@pytest.mark.parametrize("shell", ["sh", "dash"])
def test_the_installation_script_is_valid_shell(shell: str) -> None:
    if shutil.which(shell) is None:
        pytest.skip(f"{shell} is not installed")
    text = render(templates.load(), PLAIN)["user-data"]
    script = text[text.index("#!/bin/sh") :].split("\n\n")[0].replace("\n      ", "\n")
    subprocess.run([shell, "-n"], input=script.encode(), check=True)


def test_no_placeholder_reaches_the_card() -> None:
    sources = templates.load()
    for card in (PLAIN, FULL):
        for name, text in {**render(sources, card), **render_additions(sources, card)}.items():
            assert not re.search(r"@\w+@|@if|@end", text), name


@pytest.mark.parametrize(
    ("template", "complaint"),
    [
        ("a: @nonsense@", r"meta-data.in line 1: unknown key @nonsense@"),
        ("a: @ssh_key@", r"@ssh_key@ has no value for this device"),
        ("# @if nonsense@\n# @end@", "unknown key @nonsense@"),
        ("# @if ssh_key@\na: @nonsense@\n# @end@", "line 2: unknown key @nonsense@"),
        ("# @if ssh_key@\n", "without '@end@'"),
        ("# @end@\n", "'@end@' without"),
        ("# @if ssh_key@\n# @if wifi_ssid@\n# @end@\n", "inside"),
    ],
)
def test_a_wrong_template_is_an_error(template: str, complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        render({**templates.load(), "boot/meta-data.in": template}, PLAIN)


def test_a_missing_template_is_an_error() -> None:
    sources = templates.load()
    del sources["boot/meta-data.in"]
    with pytest.raises(SettingsError, match=r"boot/meta-data\.in is missing"):
        render(sources, PLAIN)


def test_a_value_that_needs_quotes_cannot_enter_cmdline() -> None:
    sources = {**templates.load(), "boot/cmdline-additions.txt": "name=@wifi_ssid@"}
    with pytest.raises(SettingsError, match="nothing is quoted there"):
        render_additions(sources, FULL)


def test_meta_data_and_cmdline_name_the_same_instance() -> None:
    sources = templates.load()
    instance = json.loads(after(render(sources, FULL)["meta-data"], "instance-id: "))
    assert f"ds=nocloud;i={instance}\n" in render_additions(sources, FULL)["cmdline.txt"]


def test_another_broker_is_no_new_first_boot_but_another_wifi_password_is() -> None:
    def instance(**changes: Any) -> str:
        card = DeviceCard(**{"broker_host": "hub", "wifi_password": "12345678", **changes}, **fixed)
        return after(render(templates.load(), card)["meta-data"], "instance-id: ")

    fixed: dict[str, Any] = {"name": "a", "model": "m", "wifi_ssid": "net", "wifi_country": "DE"}
    assert instance() == instance(broker_host="other") != instance(wifi_password="87654321")


# --- the card -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"name": "kitchen/1"}, "device 'kitchen/1'"),
        ({"name": ""}, "device ''"),
        ({"model": "a b"}, "model 'a b'"),
        ({"prefix": "a/#"}, "topic prefix"),
        ({"broker_host": "hub .local"}, "not a host name"),
        ({"broker_port": 0}, "1 to 65535"),
        ({"ssh_key": "-----BEGIN OPENSSH PRIVATE KEY-----"}, "public key"),
        ({"ssh_key": KEY + "\n" + KEY}, "public key"),
        ({"wifi_ssid": "net"}, "all three"),
        ({"wifi_password": "12345678"}, "all three"),
        ({"wifi_ssid": "x" * 33, "wifi_password": "12345678", "wifi_country": "DE"}, "1 to 32 bytes"),
        ({"wifi_ssid": "a\nb", "wifi_password": "12345678", "wifi_country": "DE"}, "1 to 32 bytes"),
        ({"wifi_ssid": "\udcff", "wifi_password": "12345678", "wifi_country": "DE"}, "1 to 32 bytes"),
        ({"wifi_ssid": "net", "wifi_password": "1234567", "wifi_country": "DE"}, "8 to 63"),
        ({"wifi_ssid": "net", "wifi_password": "12345678", "wifi_country": "de"}, "two capital letters"),
    ],
)
def test_a_card_that_cannot_work_is_refused(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        DeviceCard(**{"name": "a", "broker_host": "hub", "model": "m", **change})


def test_a_card_does_not_show_its_password() -> None:
    assert str(FULL.wifi_password) not in repr(FULL)


@pytest.mark.parametrize(
    ("device", "host"), [("Kitchen_1", "kitchen-1"), ("a.b.", "a-b"), ("x" * 64, "x" * 63)]
)
def test_a_device_name_becomes_a_host_name(device: str, host: str) -> None:
    assert host_name(device) == host


# --- cmdline.txt and config.txt -----------------------------------------------------------------


def test_cmdline_stays_one_line_with_the_additions_at_its_end() -> None:
    new = append_cmdline(CMDLINE, "# why\ncgroup_enable=memory\n\npanic=10\n")
    assert new == CMDLINE.rstrip() + " cgroup_enable=memory panic=10\n"


def test_cmdline_keeps_other_words_of_a_key_that_may_be_repeated() -> None:
    assert append_cmdline("cgroup_enable=cpuset console=tty1", "cgroup_enable=memory") == (
        "cgroup_enable=cpuset console=tty1 cgroup_enable=memory\n"
    )


def test_cmdline_replaces_the_instance_id_of_an_earlier_flash() -> None:
    assert (
        append_cmdline("a ds=nocloud;i=old rootwait", "ds=nocloud;i=new") == "a rootwait ds=nocloud;i=new\n"
    )


def test_cmdline_of_two_lines_is_refused() -> None:
    with pytest.raises(SettingsError, match="more than one line"):
        append_cmdline("root=a\nquiet\n", "panic=10")


def test_config_gets_a_block_that_ends_the_filter_before_it() -> None:
    additions = render_additions(templates.load(), PLAIN)["config.txt"]
    block = append_config(CONFIG, additions).removeprefix(CONFIG)
    assert next(line for line in block.splitlines() if line and line[0] != "#") == "[all]"


def test_config_block_is_replaced_where_it_is() -> None:
    once = append_config(CONFIG, "[all]\nold=1\n") + "mine=1\n"
    assert append_config(once, "[all]\nnew=1\n") == once.replace("old", "new")


def test_config_keeps_the_line_ends_of_windows() -> None:
    new = append_config(CONFIG.replace("\n", "\r\n"), "[all]\na=1\n")
    assert new.count("\r\n") == new.count("\n")
    assert append_config(new, "[all]\na=1\n") == new


def test_config_with_half_a_block_is_refused() -> None:
    spoiled = append_config(CONFIG, "[all]\n").rsplit("# ---", 1)[0]
    with pytest.raises(SettingsError, match="put it back"):
        append_config(spoiled, "[all]\n")


def test_config_lines_fit_the_firmwares_limit() -> None:
    new = append_config(CONFIG, render_additions(templates.load(), FULL)["config.txt"])
    assert max(map(len, new.splitlines())) <= 98


# --- writing ------------------------------------------------------------------------------------


def test_flash_writes_the_device_and_touches_cmdline_last(boot: Path) -> None:
    written = flash(boot, PLAIN)
    assert {*written} == set(contents(boot))
    assert written[-1] == "cmdline.txt"


def test_flashing_twice_changes_nothing(boot: Path) -> None:
    flash(boot, FULL)
    first = contents(boot)
    assert flash(boot, FULL) == []
    assert contents(boot) == first


def test_flashing_another_device_leaves_nothing_of_the_first(boot: Path) -> None:
    flash(boot, DeviceCard("first-one", "hub.old", "digits"))
    flash(boot, PLAIN)
    assert not [name for name, data in contents(boot).items() if b"first-one" in data or b"hub.old" in data]
    assert (boot / "cmdline.txt").read_text().count("ds=nocloud") == 1


def test_an_empty_folder_is_taken_and_gets_no_system_files(tmp_path: Path) -> None:
    flash(tmp_path, PLAIN)
    assert not {"cmdline.txt", "config.txt"} & set(contents(tmp_path))
    assert flash(tmp_path, PLAIN) == []


def test_cmdline_in_ubuntus_subfolder_is_found(tmp_path: Path) -> None:
    (tmp_path / "config.txt").write_text("os_prefix=current/\n")
    (tmp_path / "current").mkdir()
    (tmp_path / "current" / "cmdline.txt").write_text(CMDLINE)
    assert flash(tmp_path, PLAIN)[-1] == "current/cmdline.txt"


def test_a_folder_that_is_no_boot_partition_is_refused_and_untouched(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(SettingsError, match=r"but thesis\.tex"):
        flash(tmp_path, PLAIN)
    assert set(contents(tmp_path)) == {"thesis.tex"}


def test_force_takes_any_folder(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("x")
    assert flash(tmp_path, PLAIN, force=True)


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
    assert {name for name in written if written[name] != now[name]} == {"cmdline.txt", "config.txt"}


def test_a_folder_in_a_files_place_is_an_error_before_anything_is_written(boot: Path) -> None:
    (boot / "user-data").mkdir()
    before = contents(boot)
    with pytest.raises(UnavailableError, match="read the card"):
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


def test_the_command_refuses_wifi_without_a_password(boot: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("EDGEFLOCK_WIFI_PASSWORD", raising=False)
    with pytest.raises(SettingsError, match="EDGEFLOCK_WIFI_PASSWORD"):
        run("--boot", str(boot), "--device", "a", "--wifi-ssid", "net", "--wifi-country", "DE")


def test_the_command_refuses_a_bad_device_name(boot: Path) -> None:
    with pytest.raises(SettingsError, match="device 'a/b'"):
        run("--boot", str(boot), "--device", "a/b")
    assert set(contents(boot)) == {"cmdline.txt", "config.txt"}


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

CA = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"
TOKEN = "a-claim-token-of-the-tests"


def test_the_ca_and_the_claim_lie_beside_the_settings_that_name_them(boot: Path) -> None:
    flash(boot, DeviceCard("kitchen-1", "hub.local", "digits", 8883, broker_ca=CA, claim_token=TOKEN))
    broker = tomllib.loads((boot / "edgeflock" / "device.toml").read_text())["broker"]
    assert (broker["ca"], broker["claim"], broker["claim_port"]) == ("broker-ca.pem", "claim-token", 8884)
    assert (boot / "edgeflock" / broker["ca"]).read_text() == CA + "\n"
    assert (boot / "edgeflock" / broker["claim"]).read_text() == TOKEN + "\n"
    others = {k: v for k, v in contents(boot).items() if not k.endswith(("claim-token", "broker-ca.pem"))}
    assert not [name for name, data in others.items() if TOKEN.encode() in data or b"MIIB" in data]


def test_the_settings_of_a_locked_device_find_their_files(boot: Path) -> None:
    flash(boot, DeviceCard("kitchen-1", "hub.local", "digits", 8883, broker_ca=CA, claim_token=TOKEN))
    settings = load_settings(boot / "edgeflock" / "device.toml")
    assert Path(settings.broker.ca) == boot / "edgeflock" / "broker-ca.pem"
    assert Path(settings.broker.claim) == boot / "edgeflock" / "claim-token"


def test_the_unit_hands_on_every_file_that_the_settings_may_name() -> None:
    unit = templates.load()["systemd/edgeflock.service"]
    for name in ("device.toml", "broker-ca.pem", "claim-token"):
        assert f"LoadCredential={name}:/boot/firmware/edgeflock/{name}\n" in unit
        assert f"SetCredential={name}:#" in unit, "without it a missing file would stop the service"


@pytest.mark.parametrize(
    ("ca", "token", "problem"),
    [(None, TOKEN, "needs the broker's CA"), ("hello", None, "PEM"), (CA, "short", "claim token")],
)
def test_a_claim_that_cannot_work_is_refused(ca: str | None, token: str | None, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        DeviceCard("a", "b", "m", broker_ca=ca, claim_token=token)


def test_with_a_ca_the_port_is_that_of_tls(boot: Path, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text(CA)
    (tmp_path / "token").write_text(TOKEN + "\n")
    arguments = ["flash", "--boot", boot, "--device", "a", "--unsigned", "--ca", tmp_path / "ca.pem"]
    commands = argparse.ArgumentParser()
    add_parser(commands.add_subparsers())
    parsed = commands.parse_args([*map(str, arguments), "--claim", str(tmp_path / "token")])
    assert parsed.run(parsed) == 0
    assert tomllib.loads((boot / "edgeflock" / "device.toml").read_text())["broker"]["port"] == 8883
