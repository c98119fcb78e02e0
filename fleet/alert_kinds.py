"""The kinds of alerts: what each is about, how loud, when it is found, and how long that must last.

docs/reference/metrics.md lists the table; a test keeps them in step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Literal

from fleet.drift import ALPHA, LEAST_EFFECT_BITS
from fleet.expiring import WARN_BEFORE

Severity = Literal["critical", "warning"]

#: Answers of a release without which its figures raise nothing.
LEAST_CALLS: Final = 1000
#: Calls of a release that fail.
ERROR_SHARE: Final = 0.01
#: The 99th percentile, against the release before.
SLOWER: Final = 3.0
#: Refusals that stop a rollout: this many, and this share of those that have reported on it.
LEAST_REFUSALS: Final = 2
REFUSAL_SHARE: Final = 0.10


class Subject(StrEnum):
    """What an alert can be about. Those about devices are grouped."""

    DEVICE = "device"
    RELEASE = "release"
    ROLLOUT = "rollout"
    FLEET = "fleet"


@dataclass(frozen=True)
class AlertKind:
    """One kind; `several` ends the sentence "3 of 20 devices …"."""

    name: str
    severity: Severity
    subject: Subject
    found_when: str
    raise_after_s: float
    clear_after_s: float
    several: str = ""


_TABLE: Final = (
    AlertKind("device-offline", "warning", Subject.DEVICE, "A device is offline.", 300, 60, "are offline"),
    AlertKind("device-silent", "warning", Subject.DEVICE, "A device is silent.", 60, 60, "are silent"),
    AlertKind("device-frozen", "critical", Subject.DEVICE, "A device is frozen.", 120, 120, "are frozen"),
    AlertKind("device-degraded", "warning", Subject.DEVICE, "A device is degraded.", 300, 300,
              "are degraded"),
    AlertKind("messages-lost", "warning", Subject.DEVICE,
              "A device had to drop messages that the server never got.", 0, 3600, "lost messages"),
    AlertKind("accuracy-before", "critical", Subject.RELEASE,
              "It is less accurate than the release before it on the same devices: its interval is below 0.",
              600, 1800),
    AlertKind("accuracy-promised", "critical", Subject.RELEASE,
              "The whole 95 % interval of its accuracy is below what its bundle had on held-out data.",
              600, 1800),
    AlertKind("drift", "warning", Subject.RELEASE,
              f"Inputs, confidence or classes drift: adjusted p at most {ALPHA:g} and an effect of at "
              f"least {LEAST_EFFECT_BITS:g} bits.", 600, 1800),
    AlertKind("errors", "critical", Subject.RELEASE,
              f"More than {ERROR_SHARE:.0%} of its calls fail, of {LEAST_CALLS:,} or more.", 120, 600),
    AlertKind("latency", "warning", Subject.RELEASE,
              f"Its 99th percentile is above {SLOWER:g} times that of the release before it on the same "
              f"devices, each from {LEAST_CALLS:,} answers or more.", 600, 1800),
    AlertKind("rollout-refused", "critical", Subject.ROLLOUT,
              f"At least {LEAST_REFUSALS} devices and {REFUSAL_SHARE:.0%} of those that tried it refuse the "
              "release.", 0, 300),
    AlertKind("expiring", "warning", Subject.FLEET,
              f"Signed metadata or a certificate of the broker expires within {WARN_BEFORE.days} days.",
              0, 60),
    AlertKind("expired", "critical", Subject.FLEET, "One of them has expired.", 0, 60),
)  # fmt: skip

KINDS: Final[Mapping[str, AlertKind]] = {kind.name: kind for kind in _TABLE}
