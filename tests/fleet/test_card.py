"""A card that cannot work is refused when it is made."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from fleet.provision.card import DeviceCard, host_name
from tests.support.cards import CA, FULL, KEY, PLAIN, TOKEN
from wire.errors import SettingsError


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"name": "kitchen/1"}, "device 'kitchen/1'"),
        ({"name": ""}, "device ''"),
        ({"model": "a b"}, "model 'a b'"),
        ({"prefix": "a/#"}, "topic prefix"),
        ({"broker_host": "hub .local"}, "not a host name"),
        ({"broker_port": 0}, "broker port 0: use 1 to 65535"),
        ({"claim_port": 65536}, "claim port 65536: use 1 to 65535"),
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


@pytest.mark.parametrize("text", ["", "{}", '{"signed": {"_type": "targets"}}', "[]"])
def test_a_root_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match=r"not a root\.json"):
        replace(PLAIN, root=text)


def test_a_card_does_not_show_its_password() -> None:
    assert str(FULL.wifi_password) not in repr(FULL)


@pytest.mark.parametrize(
    ("device", "host"), [("Kitchen_1", "kitchen-1"), ("a.b.", "a-b"), ("x" * 64, "x" * 63)]
)
def test_a_device_name_becomes_a_host_name(device: str, host: str) -> None:
    assert host_name(device) == host


@pytest.mark.parametrize(
    ("ca", "token", "problem"),
    [(None, TOKEN, "needs the broker's CA"), ("hello", None, "PEM"), (CA, "short", "claim token")],
)
def test_a_claim_that_cannot_work_is_refused(ca: str | None, token: str | None, problem: str) -> None:
    with pytest.raises(SettingsError, match=problem):
        DeviceCard("a", "b", "m", broker_ca=ca, claim_token=token)
