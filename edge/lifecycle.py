"""The state machine of one model on one device.

Rules:
- a transition is a row of the table; an illegal event raises and changes nothing;
- every state that waits for something outside has a deadline, so no device hangs for ever; idle, wait-wave
  and blocked wait for the plan, by design, and wait-turn for another model, which has deadlines
  (edge/turns.py); the rest end by themselves (commit and rollback once the disk takes the pointer: what
  serves meanwhile is right already);
- what a state needs after a power cut is recomputed from the disk, never from the state's name.

docs/reference/lifecycle.md is generated from the table.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from wire.errors import EdgeflockError


class State(StrEnum):
    IDLE = "idle"
    CHECK = "check"
    WAIT_WAVE = "wait-wave"
    WAIT_TURN = "wait-turn"
    SPACE = "space"
    DOWNLOAD = "download"
    VERIFY = "verify"
    STAGE = "stage"
    SHADOW = "shadow"
    SWAP = "swap"
    PROBATION = "probation"
    COMMIT = "commit"
    ROLLBACK = "rollback"
    BLOCKED = "blocked"


class Cause(StrEnum):
    """What moves a model from one state to the next."""

    PLAN_CHANGED = "plan-changed"
    UP_TO_DATE = "up-to-date"
    NOT_OUR_WAVE = "not-our-wave"
    UNKNOWN_RELEASE = "unknown-release"
    REFUSED = "refused"
    PAUSED = "paused"
    BLOCKED_BEFORE = "blocked-before"
    UNFIT = "unfit"
    WANTED = "wanted"
    ON_DISK = "on-disk"
    QUEUED = "queued"
    OUR_TURN = "our-turn"
    NO_SPACE = "no-space"
    SPACE_RESERVED = "space-reserved"
    COMPLETE = "complete"
    TRANSFER_FAILED = "transfer-failed"
    VERIFIED = "verified"
    DAMAGED = "damaged"
    TRIAL_PASSED = "trial-passed"
    TRIAL_FAILED = "trial-failed"
    TRIAL_INTERRUPTED = "trial-interrupted"
    SHADOWING = "shadowing"
    SHADOWED = "shadowed"
    SHADOW_FAILED = "shadow-failed"
    FILE_LOST = "file-lost"
    SWAPPED = "swapped"
    SWAP_FAILED = "swap-failed"
    HEALTHY = "healthy"
    UNHEALTHY = "unhealthy"
    DONE = "done"
    TIMED_OUT = "timed-out"


class IllegalTransitionError(EdgeflockError):
    """An event that the table does not allow in this state: a fault of ours, never of the peer."""


_S, _C = State, Cause

TRANSITIONS: Final[dict[tuple[State, Cause], State]] = {
    (_S.IDLE, _C.PLAN_CHANGED): _S.CHECK,
    (_S.CHECK, _C.UP_TO_DATE): _S.IDLE,
    (_S.CHECK, _C.UNKNOWN_RELEASE): _S.IDLE,
    (_S.CHECK, _C.REFUSED): _S.IDLE,
    (_S.CHECK, _C.PAUSED): _S.IDLE,
    (_S.CHECK, _C.BLOCKED_BEFORE): _S.BLOCKED,
    (_S.CHECK, _C.UNFIT): _S.BLOCKED,
    (_S.CHECK, _C.NOT_OUR_WAVE): _S.WAIT_WAVE,
    (_S.CHECK, _C.WANTED): _S.SPACE,
    (_S.CHECK, _C.ON_DISK): _S.STAGE,
    (_S.CHECK, _C.QUEUED): _S.WAIT_TURN,
    (_S.WAIT_WAVE, _C.PLAN_CHANGED): _S.CHECK,
    (_S.WAIT_TURN, _C.OUR_TURN): _S.CHECK,
    (_S.WAIT_TURN, _C.PLAN_CHANGED): _S.CHECK,
    (_S.SPACE, _C.SPACE_RESERVED): _S.DOWNLOAD,
    (_S.SPACE, _C.NO_SPACE): _S.IDLE,
    (_S.DOWNLOAD, _C.COMPLETE): _S.VERIFY,
    (_S.DOWNLOAD, _C.TRANSFER_FAILED): _S.IDLE,
    (_S.DOWNLOAD, _C.PLAN_CHANGED): _S.CHECK,
    (_S.DOWNLOAD, _C.TIMED_OUT): _S.IDLE,
    (_S.VERIFY, _C.VERIFIED): _S.STAGE,
    (_S.VERIFY, _C.DAMAGED): _S.IDLE,
    (_S.VERIFY, _C.NO_SPACE): _S.IDLE,
    (_S.VERIFY, _C.QUEUED): _S.WAIT_TURN,
    (_S.STAGE, _C.TRIAL_PASSED): _S.SWAP,
    (_S.STAGE, _C.TRIAL_FAILED): _S.BLOCKED,
    (_S.STAGE, _C.TIMED_OUT): _S.BLOCKED,
    (_S.STAGE, _C.TRIAL_INTERRUPTED): _S.IDLE,
    (_S.STAGE, _C.PLAN_CHANGED): _S.CHECK,
    (_S.STAGE, _C.NO_SPACE): _S.IDLE,
    (_S.STAGE, _C.SHADOWING): _S.SHADOW,
    (_S.SHADOW, _C.SHADOWED): _S.SWAP,
    (_S.SHADOW, _C.SHADOW_FAILED): _S.BLOCKED,
    (_S.SHADOW, _C.PLAN_CHANGED): _S.CHECK,
    (_S.SHADOW, _C.NO_SPACE): _S.IDLE,
    (_S.SHADOW, _C.FILE_LOST): _S.IDLE,
    (_S.SWAP, _C.SWAPPED): _S.PROBATION,
    (_S.SWAP, _C.SWAP_FAILED): _S.BLOCKED,
    (_S.SWAP, _C.NO_SPACE): _S.IDLE,
    (_S.SWAP, _C.FILE_LOST): _S.IDLE,
    (_S.PROBATION, _C.HEALTHY): _S.COMMIT,
    (_S.PROBATION, _C.UNHEALTHY): _S.ROLLBACK,
    (_S.COMMIT, _C.DONE): _S.IDLE,
    (_S.ROLLBACK, _C.DONE): _S.BLOCKED,
    (_S.BLOCKED, _C.PLAN_CHANGED): _S.CHECK,
}

#: After so many seconds a state ends: by TIMED_OUT, a shadow with the pairs that it has, a probation as
#: edge/probation.py says. The other states end by themselves, or wait for the plan.
DEADLINE_S: Final[dict[State, float]] = {
    State.DOWNLOAD: 6 * 3600.0,
    State.STAGE: 120.0,
    State.SHADOW: 600.0,
    State.PROBATION: 60.0,
}


def advance(state: State, cause: Cause) -> State:
    """Return the state that follows; raise IllegalTransitionError when the table has no such row."""
    try:
        return TRANSITIONS[state, cause]
    except KeyError:
        raise IllegalTransitionError(f"{cause} in state {state}") from None


def diagram() -> str:
    """Return the table as a Mermaid state diagram, for the docs."""
    rows = [f"    {_id(a)} --> {_id(b)}: {cause}" for (a, cause), b in TRANSITIONS.items()]
    return "\n".join(["stateDiagram-v2", f"    [*] --> {State.IDLE}", *rows]) + "\n"


def _id(state: State) -> str:
    return state.replace("-", "_")  # Mermaid reads a dash as part of an arrow
