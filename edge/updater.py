"""Takes one model on one device from the wish of the server to a committed swap.

The table in edge/lifecycle.py says what may follow what, edge/rollout.py decides what is wanted,
edge/pointer.py what a restart will find, edge/standing.py lets that serve; this file is the order in which
they and the ports act.

Rules:
- a transition is journalled when it is made, before what it leads to;
- a transfer that fails is tried again with a growing pause and blocks nothing; a model that fails
  its trial, its swap or its probation is blocked by its digest;
- before a download and before a trial it asks whether it is its turn (edge/turns.py): other models of
  the device have their own updaters.

Everything here runs on the agent's control thread, but for `recover`, which runs before it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from typing import Final

from edge import pointer as pointers
from edge.download import NoSpaceError
from edge.lifecycle import DEADLINE_S, Cause, State, advance
from edge.pointer import Pointer, Slot
from edge.ports import Ports, Watch
from edge.probation import Probation, median
from edge.rollout import Choice, Holdings, Wishes, choose
from edge.standing import Standing
from edge.swapping import NoRoomError
from edge.transfer import Transfer
from edge.turns import NEEDS, Errand, Place
from wire.deadline import Deadline
from wire.errors import BundleError, ModelError, TransferError
from wire.messages import Blob, Event, ModelState, Release
from wire.topics import BlobTopic

log = logging.getLogger(__name__)

#: States in which a candidate is, or may be, loaded.
_HOLDING: Final = (State.STAGE, State.SHADOW, State.SWAP)

#: States in which what is wanted is looked at again; in the others it is when they end.
_LOOKING: Final = (State.IDLE, State.WAIT_WAVE, State.WAIT_TURN, State.BLOCKED, State.DOWNLOAD)

#: A delta that fails to arrive so often in a row gives way to the whole bundle.
_DELTA_TRIES: Final = 3

_FIRST_RETRY_S: Final = 2.0
_LONGEST_RETRY_S: Final = 300.0
_LONGEST_DETAIL: Final = 500


class Updater:
    """The state machine of one model, with its effects."""

    def __init__(self, device: str, model: str, ports: Ports) -> None:
        self._device = device
        self._model = model
        self._ports = ports
        self._wishes = Wishes()
        self._choice = Choice(Cause.UP_TO_DATE)
        self._transfer = Transfer(ports.store, ports.make_download)
        self._place = Place(ports.turns, model)
        self._deadline: Deadline | None = None
        self._retry: Deadline | None = None
        self._failures = 0
        self._look_again = False
        self._error: str | None = None
        self._standing = Standing(ports.store, ports.serving, self._failed)
        self._link_up = True
        self._probation: Watch | None = None
        self._needs_bytes = 0  # of the candidate, as its trial measured
        self._trial_us: float | None = None  # its median, from there too
        self.state = State.IDLE

    # --- what the agent calls -----------------------------------------------------------------

    def recover(self, problem: str | None = None) -> None:
        """Serve what the disk says should serve, or the one before it. Call once, at start.

        `problem` is what went wrong with the model before that, for the report.
        """
        self._error = problem and _short(problem)
        try:
            self._standing.recover()
        except OSError as error:
            log.error("the disk failed: %s", error)
            self._failed(error)
        if self._pointer.on_probation and self._pointer.current:
            self.state = State.PROBATION
            self._watch(self._pointer.current.release)

    def fell_back(self, reason: str) -> None:
        """Report what was on probation and was rolled back before this start. Call after `recover`."""
        self.state = State.PROBATION
        self._guard(lambda: self._roll_back(reason))

    def wish(self, wishes: Wishes) -> None:
        """Take note of what the server wants now, and act on it as soon as the state allows."""
        if wishes != self._wishes:
            self._forget_failures()
        self._wishes = wishes
        self._look_again = True
        self._guard(self._look)

    def check_now(self) -> None:
        """Look again without waiting for the pause after a failure."""
        self._forget_failures()
        self._look_again = True
        self._guard(self._look)

    def receive(self, topic: BlobTopic, payload: bytes) -> None:
        """Take a chunk that arrived."""
        try:
            self._transfer.receive(topic, payload, self._ports.clock())
        except (TransferError, OSError) as error:
            self._transfer_failed(error)

    def link_lost(self) -> None:
        self._link_up = False
        self._transfer.link_lost()

    def link_restored(self) -> None:
        """Go on with a download at once: what failed while the link was down failed for that."""
        self._link_up = True
        if self.state is State.IDLE:
            self._forget_failures()
            self._look_again = True

    def tick(self) -> None:
        """Do what is due, waiting for the disk only; one that fails is tried again later."""
        if self._retry is None or self._retry.passed:
            self._guard(self._tick)

    def report(self) -> ModelState:
        """Return the state for the `reported` topic."""
        target = self._choice.release
        progress = self._transfer.progress
        return ModelState(
            model=self._model,
            state=str(self.state),
            current=self._pointer.current.release if self._pointer.current else None,
            previous=self._pointer.previous.release if self._pointer.previous else None,
            target=target.name if target else None,
            done_chunks=progress.done,
            total_chunks=progress.total,
            fetched_chunks=progress.fetched,
            error=self._error,
            attempt=self._pointer.attempts,
            repeated_chunks=progress.repeats,
        )

    def close(self) -> None:
        """Stop what runs beside us; the disk keeps what is needed to go on."""
        if self.state in (State.STAGE, State.SHADOW):
            self._guard(lambda: self._standing.save(pointers.not_attempted(self._pointer)))
        if self._pointer.on_probation:
            self._guard(lambda: self._standing.save(pointers.ended_well(self._pointer)))
        self._ports.trial.kill()

    # --- deciding -----------------------------------------------------------------------------

    def _guard(self, step: Callable[[], None]) -> None:
        try:
            step()
        except OSError as error:
            self._disk_failed(error)

    def _tick(self) -> None:
        match self.state:
            case State.DOWNLOAD:
                self._tick_download()
            case State.STAGE:
                self._tick_trial()
            case State.SHADOW:
                self._tick_shadow()
            case State.PROBATION:
                self._tick_probation()
            case State.COMMIT:
                self._finish_commit()
            case State.ROLLBACK:
                self._finish_rollback()
            case _:
                self._look()

    def _look(self) -> None:
        if self._retry is not None and self._retry.passed:
            self._retry = None
            self._look_again = True
        if not (self._look_again or self._place.up) or self._retry is not None:
            return
        if self.state not in _LOOKING:
            return
        self._look_again = False
        choice = self._choose()
        if choice == self._choice and not self._actionable(choice):
            return
        same = (choice.cause, choice.release) == (self._choice.cause, self._choice.release)
        if self.state is State.DOWNLOAD:
            if same:
                self._choice = choice
                self._transfer.limit(choice.rate_bytes_s)
                return
            self._transfer.stop()
        if self.state is State.WAIT_TURN and same and self._place.waits:
            self._choice = choice
            return
        self._choice = choice
        self._go(Cause.OUR_TURN if self._place.up else Cause.PLAN_CHANGED)
        self._follow(choice)

    def _follow(self, choice: Choice) -> None:
        """Go where the choice leads, or wait for the turn that it needs."""
        needs = NEEDS.get(choice.cause)
        if needs is not None and not self._may(needs):
            self._error = None
            return
        self._go(choice.cause, choice.reason)
        self._act_on(choice)

    def _may(self, errand: Errand) -> bool:
        """Return whether it is our turn; wait for it otherwise."""
        first = self._place.ask(errand)
        if first is not None:
            self._go(Cause.QUEUED, f"the {errand} of {first} comes first")
        return first is None

    def _choose(self) -> Choice:
        choice = choose(self._device, self._model, self._wishes, self._holdings())
        release = choice.release
        if choice.cause is Cause.ON_DISK and release and not self._ports.store.holds(release.bundle_sha256):
            return choose(self._device, self._model, self._wishes, self._holdings())  # damaged, now removed
        return choice

    def _actionable(self, choice: Choice) -> bool:
        return choice.cause in (Cause.WANTED, Cause.ON_DISK)

    def _holdings(self) -> Holdings:
        current = self._pointer.current
        return Holdings(
            current=current.sha256 if current else None,
            blocked=frozenset(self._pointer.blocked),
            on_disk=self._ports.store.on_disk(),
            board=self._ports.board,
            lifted=self._pointer.lifted,
        )

    def _act_on(self, choice: Choice) -> None:
        if choice.lifts and choice.release:
            self._standing.save(pointers.lifted(self._pointer, choice.release.bundle_sha256, choice.lifts))
        match choice.cause:
            case Cause.WANTED:
                self._error = None
                self._reserve()
            case Cause.ON_DISK:
                self._error = None
                self._begin_trial()
            case Cause.BLOCKED_BEFORE:
                self._error = self._error or "failed here before"
            case Cause.UNFIT:
                self._error = choice.reason
            case Cause.UNKNOWN_RELEASE:
                self._error = "the plan names a release that no verified metadata has"
            case Cause.REFUSED:
                self._error = self._wishes.stopped
            case _:
                self._error = None

    # --- transfer -----------------------------------------------------------------------------

    def _reserve(self) -> None:
        slots = (self._pointer.current, self._pointer.previous)
        bases = {slot.sha256: slot.release for slot in slots if slot}
        if self._failures >= _DELTA_TRIES:
            bases.clear()
        try:
            self._transfer.reserve(self._release(), bases, frozenset(self._pointer.failed_blobs))
        except (NoSpaceError, OSError) as error:
            self._fail_softly(Cause.NO_SPACE, error)
            return
        self._go(Cause.SPACE_RESERVED)
        self._transfer.begin(self._choice.rate_bytes_s)

    def _tick_download(self) -> None:
        self._look()
        transfer = self._transfer
        if not transfer.running or not self._link_up:
            return
        if self._out_of_time():
            transfer.stop()
            self._fail_softly(Cause.TIMED_OUT, TransferError("the download took too long"))
            return
        try:
            transfer.tick(self._ports.clock())
        except TransferError as error:
            self._transfer_failed(error)
            return
        if transfer.finished:
            progress = transfer.progress
            self._go(Cause.COMPLETE, f"fetched {progress.fetched} of {progress.total} chunks{transfer.way}")
            self._verify()

    def _transfer_failed(self, error: Exception) -> None:
        self._transfer.stop()
        self._fail_softly(Cause.TRANSFER_FAILED, error)

    def _verify(self) -> None:
        self._transfer.stop()
        try:
            self._transfer.install(self._release())
        except NoSpaceError as error:
            self._fail_softly(Cause.NO_SPACE, error)
            return
        except (TransferError, OSError) as error:
            delta = self._transfer.delta
            if delta is None:
                self._fail_softly(Cause.DAMAGED, error)
            else:
                self._fall_back(delta, error)
            return
        self._failures = 0
        if self._may(Errand.TRIAL):
            self._go(Cause.VERIFIED)
            self._begin_trial()
        else:
            self._choice = replace(self._choice, cause=Cause.ON_DISK)

    def _fall_back(self, delta: Blob, error: Exception) -> None:
        """Fetch the whole bundle, at once and for good: what was signed is sound, this way to it is not."""
        self._error = _short(f"an update could not be used: {error}")
        self._standing.save(pointers.without_delta(self._pointer, delta.sha256))
        self._go(Cause.DAMAGED, f"{error}{self._transfer.way}; fetching the whole bundle")
        self._look_again = True

    def _forget_failures(self) -> None:
        self._retry = None
        self._failures = 0

    def _fail_softly(self, cause: Cause, error: Exception) -> None:
        """Go back to idle and try again later; nothing is held against the model."""
        self._failed(error)
        pause_s = min(_LONGEST_RETRY_S, _FIRST_RETRY_S * 2**self._failures)
        self._failures = min(self._failures + 1, 16)
        self._retry = Deadline.after(pause_s, self._ports.clock)
        self._go(cause, f"{error}; again in {pause_s:.0f} s")

    # --- trial and swap -----------------------------------------------------------------------

    def _begin_trial(self) -> None:
        sha256 = self._release().bundle_sha256
        self._standing.save(pointers.attempted(self._pointer, sha256))
        if self._pointer.attempts > pointers.MAX_ATTEMPTS:
            self._block(Cause.TRIAL_FAILED, "each trial of it ended without an answer")
            return
        store, current = self._ports.store, self._pointer.current
        serving = store.path(current.sha256) if current else None
        self._ports.trial.start(store.path(sha256), serving=serving, signed=self._release().manifest)

    def _tick_trial(self) -> None:
        verdict = self._ports.trial.poll()
        if verdict is None:
            if self._out_of_time():
                self._ports.trial.kill()
                self._block(Cause.TIMED_OUT, f"no answer in {DEADLINE_S[State.STAGE]:.0f} s")
            return
        if not verdict.conclusive:
            self._fail_softly(Cause.TRIAL_INTERRUPTED, ModelError(verdict.reason))
        elif not verdict.passed:
            self._block(Cause.TRIAL_FAILED, verdict.reason)
        elif self._still_wanted():
            self._needs_bytes = verdict.measured.needs_bytes if verdict.measured else 0
            self._trial_us = verdict.measured.p50_us if verdict.measured else None
            if not self._begin_shadow(verdict.reason):
                self._go(Cause.TRIAL_PASSED, verdict.reason)
                self._swap()

    def _begin_shadow(self, reason: str) -> bool:
        """Begin one if that is wished; return whether the candidate is taken care of, one way or another."""
        bundle = self._ports.store.path(self._release().bundle_sha256)
        try:
            if not self._ports.serving.begin_shadow(bundle, self._needs_bytes):
                return False
        except BundleError as error:
            self._fail_softly(Cause.TRIAL_INTERRUPTED, error)
        except NoRoomError as error:
            self._no_room(error)
        except ModelError as error:
            self._block(Cause.TRIAL_FAILED, str(error))
        else:
            self._go(Cause.SHADOWING, reason)
        return True

    def _tick_shadow(self) -> None:
        """Collect pairs; what they say is reported, and decides nothing here."""
        if not self._still_wanted():
            return
        try:
            pairs = self._ports.serving.shadow_step()
        except ModelError as error:
            self._block(Cause.SHADOW_FAILED, str(error))
            return
        if self._ports.serving.shadow_done() or self._out_of_time():
            self._go(Cause.SHADOWED, str(pairs))
            self._swap()

    def _still_wanted(self) -> bool:
        """Return whether the plan still says so; a pause or an abort during the trial ends it here."""
        choice = self._choose()
        if (choice.cause, choice.release) == (Cause.ON_DISK, self._choice.release):
            return True
        self._standing.save(pointers.not_attempted(self._pointer))
        self._choice = choice
        self._go(Cause.PLAN_CHANGED)
        self._follow(choice)
        return False

    def _swap(self) -> None:
        release = self._release()
        try:
            self._standing.install(Slot(release.name, release.bundle_sha256), self._needs_bytes)
        except BundleError as error:
            self._fail_softly(Cause.FILE_LOST, error)
            return
        except NoRoomError as error:
            self._no_room(error)
            return
        except ModelError as error:
            self._block(Cause.SWAP_FAILED, str(error))
            return
        self._go(Cause.SWAPPED)
        self._watch(release.name)

    def _no_room(self, error: NoRoomError) -> None:
        """Wait for memory: it may have gone since the trial, and nothing is held against the model."""
        self._standing.save(pointers.not_attempted(self._pointer))
        self._fail_softly(Cause.NO_SPACE, error)

    def _block(self, cause: Cause, reason: str) -> None:
        self._error = _short(reason)
        self._standing.save(pointers.blocked(self._pointer, self._release().bundle_sha256))
        self._go(cause, reason)
        self._standing.collect()

    # --- probation ----------------------------------------------------------------------------

    def _watch(self, release: str) -> None:
        """Begin the probation. How fast is usual counts only where there is a model to go back to."""
        if self._ports.watch is not None:
            self._probation = self._ports.watch(release)
            return
        serving, previous = self._ports.serving, self._pointer.previous
        usual_us = (median(serving.latencies(previous.release)) or self._trial_us) if previous else None
        self._probation = Probation(
            serving, release, self._ports.clock, usual_us=usual_us, limit=self._ports.slower_limit
        )

    def _tick_probation(self) -> None:
        assert self._probation is not None
        outcome = self._probation.step()
        if outcome is None:
            return
        if not outcome.healthy:
            self._roll_back(outcome.detail)
        else:
            self._go(Cause.HEALTHY, outcome.detail)
            self._finish_commit()

    def _finish_commit(self) -> None:
        self._standing.save(pointers.committed(self._pointer))
        self._ports.serving.commit()
        self._standing.collect()
        self._error = None
        self._go(Cause.DONE)
        self._choice = Choice(Cause.UP_TO_DATE, self._choice.release)
        self._look_again = True

    def _roll_back(self, reason: str) -> None:
        self._error = reason
        self._go(Cause.UNHEALTHY, reason)
        self._finish_rollback()

    def _finish_rollback(self) -> None:
        if self._pointer.on_probation:  # once: what failed behind it may come here again
            self._standing.save(pointers.rolled_back(self._pointer))
        self._standing.serve()
        self._ports.serving.commit()  # it stays, and the one that failed goes
        self._standing.collect()
        self._go(Cause.DONE)
        self._look_again = True

    # --- small things -------------------------------------------------------------------------

    @property
    def _pointer(self) -> Pointer:
        return self._standing.pointer

    def _failed(self, error: Exception) -> None:
        self._error = _short(str(error))

    def _release(self) -> Release:
        assert self._choice.release is not None
        return self._choice.release

    def _disk_failed(self, error: OSError) -> None:
        """Wait and try again: from the start where nothing is at stake, from where it is otherwise."""
        log.error("the disk failed: %s", error)
        if self.state in (State.SPACE, State.VERIFY, State.STAGE, State.SHADOW, State.SWAP):
            self._ports.trial.kill()
            self._standing.assume(pointers.not_attempted(self._pointer))
            self._fail_softly(Cause.NO_SPACE, error)
        elif self.state is State.DOWNLOAD:
            self._transfer_failed(error)
        else:
            self._failed(error)
            self._retry = Deadline.after(_FIRST_RETRY_S, self._ports.clock)
            self._place.step_out()

    def _out_of_time(self) -> bool:
        return self._deadline is not None and self._deadline.passed

    def _go(self, cause: Cause, detail: str | None = None) -> None:
        before, after = self.state, advance(self.state, cause)
        current = self._pointer.current
        release = self._choice.release.name if self._choice.release else None
        if release is None and current is not None:
            release = current.release
        note = _short(detail) if detail else None
        self._ports.journal(Event(self._model, str(before), str(after), str(cause), release, note))
        log.info(
            "%s: %s -> %s (%s)%s",
            release or self._model,
            before,
            after,
            cause,
            f": {detail}" if detail else "",
        )
        self.state = after
        self._place.moved(before, after)
        if before in _HOLDING and after not in (*_HOLDING, State.PROBATION):
            self._standing.put_back()
        limit_s = DEADLINE_S.get(after)
        self._deadline = Deadline.after(limit_s, self._ports.clock) if limit_s else None


def _short(text: str) -> str:
    """Cut what a bundle or an exception said: it travels in messages of bounded size."""
    return text if len(text) <= _LONGEST_DETAIL else text[:_LONGEST_DETAIL] + "…"
