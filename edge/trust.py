"""The one place where what comes from the network becomes something to act upon.

Signatures belong here, and only here: `Trust` turns the bytes of a topic into releases, plans and
wishes. Today's `Unsigned` checks form alone. The signed one (TUF metadata for the targets, DSSE
signatures on plan and desired) replaces it without a change elsewhere: the envelope is on the wire
already, and everything behind the targets is bound to them by digests.
"""

from __future__ import annotations

import base64
from typing import Protocol, TypeVar

from wire.codec import decode
from wire.errors import MessageError
from wire.messages import Desired, Envelope, Plan, Targets

T = TypeVar("T")


class Trust(Protocol):
    """Opens what the server says. Every method raises MessageError for what must not be acted upon."""

    def targets(self, payload: bytes) -> Targets: ...

    def plan(self, payload: bytes, *, group: str, model: str) -> Plan: ...

    def desired(self, payload: bytes) -> Desired: ...


class Unsigned:
    """Accepts what is well formed and not older than what it saw before: for a trusted network only."""

    def __init__(self) -> None:
        self._targets_version = 0
        self._plans: dict[tuple[str, str], int] = {}

    def targets(self, payload: bytes) -> Targets:
        targets = decode(Targets, payload)
        if targets.version < self._targets_version:
            raise MessageError("Targets", f"version {targets.version} after {self._targets_version}")
        self._targets_version = targets.version
        return targets

    def plan(self, payload: bytes, *, group: str, model: str) -> Plan:
        plan = _open(Plan, payload)
        if (plan.group, plan.model) != (group, model):
            raise MessageError("Plan", f"for {plan.group}/{plan.model}, found under {group}/{model}")
        if plan.sequence < self._plans.get((group, model), 0):
            raise MessageError("Plan", f"sequence {plan.sequence} is older than one seen before")
        self._plans[group, model] = plan.sequence
        return plan

    def desired(self, payload: bytes) -> Desired:
        return _open(Desired, payload)


def _open(kind: type[T], payload: bytes) -> T:
    envelope = decode(Envelope, payload)
    try:
        inner = base64.b64decode(envelope.payload, validate=True)
    except ValueError as error:  # not ASCII, or binascii.Error
        raise MessageError("Envelope", f"payload is not base64: {error}") from error
    return decode(kind, inner)
