"""Was every message accounted for? The proof at the end of a run, from the rows alone."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from wire.messages import Telemetry


@dataclass(frozen=True)
class StreamFacts:
    """What the store holds of one (device, stream, boot). `removed` of the `rows` were too old to be kept."""

    device: str
    stream: str
    boot: str
    mark: int
    lost: int
    rows: int
    highest: int
    removed: int = 0


@dataclass(frozen=True)
class Ledger:
    """The result: how much was counted, and every line that does not add up.

    `removed` of the messages were counted when they came and are no longer kept; `inferences` are those of
    the reports that are.
    """

    messages: int
    inferences: int
    problems: tuple[str, ...]
    removed: int = 0


def balance(
    streams: Iterable[StreamFacts],
    reports: Iterable[tuple[str, str, Telemetry]],
    cut: frozenset[tuple[str, str]] = frozenset(),
) -> Ledger:
    """Check that no sequence is missing and that the reports of each boot add up to its own total.

    `reports` are (device, boot, telemetry) in order of sequence. Of the boots in `cut` the first reports are
    no longer kept: the others must add up to what the device counted from there on. A boot whose last
    report is not `final` ended without saying goodbye; that is a problem only of its own last seconds, and
    is named.
    """
    problems = []
    messages = removed = 0
    for stream in streams:
        messages += stream.rows
        removed += stream.removed
        if stream.lost or stream.mark != stream.highest or stream.rows != stream.highest:
            problems.append(
                f"{stream.device} {stream.stream}: {stream.rows} of {stream.highest} messages, "
                f"{stream.lost} lost"
            )
    sums: dict[tuple[str, str, str], int] = {}
    said: dict[tuple[str, str, str], int] = {}
    before: dict[tuple[str, str, str], int] = {}
    final: dict[tuple[str, str], bool] = {}
    for device, boot, telemetry in reports:
        final[device, boot] = telemetry.final
        for counters in telemetry.models:
            key = (device, boot, counters.release)
            if key not in sums and (device, boot) in cut:
                before[key] = counters.total - counters.inferences
            sums[key] = sums.get(key, 0) + counters.inferences
            said[key] = counters.total - before.get(key, 0)
            if counters.errors:
                problems.append(f"{device} {counters.release}: {counters.errors} inferences failed")
        if telemetry.loss.results_dropped or telemetry.loss.outbox_dropped:
            problems.append(f"{device}: {telemetry.loss}")
    problems += [
        f"{device} {release}: reports add up to {sums[key]} inferences, the device counted {said[key]}"
        for key in sums
        if sums[key] != said[key]
        for device, _, release in [key]
    ]
    problems += [f"{device}: no final report" for (device, _), ended in final.items() if not ended]
    return Ledger(messages, sum(sums.values()), tuple(dict.fromkeys(problems)), removed)
