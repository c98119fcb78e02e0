"""Carries out what an operator wants of rollouts that stand, in one transaction."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from fleet.adapters.database import Database
from fleet.adapters.registry import Registry
from fleet.replanning import Entry, restate, undo
from wire.errors import SettingsError, UnavailableError
from wire.messages import Plan
from wire.topics import check_name


@dataclass(frozen=True)
class Wanted:
    """Which rollouts are meant: of a model, where given of one release of it, and of one group."""

    model: str
    release: str | None = None
    group: str | None = None

    @classmethod
    def parse(cls, name: str, group: str | None) -> Wanted:
        """Read `MODEL` or `MODEL/VERSION`; raise SettingsError for a name that can be neither."""
        model, slash, version = name.partition("/")
        check_name("model", model)
        if slash:
            check_name("version", version)
        if group is not None:
            check_name("group", group)
        return cls(model, name if slash else None, group)


class Steering:
    """Changes plans that stand. `signed` tells which releases devices will find signed; None: nothing is."""

    def __init__(
        self, database: Database, registry: Registry, signed: Callable[[], frozenset[str]] | None = None
    ) -> None:
        self._database = database
        self._registry = registry
        self._signed = signed
        self.skipped: list[str] = []

    def set_state(self, wanted: Wanted, state: str, *, retry: bool = False) -> list[Plan]:
        """Put rollouts into `state`; return the new plans, without those that were in it already.

        With `retry` devices that blocked the release try it once more.
        Raises SettingsError when there is no such rollout, UnavailableError for one that was aborted.
        """
        return self._replan(wanted, lambda entry, sequence: restate(entry, state, sequence, retry=retry))

    def undo(self, wanted: Wanted, *, retry: bool = False) -> list[Plan]:
        """Plan the releases that were planned before; return the new plans. As `set_state` otherwise."""
        book, registry = self._registry.book, self._registry

        def back(entry: Entry, sequence: int) -> Entry:
            members = registry.members(entry.plan.group)
            return undo(entry, book.earlier, members, sequence, retry=retry)

        return self._replan(wanted, back)

    def find(self, wanted: Wanted) -> list[Entry]:
        """Return the rollouts that are meant; raise SettingsError, with what there is, when there is none."""
        standing = self._registry.book.standing(wanted.model)
        if not standing:
            models = sorted({plan.model for plan in self._registry.plans()})
            raise SettingsError(
                f"no rollout of model {wanted.model!r}; there are: {', '.join(models) or 'none'}"
            )
        found = [
            entry
            for entry in standing
            if wanted.group in (None, entry.plan.group) and wanted.release in (None, entry.plan.release)
        ]
        if not found:
            there = ", ".join(f"{e.plan.release} in {e.plan.group}" for e in standing)
            asked = wanted.release or wanted.model
            where = f" in {wanted.group}" if wanted.group else ""
            raise SettingsError(f"no rollout of {asked}{where}; there are: {there}")
        return found

    def _replan(self, wanted: Wanted, change: Callable[[Entry, int], Entry | None]) -> list[Plan]:
        """Change what is meant. Of several groups, those in which it cannot be done are told in `skipped`."""
        made: list[Plan] = []
        self.skipped = []
        with self._database.transaction():
            found = self.find(wanted)
            for entry in found:
                try:
                    new = change(entry, self._registry.book.next_sequence)
                    if new is not None:
                        self._check(new.plan)
                        self._registry.put_plan(new)
                        made.append(new.plan)
                except UnavailableError as error:
                    if len(found) == 1:
                        raise
                    self.skipped.append(str(error))
            if len(self.skipped) == len(found):
                raise UnavailableError(self.skipped[0])
        return made

    def _check(self, plan: Plan) -> None:
        if not any(release.name == plan.release for release in self._registry.releases()):
            raise UnavailableError(f"{plan.release} is no longer here: push it again")
        if self._signed is not None and plan.release not in self._signed():
            raise UnavailableError(f"{plan.release} is no longer signed: push it again")
