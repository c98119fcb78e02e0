"""The configuration of brokers that lock devices in: mosquitto's, with their access lists. Pure.

Rules:
- A device is who its certificate says: the common name becomes user name and client id, so no device
  can speak as another or take over its session.
- Nothing is allowed but exact leaves. No rule ends in `#`: a device must not be able to fill the broker
  with retained topics of its own making.
- Enrolment has a broker of its own. Strangers reach that one; they must be able neither to claim the
  rights of a device's name nor to hurt the fleet's broker. And its passwords change with each claim,
  which mosquitto takes safely at a start only (decision 14).
- Nobody is anonymous. A claim's address is its user name there; so a stranger cannot even connect, and a
  claim sees its own two topics and no others'.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import PurePath
from typing import Final

from fleet.home_topics import check_home, home_rights
from wire.enrolment import SERVER_NAME
from wire.errors import SettingsError
from wire.topics import Topics

#: What a device may write and read below `d/<itself>/`. The rest of the tree it may at most read.
DEVICE_WRITES: Final = ("reported", "online", "event", "telemetry", "samples", "log", "csr", "echo")
DEVICE_READS: Final = ("desired", "ack", "cmd", "truth", "crt", "echo")

#: The server writes what devices read, and reads the retained ones back to mend what a broker lost.
_SERVER_WRITES: Final = ("desired", "ack", "cmd", "truth", "crt")
_SERVER_READS: Final = ("reported", "online", "event", "telemetry", "samples", "log", "csr", "desired", "ack")

_HOST: Final = re.compile(r"(?=.{1,253}\Z)[A-Za-z0-9_](?:[A-Za-z0-9_-]*[A-Za-z0-9_])?(?:\.[A-Za-z0-9_-]+)*")

_HEAD: Final = """\
# Written by `edgeflock fleet init`. Yours to change: `fleet serve` starts mosquitto with it, and changes
# nothing but a listener's port when it is told to. Reasons: docs/how-to/secure-the-broker.md
"""

_CONFIG: Final = f"""\
{_HEAD}
max_packet_size 1114112
# A fleet that comes back after an outage is a burst; Debian's default of 1000 lost 93 % of one, silently.
max_queued_messages 1000000
max_inflight_messages 1000
# Sessions of devices that never come back.
persistent_client_expiration 1d
set_tcp_nodelay true
persistence true
persistence_location {{folder}}/
autosave_interval 60
log_dest stderr
log_type error

# Certificates of the devices' CA, and no others.
listener {{port}}{{bind}}
cafile {{folder}}/device-ca.pem
crlfile {{folder}}/crl.pem
certfile {{folder}}/broker.crt
keyfile {{folder}}/broker.key
tls_version tlsv1.2
require_certificate true
# CN -> user name -> client id: nobody takes over another's session.
use_identity_as_username true
use_username_as_clientid true
allow_anonymous false
acl_file {{folder}}/acl.conf
"""

_CLAIMS_CONFIG: Final = f"""\
{_HEAD}
# Enrolment: no certificate yet, a one-time claim instead. A broker of its own, which holds nothing.
max_packet_size 16384
max_queued_messages 16
retain_available false
set_tcp_nodelay true
persistence false
log_dest stderr
log_type error

listener {{claim_port}}{{bind}}
certfile {{folder}}/broker.crt
keyfile {{folder}}/broker.key
tls_version tlsv1.2
use_username_as_clientid true
allow_anonymous false
password_file {{folder}}/claims.passwd
acl_file {{folder}}/claims-acl.conf
# Below the 1024 files that a process may usually have open. 2.0.11 drops a silent one after 90 s.
max_connections 900
"""


@dataclass(frozen=True)
class BrokerPlan:
    """What `fleet init` was told, kept as `broker.json`. Raises SettingsError for what cannot work."""

    #: DNS names and addresses under which devices reach the broker; they stand in its certificate.
    hosts: tuple[str, ...]
    prefix: str = "edgeflock"
    port: int = 8883
    claim_port: int = 8884
    #: The address to listen on; empty for all.
    bind: str = ""
    #: Where Home Assistant looks for devices, for which the server needs a right; empty: nowhere.
    home: str = ""

    def __post_init__(self) -> None:
        Topics(self.prefix)
        if self.home:
            check_home(self.home)
        for port in (self.port, self.claim_port):
            if not 0 < port < 65536:
                raise SettingsError(f"port {port}: use 1 to 65535")
        if self.port == self.claim_port:
            raise SettingsError(f"port {self.port} for both: enrolment needs a port of its own")
        for host in (*self.hosts, *filter(None, [self.bind])):
            if not is_address(host) and not _HOST.fullmatch(host):
                raise SettingsError(f"{host!r} is no host name or address")


def is_address(host: str) -> bool:
    """Return whether `host` is an IP address, as which it stands in a certificate."""
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def render_config(plan: BrokerPlan, folder: PurePath) -> str:
    """Return mosquitto.conf for the files in `folder`, which is absolute."""
    bind = f" {plan.bind}" if plan.bind else ""
    return _CONFIG.format(folder=folder, port=plan.port, bind=bind)


def render_claims_config(plan: BrokerPlan, folder: PurePath) -> str:
    """Return the configuration of the broker for enrolment."""
    bind = f" {plan.bind}" if plan.bind else ""
    return _CLAIMS_CONFIG.format(folder=folder, claim_port=plan.claim_port, bind=bind)


def with_port(config: str, old: int, new: int) -> str:
    """Return `config` with its listener on another port, whatever else a person changed in it."""
    return re.sub(rf"(?m)^(listener\s+){old}\b", rf"\g<1>{new}", config)


def render_acl(prefix: str, home: str = "") -> str:
    """Return the access list of the fleet's broker; whatever it does not name is refused.

    `home` is Home Assistant's prefix, empty where it is told nothing.
    """
    own = f"{prefix}/d/%u"
    lines = [
        "# Devices: %u is the common name of the certificate. What is read by all is signed, not secret.",
        f"pattern read {prefix}/meta/+",
        f"pattern read {prefix}/blobs/+/+",
        f"pattern read {prefix}/plan/+/+",
        *(f"pattern write {own}/{leaf}" for leaf in DEVICE_WRITES),
        *(f"pattern read {own}/{leaf}" for leaf in DEVICE_READS),
        "",
        "# The server. `fleet enroll` gives no device this name.",
        f"user {SERVER_NAME}",
        f"topic readwrite {prefix}/meta/+",
        f"topic readwrite {prefix}/blobs/+/+",
        f"topic readwrite {prefix}/plan/+/+",
        f"topic write {prefix}/alerts/+",
        f"topic write {prefix}/alerts/+/+/+",
        *(f"topic write {prefix}/d/+/{leaf}" for leaf in _SERVER_WRITES),
        *(f"topic read {prefix}/d/+/{leaf}" for leaf in _SERVER_READS),
        *(f"topic write {topic}" for topic in (home_rights(home) if home else ())),
    ]
    return "\n".join(lines) + "\n"


def render_claims_acl(prefix: str) -> str:
    """Return the access list for enrolment: each claim has its own two topics."""
    return (
        "# Devices without a certificate: %u is the address of their claim.\n"
        f"pattern write {prefix}/claim/%u/csr\n"
        f"pattern read {prefix}/claim/%u/crt\n"
        f"\nuser {SERVER_NAME}\n"
        f"topic read {prefix}/claim/+/csr\n"
        f"topic write {prefix}/claim/+/crt\n"
    )
