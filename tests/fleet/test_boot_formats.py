"""One card in the words of each first boot: what cloud-init, Bookworm and rpi-preseed read."""

from __future__ import annotations

import itertools
import json
import re
import subprocess
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fleet.provision import templates
from fleet.provision.card import DeviceCard
from fleet.provision.formats import render, render_additions, wifi_key
from fleet.provision.render import append_cmdline, append_config
from fleet.provision.systems import Os
from tests.support.cards import CMDLINE, CONFIG, FULL, KEY, PLAIN, ROOT_JSON, SSID
from tests.support.first_boot_checks import checker
from wire.errors import SettingsError


def after(text: str, start: str) -> str:
    """Return the rest of the one line that begins with `start`."""
    [line] = [line for line in text.splitlines() if line.startswith(start)]
    return line.removeprefix(start)


def test_device_toml_has_the_cards_values_and_the_agreed_keys() -> None:
    toml = tomllib.loads(render(templates.load(), PLAIN, Os.TRIXIE)["edgeflock/device.toml"])
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
    files = render(templates.load(), replace(PLAIN, root=ROOT_JSON), Os.TRIXIE)
    assert tomllib.loads(files["edgeflock/device.toml"])["trust"] == {"root": "root.json"}
    assert files["edgeflock/root.json"] == ROOT_JSON


def test_every_key_of_device_toml_has_a_line_of_meaning_above_it() -> None:
    lines = templates.load()["device/device.toml.in"].splitlines()
    for above, line in itertools.pairwise(lines):
        if re.match(r"#?\w+ = ", line):
            assert above.startswith("# "), line


def test_an_ssid_with_quotes_and_emoji_survives() -> None:
    text = render(templates.load(), FULL, Os.TRIXIE)["network-config"]
    name = after(text, '        "')  # the only line that deep with a quote
    assert json.loads('"' + name.removesuffix(":")) == SSID
    assert "👨‍👩‍👧" in text  # raw: YAML refuses the surrogates of a JSON escape


def test_the_wifi_password_is_quoted() -> None:
    text = render(templates.load(), FULL, Os.TRIXIE)["network-config"]
    assert json.loads(after(text, "          password: ")) == FULL.wifi_password


def test_characters_that_end_a_line_in_yaml_are_escaped() -> None:
    sources = {**templates.load(), "boot/meta-data.in": "id: @wifi_ssid@"}
    card = DeviceCard("a", "b", "m", wifi_ssid="x\u2028y\ufeff", wifi_password="12345678", wifi_country="DE")
    assert render(sources, card, Os.TRIXIE)["meta-data"] == 'id: "x\\u2028y\\ufeff"'


def test_without_wifi_there_is_a_cable_and_no_empty_wifis_key() -> None:
    text = render(templates.load(), PLAIN, Os.TRIXIE)["network-config"]
    assert "eth0:" in text
    assert "wifi" not in text


def test_every_interface_is_optional() -> None:
    text = render(templates.load(), FULL, Os.TRIXIE)["network-config"]
    assert text.count("optional: true") == text.count("dhcp4: true") == 2


def test_user_data_begins_as_cloud_init_demands() -> None:
    assert render(templates.load(), FULL, Os.TRIXIE)["user-data"].startswith("#cloud-config\n")


def test_the_ssh_key_may_log_in() -> None:
    text = render(templates.load(), FULL, Os.TRIXIE)["user-data"]
    assert json.loads(after(text, "    - ")) == KEY


def test_without_an_ssh_key_nobody_may() -> None:
    files = render(templates.load(), PLAIN, Os.TRIXIE)
    assert "ssh_authorized_keys" not in files["user-data"]
    assert "edgeflock/authorized_keys" not in files


@pytest.mark.parametrize("system", Os)
@pytest.mark.parametrize("card", [PLAIN, FULL], ids=["plain", "full"])
def test_no_placeholder_reaches_the_card(card: DeviceCard, system: Os) -> None:
    sources = templates.load()
    for name, text in {**render(sources, card, system), **render_additions(sources, card, system)}.items():
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
        render({**templates.load(), "boot/meta-data.in": template}, PLAIN, Os.TRIXIE)


def test_a_missing_template_is_an_error() -> None:
    sources = templates.load()
    del sources["boot/meta-data.in"]
    with pytest.raises(SettingsError, match=r"boot/meta-data\.in is missing"):
        render(sources, PLAIN, Os.TRIXIE)


def test_a_value_that_needs_quotes_cannot_enter_cmdline() -> None:
    sources = {**templates.load(), "boot/cmdline-additions.txt": "name=@wifi_ssid@"}
    with pytest.raises(SettingsError, match="nothing is quoted there"):
        render_additions(sources, FULL, Os.TRIXIE)


def test_meta_data_and_cmdline_name_the_same_instance() -> None:
    sources = templates.load()
    instance = json.loads(after(render(sources, FULL, Os.TRIXIE)["meta-data"], "instance-id: "))
    assert f"ds=nocloud;i={instance}\n" in render_additions(sources, FULL, Os.TRIXIE)["cmdline.txt"]


def test_another_broker_is_no_new_first_boot_but_another_wifi_password_is() -> None:
    def instance(**changes: Any) -> str:
        card = DeviceCard(**{"broker_host": "hub", "wifi_password": "12345678", **changes}, **fixed)
        return after(render(templates.load(), card, Os.TRIXIE)["meta-data"], "instance-id: ")

    fixed: dict[str, Any] = {"name": "a", "model": "m", "wifi_ssid": "net", "wifi_country": "DE"}
    assert instance() == instance(broker_host="other") != instance(wifi_password="87654321")


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
    additions = render_additions(templates.load(), PLAIN, Os.TRIXIE)["config.txt"]
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
    new = append_config(CONFIG, render_additions(templates.load(), FULL, Os.TRIXIE)["config.txt"])
    assert max(map(len, new.splitlines())) <= 98


# --- the other systems --------------------------------------------------------------------------


def test_every_system_starts_the_same_script() -> None:
    for system in Os:
        files = render(templates.load(), PLAIN, system)
        starts = [text for name, text in files.items() if "/" not in name and "first-boot.sh " in text]
        assert len(starts) == 1, system
        assert files["edgeflock/first-boot.sh"] == templates.load()["boot/first-boot.sh"]


def test_custom_toml_says_what_the_card_says() -> None:
    card = replace(FULL, wifi_ssid="net", wifi_password="correct horse")
    toml = tomllib.loads(render(templates.load(), card, Os.BOOKWORM_TOML)["custom.toml"])
    assert toml == {
        "config_version": 1,
        "system": {"hostname": "kitchen-1"},
        "user": {"name": "fleet"},
        "ssh": {
            "enabled": True,
            "password_authentication": False,
            "authorized_keys": ["ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBx1"],
        },
        "wlan": {
            "ssid": "net",
            "password": wifi_key("net", "correct horse"),
            "password_encrypted": True,
            "hidden": False,
            "country": "DE",
        },
    }


def test_rpi_preseed_toml_says_what_the_card_says() -> None:
    toml = tomllib.loads(render(templates.load(), FULL, Os.PRESEED)["rpi-preseed.toml"])
    assert toml["config_version"] == "1.1"
    assert toml["system"] == {"hostname": "kitchen-1"}
    assert toml["user"] == {
        "name": "fleet",
        "password": "!",
        "password_encrypted": True,
        "passwordless_sudo": True,
    }
    assert bytes.fromhex(toml["wlan"]["ssid_hex"]).decode() == SSID
    assert toml["wlan"]["password"] == wifi_key(SSID, str(FULL.wifi_password))
    assert toml["ssh"]["authorized_keys"] == [KEY.rsplit(" ", 3)[0]]
    assert toml["runcmd"]["early"] == ["sh /boot/firmware/edgeflock/first-boot.sh start"]


def test_what_simple_parsers_read_needs_no_escapes() -> None:
    for system, name in ((Os.PRESEED, "rpi-preseed.toml"), (Os.BOOKWORM_TOML, "custom.toml")):
        text = render(templates.load(), FULL, system)[name]
        values = [line for line in text.splitlines() if line and line[0] != "#"]
        assert not [line for line in values if "\\" in line or not line.isascii()], name


def test_a_wifi_key_is_that_of_the_standard() -> None:
    # IEEE 802.11i, annex H.4.2
    assert wifi_key("IEEE", "password") == "f42c6fc52df0ebef9ebb4b90b38a5f902e83fe1b135a70e23aed762e9710a12e"
    assert wifi_key("any", "AB" * 32) == "ab" * 32


def test_without_wifi_no_system_is_told_of_any() -> None:
    for system in Os:
        files = render(templates.load(), PLAIN, system)
        assert not re.search(r"^ *\[?(wlan|wifis)|set_wlan", "\n".join(files.values()), re.MULTILINE)


@pytest.mark.parametrize(
    ("ssid", "told"), [("My net", "My net"), (" x", "32;120;"), ("-h", "45;104;"), ("é\\", "195;169;92;")]
)
def test_firstrun_hands_on_what_the_card_says(tmp_path: Path, ssid: str, told: str) -> None:
    card = replace(FULL, wifi_ssid=ssid)
    script = render(templates.load(), card, Os.BOOKWORM)["firstrun.sh"]
    for place in ("/usr/lib/raspberrypi-sys-mods", "/usr/lib/userconf-pi", "/boot/firmware"):
        script = script.replace(place, str(tmp_path))
    (tmp_path / "edgeflock").mkdir()
    for name in ("imager_custom", "userconf", "edgeflock/first-boot.sh"):
        (tmp_path / name).write_text(f'#!/bin/sh\nprintf "%s\\0" {name} "$@" "" >> {tmp_path}/said\n')
        (tmp_path / name).chmod(0o755)
    subprocess.run(["sh"], input=script.encode(), check=True)
    assert [call.split("\0") for call in (tmp_path / "said").read_text().split("\0\0")[:-1]] == [
        ["imager_custom", "set_hostname", "kitchen-1"],
        ["userconf", "fleet", "!"],
        ["imager_custom", "enable_ssh", "-k", KEY],
        ["imager_custom", "set_wlan", told, wifi_key(ssid, str(FULL.wifi_password)), "DE"],
        ["edgeflock/first-boot.sh", "enable"],
        ["edgeflock/first-boot.sh", "disarm"],
    ]


def test_shellcheck_has_nothing_to_say() -> None:
    with checker("shellcheck") as shellcheck:
        for system in Os:
            for name, text in render(templates.load(), FULL, system).items():
                if name.endswith(".sh"):
                    (shellcheck.folder / name.replace("/", "-")).write_text(text)
        done = shellcheck.run(*sorted(shellcheck.folder.iterdir()))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("card", [FULL, replace(PLAIN, name="pi-{serial}")], ids=["full", "by board"])
def test_cloud_init_knows_every_key(card: DeviceCard) -> None:
    with checker("cloud-init") as cloud_init:
        data = cloud_init.folder / "user-data"
        data.write_text(render(templates.load(), card, Os.TRIXIE)["user-data"])
        done = cloud_init.run("schema", "--config-file", data)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_device_named_by_its_board_is_not_named_by_cloud_init() -> None:
    files = render(templates.load(), replace(PLAIN, name="pi-{serial}"), Os.UBUNTU)
    assert "preserve_hostname: true\n" in files["user-data"]
    assert "\nhostname:" not in files["user-data"]
    assert tomllib.loads(files["edgeflock/device.toml"])["device"]["name"] == "pi-{serial}"


def test_tags_reach_the_settings_of_the_device() -> None:
    toml = tomllib.loads(render(templates.load(), FULL, Os.TRIXIE)["edgeflock/device.toml"])
    assert tuple(toml["device"]["tags"]) == FULL.tags


@pytest.mark.parametrize(
    ("system", "renderer", "ssid", "told"),
    [
        (Os.TRIXIE, "NetworkManager", SSID, {"ssid=" + SSID.replace("\\", "\\\\")}),
        # For wpa_supplicant netplan 1.1 escapes as printf does, but no backslash; earlier ones do not escape.
        (Os.UBUNTU, "networkd", 'Café "5G"', {'ssid=P"Café \\"5G\\""', 'ssid="Café "5G""'}),
    ],
    ids=["NetworkManager", "networkd"],
)
def test_netplan_makes_the_network_of_it(system: Os, renderer: str, ssid: str, told: set[str]) -> None:
    with checker("netplan") as netplan:
        settings = netplan.folder / "etc/netplan"
        settings.mkdir(parents=True)
        (settings / "00-system.yaml").write_text(f"network: {{version: 2, renderer: {renderer}}}\n")
        text = render(templates.load(), replace(FULL, wifi_ssid=ssid), system)["network-config"]
        (settings / "50-cloud-init.yaml").write_text(text)
        done = netplan.run("generate", "--root-dir", netplan.folder)
        assert done.returncode == 0, done.stderr
        made = [path.read_text() for path in (netplan.folder / "run").rglob("*wlan0*") if path.is_file()]
    assert told & {line.strip() for text in made for line in text.splitlines()}
