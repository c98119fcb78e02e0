"""Who takes part in a rollout: the same answer on the device, which acts, and on the server, which waits."""

from __future__ import annotations

import hashlib
from typing import Final

from wire.messages import Plan

_BUCKETS: Final = 10_000


def bucket(release: str, device: str) -> int:
    """Return the device's bucket, 0 to 9999, for this release: other canaries at every release."""
    digest = hashlib.sha256(f"{release}/{device}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % _BUCKETS


def takes_part(plan: Plan, device: str) -> bool:
    """Return whether `device` is in the plan's wave: a named canary, or in a bucket below the percentage."""
    return device in plan.canaries or bucket(plan.release, device) < plan.percent * _BUCKETS / 100
