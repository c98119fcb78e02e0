"""The one place where what comes from the network becomes something to act upon: the port.

`edge/adapters/tuf_trust.py` is the real one. `Unsigned` checks form alone, and needs a network that is
trusted; `NoTrust` is for a device that was told neither: it follows nothing.

A refusal is a `RefusedError` with the name of the rule that was broken (`BadVersionNumberError: …`). It may
be because something newer is on its way, so edge/orders.py looks twice before it is told. What has not
even the form of a message raises MessageError.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeVar

from wire.codec import decode
from wire.errors import EdgeflockError, MessageError
from wire.messages import Desired, Envelope, Plan, Targets

T = TypeVar("T")

#: Returns a metadata file, or None when there is none; raises edge.metadata.MissingFileError meanwhile.
Read = Callable[[str], bytes | None]


class RefusedError(EdgeflockError):
    """Something well formed that must not be acted upon; `rule` is the name of the error that says why."""

    def __init__(self, rule: str, reason: str) -> None:
        super().__init__(f"{rule}: {reason}" if reason else rule)
        self.rule = rule


class AbsentError(EdgeflockError):
    """A metadata file that should be there is not: the publisher's next visit brings it."""


@dataclass(frozen=True)
class Standing:
    """What was verified last, for the report to the server."""

    root: int | None = None
    timestamp: int | None = None
    targets: int | None = None
    clock: str | None = None


@dataclass(frozen=True)
class Named:
    """The verified releases among those that were asked for; the names of others, and why they are none."""

    targets: Targets | None = None
    refused: tuple[tuple[str, RefusedError], ...] = ()


class Trust(Protocol):
    """Opens what the server says. All methods may raise OSError, from the disk."""

    @property
    def first_file(self) -> str:
        """The metadata file whose arrival starts a refresh."""

    def refresh(self, read: Read) -> None:
        """Verify the metadata anew; what was verified before stands when it raises.

        Raises RefusedError, MessageError, AbsentError, and whatever `read` raises.
        """

    def plan(self, payload: bytes, *, group: str, model: str) -> Plan: ...

    def desired(self, payload: bytes, *, device: str) -> Desired: ...

    def named(self, names: Iterable[str], read: Read) -> Named:
        """Look up releases by name; raises what `read` raises."""

    def commit(self) -> None:
        """Make durable how far it has come; called before anything of it is acted upon."""

    def stopped(self) -> RefusedError | None:
        """Return why nothing may be installed now, or None."""

    def standing(self) -> Standing: ...


class Unsigned:
    """Accepts what is well formed and not older than what it saw before: for a trusted network only."""

    first_file = "targets.json"

    def __init__(self) -> None:
        self._targets: Targets | None = None
        self._plans: dict[tuple[str, str], int] = {}

    def refresh(self, read: Read) -> None:
        payload = read(self.first_file)
        if payload is None:
            return
        targets = decode(Targets, payload)
        if self._targets and targets.version < self._targets.version:
            raise MessageError("Targets", f"version {targets.version} after {self._targets.version}")
        self._targets = targets

    def plan(self, payload: bytes, *, group: str, model: str) -> Plan:
        plan = _open(Plan, payload)
        check_place(plan, group, model)
        if plan.sequence < self._plans.get((group, model), 0):
            raise MessageError("Plan", f"sequence {plan.sequence} is older than one seen before")
        self._plans[group, model] = plan.sequence
        return plan

    def desired(self, payload: bytes, *, device: str) -> Desired:
        desired = _open(Desired, payload)
        check_addressee(desired, device)
        return desired

    def named(self, names: Iterable[str], read: Read) -> Named:  # noqa: ARG002  # the port's
        return Named(self._targets)

    def commit(self) -> None:
        pass

    def stopped(self) -> RefusedError | None:
        return None

    def standing(self) -> Standing:
        return Standing(targets=self._targets.version if self._targets else None)


class NoTrust:
    """Follows nothing: nobody has said whom to believe."""

    first_file = "timestamp.json"

    reason = (
        "no plan is followed: name the fleet's root.json as trust.root in the settings, "
        "or say trust.unsigned = true on a network that you trust"
    )

    def refresh(self, read: Read) -> None:
        pass

    def plan(self, payload: bytes, *, group: str, model: str) -> Plan:  # noqa: ARG002  # the port's
        raise RefusedError("NoTrustError", self.reason)

    def desired(self, payload: bytes, *, device: str) -> Desired:  # noqa: ARG002  # the port's
        raise RefusedError("NoTrustError", self.reason)

    def named(self, names: Iterable[str], read: Read) -> Named:  # noqa: ARG002  # the port's
        return Named()

    def commit(self) -> None:
        pass

    def stopped(self) -> RefusedError | None:
        return RefusedError("NoTrustError", self.reason)

    def standing(self) -> Standing:
        return Standing()


def check_place(plan: Plan, group: str, model: str) -> None:
    """Raise MessageError for a plan under the topic of another group or model."""
    if (plan.group, plan.model) != (group, model):
        raise MessageError("Plan", f"for {plan.group}/{plan.model}, found under {group}/{model}")


def check_addressee(desired: Desired, device: str) -> None:
    """Raise MessageError for the desired state of another device."""
    if desired.device != device:
        raise MessageError("Desired", f"for {desired.device or 'nobody'}, found under {device}")


def _open(kind: type[T], payload: bytes) -> T:
    envelope = decode(Envelope, payload)
    try:
        inner = base64.b64decode(envelope.payload, validate=True)
    except ValueError as error:  # not ASCII, or binascii.Error
        raise MessageError("Envelope", f"payload is not base64: {error}") from error
    return decode(kind, inner)
