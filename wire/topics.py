"""Every topic of the protocol, built and parsed in one place.

Rules:
- names (device, group, model) hold letters, digits, `.`, `_` and `-` only, so no name can become
  a wildcard, a level, or a path outside its folder;
- a topic is parsed as a whole; code never compares prefixes or endings by hand;
- at most 7 slashes, which is AWS IoT's limit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal, get_args

from wire.errors import SettingsError

NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SHA256: Final = re.compile(r"[0-9a-f]{64}")
#: A metadata file: a version, a role (which may hold a model's whole name) and `.json`.
FILE: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")

Leaf = Literal[
    "desired", "ack", "cmd", "reported", "online", "event", "telemetry", "samples",
    "truth", "log", "csr", "crt", "echo",
]  # fmt: skip
LEAVES: Final[tuple[Leaf, ...]] = get_args(Leaf)

#: What a device says; the server subscribes to these leaves and no others.
UPWARD: Final[tuple[Leaf, ...]] = ("reported", "online", "event", "telemetry", "samples")

#: What stands on the broker of a device, whoever says it.
RETAINED: Final[tuple[Leaf, ...]] = ("desired", "ack", "reported", "online")


@dataclass(frozen=True)
class DeviceTopic:
    """`d/<device>/<leaf>`."""

    device: str
    leaf: Leaf


@dataclass(frozen=True)
class PlanTopic:
    """`plan/<group>/<model>`."""

    group: str
    model: str


@dataclass(frozen=True)
class BlobTopic:
    """`blobs/<sha256>/<index>`: raw chunk `index` of the blob with that digest."""

    sha256: str
    index: int


@dataclass(frozen=True)
class MetaTopic:
    """`meta/<file>`."""

    file: str


ClaimLeaf = Literal["csr", "crt"]


@dataclass(frozen=True)
class ClaimTopic:
    """`claim/<token-hash>/<leaf>`: the enrolment of a device that has no certificate yet."""

    address: str
    leaf: ClaimLeaf


@dataclass(frozen=True)
class AlertTopic:
    """`alerts/<kind>`, or `alerts/<kind>/<model>/<version>` and `alerts/<kind>/<group>/<model>`."""

    key: str


Address = DeviceTopic | PlanTopic | BlobTopic | MetaTopic | ClaimTopic | AlertTopic


def check_name(kind: str, name: str) -> str:
    """Return `name`, or raise SettingsError when it cannot be a topic level."""
    if not NAME.fullmatch(name):
        raise SettingsError(
            f"{kind} {name!r}: use 1 to 64 letters, digits, '.', '_' or '-', beginning with a letter or digit"
        )
    return name


@dataclass(frozen=True)
class Topics:
    """The topics under one prefix (default `edgeflock`; several levels are allowed)."""

    prefix: str = "edgeflock"

    def __post_init__(self) -> None:
        for level in self.prefix.split("/"):
            check_name("topic prefix", level)

    def device(self, device: str, leaf: Leaf) -> str:
        return f"{self.prefix}/d/{device}/{leaf}"

    def every_device(self, leaf: Leaf) -> str:
        """A filter for one leaf of all devices (server only)."""
        return f"{self.prefix}/d/+/{leaf}"

    def plan(self, group: str, model: str) -> str:
        return f"{self.prefix}/plan/{group}/{model}"

    def blob(self, sha256: str, index: int) -> str:
        return f"{self.prefix}/blobs/{sha256}/{index}"

    def meta(self, file: str) -> str:
        return f"{self.prefix}/meta/{file}"

    def claim(self, address: str, leaf: ClaimLeaf) -> str:
        """`address` is `wire.enrolment.Claim.address`, or `+` in the server's filter."""
        return f"{self.prefix}/claim/{address}/{leaf}"

    def alert(self, key: str) -> str:
        """`key` is that of an alert of the server."""
        return f"{self.prefix}/alerts/{key}"

    def parse(self, topic: str) -> Address | None:
        """Return what `topic` addresses, or None when it is not one of ours."""
        head = self.prefix + "/"
        if not topic.startswith(head):
            return None
        match topic[len(head) :].split("/"):
            case ["d", device, leaf] if NAME.fullmatch(device) and leaf in LEAVES:
                return DeviceTopic(device, leaf)
            case ["plan", group, model] if NAME.fullmatch(group) and NAME.fullmatch(model):
                return PlanTopic(group, model)
            case ["blobs", sha256, index] if SHA256.fullmatch(sha256) and _is_index(index):
                return BlobTopic(sha256, int(index))
            case ["meta", file] if FILE.fullmatch(file):
                return MetaTopic(file)
            case ["claim", address, "csr" | "crt" as leaf] if SHA256.fullmatch(address):
                return ClaimTopic(address, leaf)
            case ["alerts", *levels] if len(levels) in (1, 3) and all(map(NAME.fullmatch, levels)):
                return AlertTopic("/".join(levels))
        return None


def _is_index(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 6 and str(int(text)) == text
