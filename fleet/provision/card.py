"""What one device is told before it first starts: the neutral description that every format is made from.

Rules:
- a card that cannot work is refused when it is made, by one line that says what to write instead;
- what is secret (passwords, tokens, keys) is not shown by `repr`;
- a name may hold `{serial}`: then the device fills in its board's own serial number, and one image
  without anything of its own serves any number of boards.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from typing import Final

from wire.board_name import has_serial, with_serial
from wire.enrolment import Claim
from wire.errors import SettingsError
from wire.topics import Topics, check_name

_HOST: Final = re.compile(r"[A-Za-z0-9_:][A-Za-z0-9._:%-]{0,252}")
_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_SSH_KEY: Final = re.compile(r"(ssh|ecdsa|sk)-[a-z0-9@.-]+ [A-Za-z0-9+/]+={0,2}( [^\x00-\x1f\x7f]*)?")
_PASSPHRASE: Final = re.compile(r"[ -~]{8,63}|[0-9A-Fa-f]{64}")
_UNSENDABLE: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_MOST_TAGS: Final = 8


@dataclass(frozen=True)
class DeviceCard:
    """One device. Raises SettingsError for what cannot work."""

    #: The device's name in the fleet; it may hold `{serial}`.
    name: str
    broker_host: str
    model: str
    #: TCP port of the broker.
    broker_port: int = 1883
    #: First level or levels of all topics.
    prefix: str = "edgeflock"
    #: The text of the fleet's root.json; without it the device believes whatever is well formed.
    root: str | None = field(default=None, repr=False)
    #: One public key, as in `id_ed25519.pub`; without it nobody can log in.
    ssh_key: str | None = None
    #: Name of the wireless network, 1 to 32 bytes of UTF-8. Needs the two values below.
    wifi_ssid: str | None = None
    #: Its passphrase, or the 64 digits of its key. Open networks are not offered: MQTT is plain text in them.
    wifi_password: str | None = field(default=None, repr=False)
    #: Whose radio rules apply: ISO 3166-1 alpha-2, such as DE.
    wifi_country: str | None = None
    #: The broker's CA (PEM); with it the device speaks TLS.
    broker_ca: str | None = field(default=None, repr=False)
    #: The token with which the device has its certificate made, once. Needs the CA.
    claim_token: str | None = field(default=None, repr=False)
    #: The broker's port for that.
    claim_port: int = 8884
    #: Or its key and certificate (PEM, in one text), made before the device is there. Needs the CA.
    identity: str | None = field(default=None, repr=False)
    #: The host name where it is not to follow from the name: lower case letters, digits and hyphens.
    host: str | None = None
    #: All answers of the device are counted under these, such as `site=lab`.
    tags: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_name("device", with_serial(self.name, "0" * 16))
        check_name("model", self.model)
        Topics(self.prefix)
        if not _HOST.fullmatch(self.broker_host):
            raise SettingsError(f"broker {self.broker_host!r}: not a host name or address")
        for what, port in (("broker", self.broker_port), ("claim", self.claim_port)):
            if not 1 <= port <= 65535:
                raise SettingsError(f"{what} port {port}: use 1 to 65535")
        if self.host is not None and not _LABEL.fullmatch(self.host):
            raise SettingsError(f"host name {self.host!r}: use lower case letters, digits and hyphens")
        if self.ssh_key is not None and not _SSH_KEY.fullmatch(self.ssh_key):
            raise SettingsError("SSH key: needs the one line of a public key file, such as id_ed25519.pub")
        if self.root is not None:
            _check_root(self.root)
        self._check_tags()
        self._check_wifi()
        self._check_trust()

    @property
    def hostname(self) -> str:
        """The host name; of a device that is named by its board, what it is called until it knows."""
        return self.host or ("edgeflock" if has_serial(self.name) else host_name(self.name))

    def _check_tags(self) -> None:
        if len(self.tags) > _MOST_TAGS or not all(
            0 < len(t) <= 64 and t.isprintable() and t == t.strip() for t in self.tags
        ):
            raise SettingsError(f"tags: use at most {_MOST_TAGS} of 1 to 64 characters, such as site=lab")

    def _check_trust(self) -> None:
        if self.broker_ca is not None and "-----BEGIN CERTIFICATE-----" not in self.broker_ca:
            raise SettingsError("CA: needs the broker's CA in PEM form, broker-ca.pem of `fleet init`")
        if self.identity is not None and "PRIVATE KEY-----" not in self.identity:
            raise SettingsError("identity: needs a key and its certificate in PEM form")
        if self.identity is not None and has_serial(self.name):
            raise SettingsError(f"{self.name}: a certificate needs the device's whole name")
        if self.broker_ca is None and (self.claim_token or self.identity):
            raise SettingsError("a claim token needs the broker's CA: it must not be told to any broker")
        if self.claim_token is None:
            return
        try:
            Claim.of(self.claim_token, self.name)
        except ValueError as error:
            raise SettingsError(str(error)) from error

    def _check_wifi(self) -> None:
        if self.wifi_ssid is None and self.wifi_password is None and self.wifi_country is None:
            return
        if self.wifi_ssid is None or self.wifi_password is None or self.wifi_country is None:
            raise SettingsError("Wi-Fi needs all three: network name, password and country")
        if _UNSENDABLE.search(self.wifi_ssid) or not 1 <= len(self.wifi_ssid.encode()) <= 32:
            raise SettingsError(f"Wi-Fi name {self.wifi_ssid!r}: use 1 to 32 bytes of UTF-8 text")
        if not _PASSPHRASE.fullmatch(self.wifi_password):
            raise SettingsError("Wi-Fi password: use 8 to 63 ASCII characters, or 64 hexadecimal digits")
        if not re.fullmatch(r"[A-Z]{2}", self.wifi_country):
            raise SettingsError(f"Wi-Fi country {self.wifi_country!r}: use two capital letters, such as DE")


def host_name(device: str) -> str:
    """Return `device` as a host name: lower case, and hyphens for what RFC 1123 does not have."""
    return re.sub(r"[._]", "-", device.lower())[:63].strip("-")


def _check_root(text: str) -> None:
    """Refuse what cannot be a root: the device would only find out where nobody looks."""
    try:
        kind = json.loads(text)["signed"]["_type"]
    except (ValueError, KeyError, TypeError):
        kind = None
    if kind != "root":
        raise SettingsError("root: not a root.json as `edgeflock fleet init` writes it")
