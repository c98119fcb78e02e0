"""The first page: totals, versions, what needs attention, and a table of devices. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import urlencode

from fleet.alerts import Alert
from fleet.health_rules import State
from fleet.view import DeviceRow
from fleet.web import wording
from fleet.web.condition import WORDS, Condition, condition
from fleet.web.figures import share
from fleet.web.reading import DeviceNow
from fleet.web.tiles import Tile
from wire.histogram import merge, quantile

#: Rows of one page: what a browser draws at once, and a person reads.
PAGE_ROWS: Final = 100

_ATTENTION: Final = 6
_NO_RELEASE: Final = "no model yet"

#: How many releases have a colour of their own; older ones share the last.
COLOURS: Final = 6


@dataclass(frozen=True)
class Choice:
    """What a person asked to see."""

    text: str = ""
    condition: str = ""
    release: str = ""
    sort: str = "device"
    page: int = 1

    @classmethod
    def parse(cls, query: Mapping[str, str]) -> Choice:
        """Read a query; what cannot be understood is left out."""
        page = query.get("page", "1")
        sort = query.get("sort", "device")
        return cls(
            text=query.get("q", "")[:80],
            condition=query.get("condition", "") if query.get("condition") in WORDS else "",
            release=query.get("release", "")[:160],
            sort=sort if sort in _KEYS else "device",
            page=max(1, int(page)) if page.isascii() and page.isdigit() and len(page) < 7 else 1,
        )

    def link(self, **changed: Any) -> str:
        """Return the address of the same view with something changed."""
        choice = replace(self, **changed)
        fields = {
            "q": choice.text,
            "condition": choice.condition,
            "release": choice.release,
            "sort": choice.sort if choice.sort != "device" else "",
            "page": str(choice.page) if choice.page > 1 else "",
        }
        query = urlencode({name: value for name, value in fields.items() if value})
        return f"/?{query}" if query else "/"


@dataclass(frozen=True)
class Segment:
    """One release's share of the fleet, as a piece of a bar; `x` and `width` in per cent."""

    release: str
    count: int
    x: float
    width: float
    colour: int


@dataclass(frozen=True)
class Line:
    """One device in the table, ready to be read."""

    name: str
    condition: Condition
    release: str
    colour: int
    doing: str
    rate: str
    p50: str
    p99: str
    accuracy: str
    accuracy_range: str
    cpu: str
    temperature: str
    lost: int
    seen: str


@dataclass(frozen=True)
class Overview:
    """All that the page shows."""

    choice: Choice
    tiles: Sequence[Tile]
    segments: Sequence[Segment]
    conditions: Sequence[tuple[str, str, int]]
    alerts: Sequence[Alert]
    attention: Sequence[tuple[str, Condition]]
    attention_more: int
    lines: Sequence[Line]
    found: int
    total: int
    pages: int
    releases: Sequence[str]


#: One model on one device, with the device and how that is.
_Known = tuple[DeviceNow, DeviceRow, Condition]


def overview(
    devices: Sequence[DeviceNow],
    alerts: Sequence[Alert],
    refusals: Mapping[str, int],
    choice: Choice,
    now_s: float,
) -> Overview:
    """Return what the first page shows of `devices` at `now_s`."""
    states = [(device, condition(device)) for device in devices]
    known = [(device, row, state) for device, state in states for row in device.rows]
    segments = version_bar(row.current for _, row, _ in known)
    colours = {segment.release: segment.colour for segment in segments}
    found = sorted((k for k in known if _chosen(k, choice)), key=_KEYS[choice.sort])
    pages = max(1, -(-len(found) // PAGE_ROWS))
    choice = replace(choice, page=min(choice.page, pages))
    shown = found[(choice.page - 1) * PAGE_ROWS : choice.page * PAGE_ROWS]
    unwell = sorted(
        (s for s in states if s[1].word != "healthy"), key=lambda s: (WORDS.index(s[1].word), s[0].name)
    )
    counts = Counter(state.word for _, state in states)
    return Overview(
        choice=choice,
        tiles=_tiles(devices, refusals, counts),
        segments=segments,
        conditions=[(word, Condition(word).glyph, counts[word]) for word in reversed(WORDS) if counts[word]],
        alerts=alerts,
        attention=[(device.name, state) for device, state in unwell[:_ATTENTION]],
        attention_more=max(0, len(unwell) - _ATTENTION),
        lines=[_line(*entry, colours, now_s) for entry in shown],
        found=len({device.name for device, _, _ in found}),
        total=len(devices),
        pages=pages,
        releases=[s.release for s in segments],
    )


def version_bar(releases: Iterable[str | None]) -> list[Segment]:
    """Return how many devices run each release, the newest name last, as pieces of a bar."""
    counts = Counter(release or _NO_RELEASE for release in releases)
    names = sorted(counts, key=_natural)
    whole, x, bar = max(1, sum(counts.values())), 0.0, []
    for number, name in enumerate(names):
        width = 100 * counts[name] / whole
        colour = 0 if name == _NO_RELEASE else 1 + min(COLOURS - 1, len(names) - 1 - number)
        bar.append(Segment(name, counts[name], round(x, 3), round(width, 3), colour))
        x += width
    return bar


def _natural(name: str) -> tuple[bool, list[tuple[bool, int, str]]]:
    """Sort version 10 behind version 9, and devices without a model first."""
    parts: list[tuple[bool, int, str]] = []
    for part in name.replace(".", "/").replace("-", "/").split("/"):
        digits = part.isascii() and part.isdigit() and len(part) < 19
        parts.append((digits, int(part) if digits else 0, part))
    return name != _NO_RELEASE, parts


def _tiles(
    devices: Sequence[DeviceNow], refusals: Mapping[str, int], counts: Mapping[State, int]
) -> list[Tile]:
    here = [d for d in devices if d.row.presence == "online"]
    latest = merge(counters.latency_us for d in here for counters in d.latest)
    every = [row for d in devices for row in d.rows]
    right = share(
        sum(round((row.accuracy or 0) * row.labelled) for row in every), sum(row.labelled for row in every)
    )
    lost = sum(d.lost for d in devices)
    refused = sum(refusals.values())
    unwell = len(devices) - counts.get("healthy", 0)
    inferences = sum(row.inferences for row in every)
    return [
        Tile("healthy", f"{wording.count(counts.get('healthy', 0))} of {wording.count(len(devices))}",
             f"{wording.count(len(here))} online, {wording.count(unwell)} to look at",
             "warn" if unwell else "good"),
        Tile("answers", wording.rate(sum(row.rate_hz or 0 for d in here for row in d.rows)),
             f"{wording.short_count(inferences)} since the start"),
        Tile("latency p50", wording.micros(quantile(latest, 0.5)), "of all devices, last reports"),
        Tile("latency p99", wording.micros(quantile(latest, 0.99)), "a true p99 over the fleet"),
        Tile("accuracy", wording.percent(right.value),
             f"{wording.percent_range(right.low, right.high)}, {wording.short_count(right.trials)} labels"
             if right.trials else "no labels yet"),
        Tile("lost", wording.count(lost), f"errors and drops; {wording.count(refused)} messages refused",
             "warn" if lost or refused else "good"),
    ]  # fmt: skip


def _line(
    device: DeviceNow, row: DeviceRow, state: Condition, colours: Mapping[str, int], now_s: float
) -> Line:
    return Line(
        name=row.device,
        condition=state,
        release=row.current or wording.UNKNOWN,
        colour=colours.get(row.current or _NO_RELEASE, 0),
        doing=doing(row),
        rate=wording.rate(row.rate_hz),
        p50=wording.micros(row.p50_us),
        p99=wording.micros(row.p99_us),
        accuracy=wording.percent(row.accuracy),
        accuracy_range=wording.percent_range(row.accuracy_low, row.accuracy_high),
        cpu=wording.percent(row.cpu_percent / 100, 0) if row.cpu_percent is not None else wording.UNKNOWN,
        temperature=wording.celsius(row.temperature_c),
        lost=row.errors + row.dropped,
        seen=wording.ago(max(0.0, now_s - device.last_seen_s)),
    )


def doing(row: DeviceRow) -> str:
    """Return what a model is doing, where that is more than serving."""
    if row.state in (None, "idle"):
        return ""
    if row.state == "download" and row.total_chunks:
        return f"fetches {row.target}, {row.done_chunks * 100 // row.total_chunks} %"
    if row.state == "blocked":
        return f"refuses {row.target}"
    return f"{row.state} {row.target or ''}".strip()


def _chosen(known: _Known, choice: Choice) -> bool:
    device, row, state = known
    text = choice.text.strip().lower()
    return (
        (not text or text in device.name.lower() or any(text == group for group in device.groups))
        and choice.condition in ("", state.word)
        and choice.release in ("", row.current or _NO_RELEASE)
    )


def _descending(value: float | None) -> float:
    return -value if value is not None else float("inf")


_KEYS: Final[dict[str, Callable[[_Known], Any]]] = {
    "device": lambda k: (k[0].name, k[1].model or ""),
    "condition": lambda k: (WORDS.index(k[2].word), k[0].name),
    "release": lambda k: (_natural(k[1].current or _NO_RELEASE), k[0].name),
    "rate": lambda k: (_descending(k[1].rate_hz), k[0].name),
    "p50": lambda k: (_descending(k[1].p50_us), k[0].name),
    "p99": lambda k: (_descending(k[1].p99_us), k[0].name),
    "accuracy": lambda k: (k[1].accuracy if k[1].accuracy is not None else 2.0, k[0].name),
    "cpu": lambda k: (_descending(k[1].cpu_percent), k[0].name),
    "temperature": lambda k: (_descending(k[1].temperature_c), k[0].name),
    "lost": lambda k: (_descending(k[1].errors + k[1].dropped), k[0].name),
    "seen": lambda k: (k[0].last_seen_s, k[0].name),
}
