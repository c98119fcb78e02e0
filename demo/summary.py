"""What a tour proved: the checks behind its exit code, computed from what it collected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fleet.accounting import Ledger
from fleet.ingest import ReleaseTotal
from fleet.statistics import wilson
from fleet.view import DeviceRow
from wire.histogram import merge, quantile


@dataclass(frozen=True)
class Findings:
    """What the tour collected after the devices had ended.

    `answered` are the sample numbers that each device wrote to its result file, in order; a stream
    without a gap counts up from 0.
    """

    rows: Sequence[DeviceRow]
    wanted: str
    ledger: Ledger
    answered: Mapping[str, Sequence[int]]
    exit_codes: Mapping[str, int]
    refusals: Mapping[str, int]


def problems(findings: Findings) -> list[str]:
    """Return what keeps the tour from having succeeded; nothing is the proof."""
    found = list(findings.ledger.problems)
    found += [
        f"{row.device} runs {row.current}, not {findings.wanted}"
        for row in findings.rows
        if row.current != findings.wanted
    ]
    found += [f"{name} ended with code {code}" for name, code in findings.exit_codes.items() if code]
    found += [f"{count} messages of kind {kind} were refused" for kind, count in findings.refusals.items()]
    for device, numbers in findings.answered.items():
        if list(numbers) != list(range(len(numbers))):
            found.append(f"{device} did not answer every sample of its stream in order")
    written = sum(len(numbers) for numbers in findings.answered.values())
    if written != findings.ledger.inferences:
        found.append(f"{written} results were written, {findings.ledger.inferences} inferences reported")
    return found


def release_line(release: str, totals: Sequence[ReleaseTotal]) -> str:
    """Return one line on a release over all devices: accuracy with its interval, true p50 and p99."""
    latency_us = merge([t.latency_us for t in totals])
    correct, labelled = sum(t.correct for t in totals), sum(t.labelled for t in totals)
    interval = wilson(correct, labelled)
    p50, p99 = quantile(latency_us, 0.5), quantile(latency_us, 0.99)
    if interval is None or p50 is None or p99 is None:
        return f"{release}: no answers"
    return (
        f"{release}: {sum(t.inferences for t in totals):,} inferences, "
        f"accuracy {correct / labelled * 100:.1f} % [{interval[0] * 100:.1f}, {interval[1] * 100:.1f}], "
        f"p50 {p50:.0f} µs, p99 {p99:.0f} µs"
    )
