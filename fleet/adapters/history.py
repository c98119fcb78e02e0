"""Reads what the fleet did, for pages, figures and exports; writes nothing.

What is told of one device holds all that came from it. What is told of many by device (`by_device`) may lack
its last four reports, where the fleet reports so often that they wait (fleet/adapters/device_sums.py).

Every stretch is [`since_s`, `until_s`) in Unix seconds, but reaches to the borders of the slots that it
touches. Sums come from the coarsest rows that serve, and from what is not folded into them yet
(fleet/adapters/rollup_table.py); what is finer than an hour of a device is read from its raw reports, as
long as they are kept.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from fleet.adapters.database import Database
from fleet.adapters.msgspec_codec import decode, parse
from fleet.adapters.rollup_table import ALL_TIME, FLEET
from fleet.adapters.vitals_table import COLUMNS, MEASURES
from fleet.keeping import KEEP_S
from fleet.plausibility import are_possible
from fleet.rollup import Sums
from fleet.spans import (
    MAX_POINTS,
    NOTHING,
    Measured,
    Slot,
    Slots,
    VitalsSpan,
    length,
    merge_measured,
    spread,
)
from fleet.timing import DAY_S, HOUR_S, MINUTE_S, slot
from wire.counters import ModelCounters
from wire.messages import Event, Samples, Telemetry

#: A stretch of a device's life up to this is read from its raw reports.
_RAW_UP_TO_S: Final = 6 * HOUR_S

#: Messages with samples that are looked through for one page of them.
_LOOKED_THROUGH: Final = 5_000


@dataclass(frozen=True)
class Sample:
    """One sampled answer. `number` and `row` are its place; None is what was not sent."""

    number: int
    row: int
    device: str
    at_s: float
    release: str
    id: str
    predicted: int
    confidence: float | None
    truth: int | None
    policy: str | None = None
    outputs: tuple[float, ...] | None = None
    slices: tuple[str, ...] = ()
    input: str | None = None


@dataclass(frozen=True)
class EventRow:
    """One line of a device's journal; `number` grows in the order in which the server took them."""

    number: int
    device: str
    at_s: float
    event: Event


class History:
    """The reader. It may share a database with the writer's process, or open its own."""

    def __init__(self, database: Database, wall_clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._wall_clock = wall_clock

    def releases(self) -> list[str]:
        """Return all releases that any device ever counted, by name."""
        sql = "select distinct release from rollup where scope = '' and (resolution_s = 0 or folded = 0)"
        return sorted(name for (name,) in self._database.sql.execute(sql))

    def fleet(
        self, release: str | None, since_s: float, until_s: float, resolution_s: int = MINUTE_S
    ) -> list[Slot]:
        """Return the fleet's sums of a release (None: of all, under the name ""), the earliest first.

        Slots are `resolution_s` long, or longer where there would be more than 2000 or the minutes are no
        longer kept (two weeks); those in which nobody reported are left out.
        """
        minutes_from_s = self._wall_clock() - KEEP_S[MINUTE_S] + HOUR_S
        stored_s = MINUTE_S if resolution_s < HOUR_S and since_s >= minutes_from_s else HOUR_S
        stored_s = DAY_S if resolution_s >= DAY_S else stored_s
        return self._slots(FLEET, release, (since_s, until_s), stored_s=stored_s, wanted_s=resolution_s)

    def device(
        self,
        device: str,
        release: str | None,
        since_s: float,
        until_s: float,
        resolution_s: int | None = None,
    ) -> list[Slot]:
        """Return a device's sums of a release (None: of all, under the name ""), the earliest first.

        Without `resolution_s` slots are minutes up to six hours, then hours, and days past 30 of them. Less
        than an hour is to be had of a day at most, and while the raw reports are kept.
        """
        span_s = until_s - since_s
        if resolution_s is None:
            resolution_s = DAY_S if span_s > KEEP_S[HOUR_S] else HOUR_S
            resolution_s = MINUTE_S if span_s <= _RAW_UP_TO_S else resolution_s
        if resolution_s >= HOUR_S or span_s > DAY_S or not self._has_raw(device, since_s):
            stored_s = HOUR_S if resolution_s < DAY_S and since_s >= self._hours_from_s() else DAY_S
            return self._slots(device, release, (since_s, until_s), stored_s=stored_s, wanted_s=resolution_s)
        slots = Slots(length(since_s, until_s, resolution_s), release or "")
        for at_s, telemetry in self._reports(device, since_s, until_s):
            for counters in telemetry.models:
                if release is None or counters.release == release:
                    slots.add(at_s, 1, counters)
        return slots.result()

    def by_device(self, release: str, since_s: float, until_s: float) -> dict[str, ModelCounters]:
        """Return the sum of each device that counted this release: what an interval over devices needs.

        A stretch that is longer than two days reaches back to the beginning of its first day (UTC).
        """
        whole_days = until_s - since_s > 2 * DAY_S or since_s < self._hours_from_s()
        stored_s = DAY_S if whole_days else HOUR_S
        sql = (
            "select scope, left_out, body from rollup where release = ? and scope <> '' "
            "and resolution_s = ? and start_s >= ? and start_s < ?"
        )
        first_s = slot(since_s, stored_s)
        found = self._database.sql.execute(sql, (release, stored_s, first_s, until_s)).fetchall()
        if whole_days:
            found += self._database.sql.execute(
                f"{sql} and folded = 0", (release, HOUR_S, first_s, until_s)
            ).fetchall()
        sums: dict[str, Sums] = {}
        for device, _, body in found:
            sums.setdefault(device, Sums()).add_plain(parse(body))
        return {device: s.counters(release) for device, s in sorted(sums.items())}

    def total(self, release: str, device: str = FLEET) -> Slot:
        """Return the sum of a release over all time, of a device or of the fleet."""
        sums, reports = Sums(), 0
        found = self._database.sql.execute(
            "select reports, left_out, body from rollup "
            "where scope = ? and release = ? and (resolution_s = ? or folded = 0)",
            (device, release, ALL_TIME),
        )
        for n, left_out, body in found:
            sums.add_plain(parse(body))
            sums.left_out += left_out
            reports += n
        for _, plain in self._unsummed(device, release):
            sums.add_plain(plain)
            reports += 1
        return Slot(0, 0, reports, sums.counters(release), sums.left_out)

    def _hours_from_s(self) -> float:
        return self._wall_clock() - KEEP_S[HOUR_S] + DAY_S

    def _has_raw(self, device: str, since_s: float) -> bool:
        """Return whether the reports since then are all kept."""
        (removed,) = self._database.sql.execute(
            "select coalesce(sum(removed), 0) from mark where device = ? and stream = 'telemetry'", (device,)
        ).fetchone()
        if not removed:
            return True
        found = self._database.sql.execute(
            "select min(at_s) from report where device = ?", (device,)
        ).fetchone()
        return found[0] is not None and since_s >= found[0]

    def _slots(
        self, scope: str, release: str | None, stretch: tuple[float, float], *, stored_s: int, wanted_s: int
    ) -> list[Slot]:
        since_s, until_s = stretch
        multiple_s = stored_s * max(1, -(-wanted_s // stored_s))
        slots = Slots(length(since_s, until_s, multiple_s), release or "")
        first_s = slot(since_s, stored_s)
        where = "scope = ? and start_s >= ? and start_s < ? and (? is null or release = ?)"
        what = (scope, first_s, until_s, release, release)
        found = self._database.sql.execute(
            f"select start_s, reports, body, left_out from rollup where {where} and resolution_s = ?",  # noqa: S608  # our own text
            (*what, stored_s),
        ).fetchall()
        finest_s = MINUTE_S if scope == FLEET else HOUR_S
        if stored_s != finest_s:
            found += self._database.sql.execute(
                f"select start_s, reports, body, left_out from rollup where {where} and folded = 0",  # noqa: S608  # our own text
                what,
            ).fetchall()
        for start_s, reports, body, left_out in found:
            slots.add_plain(start_s, reports, parse(body), left_out)
        for at_s, plain in self._unsummed(scope, release):
            if first_s <= slot(at_s, stored_s) < until_s:
                slots.add_plain(at_s, 1, plain)
        return slots.result()

    def _unsummed(self, device: str, release: str | None) -> Iterator[tuple[float, Any]]:
        """Yield moment and counters of what is not in a device's sums yet (fleet/adapters/device_sums.py)."""
        found = self._database.sql.execute(
            "select r.at_s, r.body, u.left_out from report r cross join unsummed u on u.id = r.id "
            "where r.device = ?",
            (device,),
        )
        for at_s, body, left_out in found:
            for counters in parse(body)["models"]:
                name = counters["release"]
                if release in (None, name) and (not left_out or name not in parse(left_out)):
                    yield at_s, counters

    def _reports(self, device: str, since_s: float, until_s: float) -> Iterator[tuple[float, Telemetry]]:
        found = self._database.sql.execute(
            "select at_s, body from report where device = ? and at_s >= ? and at_s < ? order by at_s",
            (device, since_s, until_s),
        )
        for at_s, body in found:
            yield at_s, decode(Telemetry, body)

    def vitals(
        self, device: str, since_s: float, until_s: float, points: int = MAX_POINTS
    ) -> list[VitalsSpan]:
        """Return a device's resource use, the earliest first: by report while these are kept and at most two
        days are asked for, else by hour; merged where there would be more than `points`."""
        points = max(1, min(points, MAX_POINTS))
        rows = []
        if until_s - since_s <= 2 * DAY_S and self._has_raw(device, since_s):
            reports = self._reports(device, since_s, until_s)
            rows = [(at_s, 1, _measured(t)) for at_s, t in reports if are_possible(t.vitals)]
        own_s = 0
        if not rows:
            own_s = HOUR_S
            rows = [*self._hours(device, since_s, until_s)]
        if len(rows) <= points:
            return [_span(at_s, own_s, n, measured) for at_s, n, measured in rows]
        seconds = length(since_s, until_s, own_s or MINUTE_S, points)
        gathered: dict[int, list[tuple[int, tuple[Measured, ...]]]] = {}
        for at_s, n, measured in rows:
            gathered.setdefault(slot(at_s, seconds), []).append((n, measured))
        return [
            _span(
                start_s,
                seconds,
                sum(n for n, _ in parts),
                tuple(merge_measured(column) for column in zip(*(m for _, m in parts), strict=True)),
            )
            for start_s, parts in sorted(gathered.items())
        ]

    def _hours(
        self, device: str, since_s: float, until_s: float
    ) -> Iterator[tuple[float, int, tuple[Measured, ...]]]:
        found = self._database.sql.execute(
            f"select start_s, {', '.join(COLUMNS)} from vitals "  # noqa: S608  # our own names
            "where device = ? and start_s >= ? and start_s < ? order by start_s",
            (device, slot(since_s, HOUR_S), until_s),
        )
        for start_s, *values in found:
            measured = tuple(tuple(values[i : i + 4]) for i in range(0, len(values), 4))
            yield start_s, values[0], measured

    def events(
        self, device: str | None = None, limit: int = 200, before: int | None = None
    ) -> list[EventRow]:
        """Return transitions, the newest first; `before` is the `number` where an earlier page ended."""
        where, what = _where(("device = ?", device), ("id < ?", before))
        found = self._database.sql.execute(
            f"select id, device, at_s, body from event {where} order by id desc limit ?",  # noqa: S608  # our own text
            (*what, limit),
        )
        return [EventRow(number, name, at_s, decode(Event, body)) for number, name, at_s, body in found]

    def samples(
        self,
        release: str | None = None,
        policy: str | None = None,
        limit: int = 100,
        *,
        device: str | None = None,
        before: int | None = None,
    ) -> list[Sample]:
        """Return sampled answers, the newest message first.

        `before` is the `number` of the message where an earlier page ended; a message is not torn, so there
        may be some more than `limit`.
        """
        where, what = _where(("release = ?", release), ("device = ?", device), ("id < ?", before))
        found = self._database.sql.execute(
            f"select id, device, at_s, body from sample {where} order by id desc limit ?",  # noqa: S608  # our own text
            (*what, _LOOKED_THROUGH),
        )
        samples: list[Sample] = []
        for number, name, at_s, body in found:
            samples += _rows(number, name, at_s, decode(Samples, body), policy)
            if len(samples) >= limit:
                break
        return samples


def _where(*conditions: tuple[str, object]) -> tuple[str, tuple[object, ...]]:
    """Return the clause of those conditions whose value is given, and the values."""
    given = [(text, value) for text, value in conditions if value is not None]
    clause = "where " + " and ".join(text for text, _ in given) if given else ""
    return clause, tuple(value for _, value in given)


def _measured(telemetry: Telemetry) -> tuple[Measured, ...]:
    values = [getattr(telemetry.vitals, field) for field in MEASURES.values()]
    return tuple(NOTHING if v is None else (1, float(v), float(v), float(v)) for v in values)


def _span(start_s: float, seconds: int, reports: int, measured: tuple[Measured, ...]) -> VitalsSpan:
    spreads: dict[str, Any] = dict(zip(MEASURES.values(), map(spread, measured), strict=True))
    return VitalsSpan(start_s, seconds, reports, **spreads)


def _moment(said_s: float, at_s: float) -> float:
    """Return when a sample was taken, where that can be right: before its message, and not long before."""
    return said_s if at_s - DAY_S <= said_s <= at_s + MINUTE_S else at_s


def _rows(number: int, device: str, at_s: float, said: Samples, policy: str | None) -> Iterator[Sample]:
    for i, sample_id in enumerate(said.ids):
        why = said.policies[i] if said.policies else None
        if policy is None or why == policy:
            yield Sample(
                number=number,
                row=i,
                device=device,
                at_s=_moment(said.times_s[i], at_s) if said.times_s else at_s,
                release=said.release,
                id=sample_id,
                predicted=said.predicted[i],
                confidence=said.confidence[i],
                truth=said.truth[i],
                policy=why,
                outputs=said.outputs[i] if said.outputs else None,
                slices=said.slices[i] if said.slices else (),
                input=said.inputs[i] if said.inputs else None,
            )
