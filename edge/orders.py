"""What the server orders: its metadata, plans and desired state, held until they can be verified.

One for the device: metadata and desired state are about all of its models, a plan and a release about one.

It fetches the metadata that is missing, lets `Trust` verify everything, and hands out wishes. It waits
for nothing: `turn` does what can be done now.

Rules:
- a plan or a desired state that is refused does not replace the one before it, which stays as long as
  it verifies under the keys of today;
- metadata and orders travel on different topics and may overtake each other, so nothing is refused for
  good before the newest timestamp was asked for once more and followed;
- what a refusal was about is told once, not once a message: a broker that repeats itself, or an
  attacker, fills no journal. A message without the form of one is only counted.

Everything here runs on the agent's control thread.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from edge.metadata import MetadataFiles, MissingFileError, TooManyFilesError
from edge.refusals import Refusals
from edge.rollout import Wishes
from edge.trust import AbsentError, Named, RefusedError, Trust
from wire.deadline import Clock, Deadline
from wire.errors import MessageError
from wire.link import Link
from wire.messages import Desired, Plan
from wire.topics import Topics

log = logging.getLogger(__name__)

#: What an order is about: the group and the model of a plan.
_About = tuple[str, str]
_Errors = Mapping[_About, RefusedError]
#: The place of the desired state among the orders; no group has such a name, and it comes first.
_DESIRED: Final[_About] = ("/desired", "")
#: After a disk that failed, or metadata that had expired: a clock may have been set meanwhile.
_AGAIN_S: Final = 60.0


@dataclass(frozen=True)
class Addressee:
    """Whose orders these are. `boot` tells an echo of this run from one of an earlier one."""

    device: str
    models: tuple[str, ...]
    boot: str


@dataclass(frozen=True)
class Ways:
    """What orders act through. `refused` journals what a refusal was about, why, and the model whose plan or
    release it was, if it was one's; `counted` counts messages without the form of one."""

    link: Link
    topics: Topics
    refused: Callable[[str, RefusedError, str | None], None]
    counted: Callable[[MessageError], None]
    clock: Clock


@dataclass(frozen=True)
class _Accepted:
    """An order that was opened, with its bytes: they are verified again when the keys may have changed."""

    payload: bytes
    order: Plan | Desired


@dataclass(frozen=True)
class _Problem:
    """What an order or a release is refused for; `model` is None where it is about all of them."""

    about: str
    error: RefusedError
    model: str | None = None


def _order_problem(name: _About, error: RefusedError) -> _Problem:
    group, model = name
    return _Problem("desired state", error) if name == _DESIRED else _Problem(group, error, model)


class Orders:
    """Takes what arrives, and turns it into wishes."""

    def __init__(self, addressee: Addressee, trust: Trust, ways: Ways) -> None:
        self._to = addressee
        self._trust = trust
        self._ways = ways
        self._files = MetadataFiles()
        self._refusals = Refusals()
        self._accepted: dict[_About, _Accepted] = {}
        self._waiting: dict[_About, bytes] = {}
        self._groups: frozenset[str] = frozenset()
        self._refresh_due = True
        self._look_due = False
        self._incomplete = True  # a refresh waits for a file
        self._followed = False  # a refresh went well, and what it read is no longer needed
        self._again: Deadline | None = None
        self._stopped: RefusedError | None = None
        self._metadata_error: str | None = None
        self._problems: list[_Problem] = []
        # Changes that may explain a refusal, how many of them were looked at twice, and the echo awaited.
        self._changes = 0
        self._looked_twice = 0
        self._recheck: int | None = None
        self._said = ""
        self.wishes = Wishes()

    @property
    def groups(self) -> tuple[str, ...]:
        """The groups whose plans are followed."""
        return tuple(sorted(self._groups))

    def error(self, model: str) -> str | None:
        """What is refused now that concerns `model`, in one line."""
        if self._stopped or self._metadata_error:
            return str(self._stopped) if self._stopped else self._metadata_error
        concern = [str(problem.error) for problem in self._problems if problem.model in (None, model)]
        return concern[-1] if concern else None

    # --- what the control thread calls --------------------------------------------------------

    def subscribe(self) -> None:
        """Ask for what is always of interest; the rest follows from it."""
        device, topics = self._to.device, self._ways.topics
        self._ways.link.subscribe([topics.device(device, "desired"), topics.device(device, "echo")])

    def take_metadata(self, file: str, payload: bytes) -> None:
        """Take a metadata file."""
        if self._files.take(file, payload):
            self._refresh_due = True

    def take_echo(self, payload: bytes) -> None:
        """Take our own echo: what was asked for before it has come, or is absent."""
        boot, _, number = payload.decode("ascii", "replace").partition(":")
        if boot != self._to.boot or not (number.isascii() and number.isdigit() and len(number) < 16):
            raise MessageError("echo", "not one of this run")
        if self._files.echoed(int(number)):
            self._refresh_due = True

    def take_desired(self, payload: bytes) -> None:
        """Take a desired state."""
        self._hold(_DESIRED, payload)

    def take_plan(self, group: str, model: str, payload: bytes) -> None:
        """Take a plan, of a group that is followed.

        An empty one, which anybody could publish, withdraws nothing.
        """
        if model not in self._to.models or group not in self._groups:
            raise MessageError("topic", f"the plan of {group}/{model} is none of ours")
        if payload:
            self._hold((group, model), payload)

    def look_again(self) -> None:
        """Ask for the newest timestamp, whatever is known."""
        self._files.ask_again(self._trust.first_file)

    def link_lost(self) -> None:
        """The next connection brings everything anew."""
        self._files.link_lost()
        self._recheck = None

    def turn(self) -> Wishes | None:
        """Do what is due; return the wishes if they changed."""
        if self._again is not None and self._again.passed:
            self._again, self._refresh_due = None, True
        self._watch_expiry()
        before = self.wishes
        if self._refresh_due or self._look_due:
            self._attempt()
        self._ask()
        return None if self.wishes == before else self.wishes

    # --- verifying ----------------------------------------------------------------------------

    def _hold(self, name: _About, payload: bytes) -> None:
        self._waiting[name] = payload
        self._changes += 1
        self._look_due = True

    def _watch_expiry(self) -> None:
        """Stop installs when what was verified expires, with no message to say so."""
        stopped = self._trust.stopped()
        if str(stopped) != str(self._stopped):
            self._stopped, self._look_due = stopped, True
            if stopped:
                self._refuse(_Problem("metadata", stopped))

    def _attempt(self) -> None:
        refresh, self._refresh_due, self._look_due = self._refresh_due, False, False
        try:
            if refresh:
                self._refresh()
            self._open_orders(again=refresh)
            self._let_go()
        except MissingFileError:
            pass  # it is asked for in this turn; what comes brings us here again
        except AbsentError as error:
            self._say(f"not on the broker: {error}")
        except OSError as error:
            self._say(f"the disk failed, no order is followed: {error}")
            self._again = Deadline.after(_AGAIN_S, self._ways.clock)

    def _refresh(self) -> None:
        self._incomplete = True
        before = self._trust.standing()
        try:
            self._trust.refresh(self._files.read)
            self._trust.commit()
        except RefusedError as error:
            self._refresh_failed(error)
        except TooManyFilesError as error:
            self._unsubscribe(self._files.forget())
            self._refresh_failed(RefusedError(type(error).__name__, str(error)))
        except MessageError as error:
            self._ways.counted(error)
        else:
            self._metadata_error = None
            self._changes += self._trust.standing() != before
            self._followed = True
            self._watch_expiry()
        self._incomplete = False

    def _let_go(self) -> None:
        """Forget files that were followed, and are on the disk; what is absent stays subscribed."""
        if self._followed:
            self._unsubscribe(self._files.keep({self._trust.first_file}))
        self._followed = False

    def _refresh_failed(self, error: RefusedError) -> None:
        self._metadata_error = str(error)
        self._refuse(_Problem("metadata", error))
        self._again = Deadline.after(_AGAIN_S, self._ways.clock)

    def _open_orders(self, *, again: bool) -> None:
        """Open what waits, and with `again` what was opened before; make wishes of it."""
        refused = {name: error for name in sorted(self._waiting) if (error := self._open(name))}
        lapsed = {name: error for name in sorted(self._accepted) if again and (error := self._lapse(name))}
        named = self._trust.named(sorted(self._names()), self._files.read)
        self._trust.commit()
        self._follow_groups()
        self._conclude(refused, lapsed, named.refused)
        self._wish(named)

    def _open(self, name: _About) -> RefusedError | None:
        """Open an order that waits; return why it does not take the place of the one before it."""
        payload = self._waiting[name]
        try:
            self._accepted[name] = _Accepted(payload, self._opened(name, payload))
        except MessageError as error:
            self._ways.counted(error)
        except RefusedError as error:
            return error
        del self._waiting[name]
        return None

    def _lapse(self, name: _About) -> RefusedError | None:
        """Return why an order that was accepted no longer verifies: its keys were taken away."""
        try:
            self._opened(name, self._accepted[name].payload)
        except RefusedError as error:
            return error
        return None

    def _opened(self, name: _About, payload: bytes) -> Plan | Desired:
        if name == _DESIRED:
            return self._trust.desired(payload, device=self._to.device)
        group, model = name
        return self._trust.plan(payload, group=group, model=model)

    def _conclude(
        self, refused: _Errors, lapsed: _Errors, unnamed: tuple[tuple[str, RefusedError], ...]
    ) -> None:
        """Tell what is refused, once it is sure that nothing newer on its way explains it."""
        self._problems = []
        problems = [_order_problem(name, error) for name, error in (*refused.items(), *lapsed.items())]
        problems += [self._release_problem(name, error) for name, error in unnamed]
        verified = self._trust.standing().targets is not None  # without it the metadata's own refusal is told
        if not problems or not verified or self._incomplete or not self._looked():
            return
        self._problems = problems
        for problem in problems:
            self._refuse(problem)
        for name in lapsed:
            del self._accepted[name]
            self._look_due = True

    def _release_problem(self, name: str, error: RefusedError) -> _Problem:
        model = name.partition("/")[0]
        return _Problem("release", error, model if model in self._to.models else None)

    def _looked(self) -> bool:
        """Return whether the newest timestamp was asked for and followed since the last change."""
        if self._looked_twice == self._changes:
            return True
        if self._recheck is None:
            self._recheck = self._files.ask_again(self._trust.first_file)
        if self._files.settled < self._recheck:
            return False
        self._recheck, self._looked_twice = None, self._changes
        return True

    def _names(self) -> set[str]:
        orders = [accepted.order for accepted in self._accepted.values()]
        names = {order.release for order in orders if isinstance(order, Plan)}
        pins = [order.pins for order in orders if isinstance(order, Desired)]
        return names | {each[model] for each in pins for model in self._to.models if model in each}

    def _wish(self, named: Named) -> None:
        orders = [accepted.order for accepted in self._accepted.values()]
        self.wishes = Wishes(
            desired=next((o for o in orders if isinstance(o, Desired)), None),
            plans=tuple(o for o in orders if isinstance(o, Plan)),
            targets=named.targets,
            stopped=str(self._stopped) if self._stopped else None,
        )

    def _follow_groups(self) -> None:
        accepted = self._accepted.get(_DESIRED)
        desired = accepted.order if accepted else None
        groups = frozenset(desired.groups) if isinstance(desired, Desired) else frozenset()
        if groups == self._groups:
            return
        gone, new = self._plans_of(self._groups - groups), self._plans_of(groups - self._groups)
        for name in gone:
            self._accepted.pop(name, None)
            self._waiting.pop(name, None)
        link, topics = self._ways.link, self._ways.topics
        link.unsubscribe([topics.plan(*name) for name in gone])
        link.subscribe([topics.plan(*name) for name in new])
        self._groups = groups

    def _plans_of(self, groups: frozenset[str]) -> list[_About]:
        return [(group, model) for group in sorted(groups) for model in self._to.models]

    # --- asking and telling -------------------------------------------------------------------

    def _ask(self) -> None:
        now_s, link, topics = self._ways.clock(), self._ways.link, self._ways.topics
        ask = self._files.next(now_s)
        if ask.again:
            self._unsubscribe(list(ask.again))
        if ask.files:
            link.subscribe([topics.meta(file) for file in ask.files])
        if ask.echo is not None:
            echo = f"{self._to.boot}:{ask.echo}".encode()
            if link.publish(topics.device(self._to.device, "echo"), echo):
                self._files.echo_sent(now_s)

    def _unsubscribe(self, files: list[str]) -> None:
        self._ways.link.unsubscribe([self._ways.topics.meta(file) for file in files])

    def _refuse(self, problem: _Problem) -> None:
        about, error, model = problem.about, problem.error, problem.model
        if self._refusals.first(f"{model}: {about}: {error}", self._ways.clock()):
            log.error("refused: %s: %s", about, error)
            self._ways.refused(about, error, model)

    def _say(self, text: str) -> None:
        if text != self._said:
            log.warning("%s", text)
        self._said = text
