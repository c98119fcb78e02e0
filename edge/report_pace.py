"""When the next report is due: at the interval of the settings, up to four times as late under load. Pure.

Rules:
- never sooner than the settings say;
- load is a report that was cut late, because the control thread had no turn, or a processor that is busy for
  more than 90 %: both for three reports in a row, and half a minute;
- the interval doubles under load, and halves after three reports without; the report says how long its
  own was, so nothing is lost but detail.
"""

from __future__ import annotations

from typing import Final

MOST_TIMES: Final = 4

_BUSY_PERCENT: Final = 90.0
_IN_A_ROW: Final = 3
_LEAST_LOAD_S: Final = 30.0
#: Later than this is late: a turn of the control thread takes 0.1 s when nothing happens.
_LATE_S: Final = 1.0
_LATE_TIMES: Final = 1.25


class ReportPace:
    """Says how long the next interval is. Seconds."""

    def __init__(self, interval_s: float) -> None:
        self._set_s = interval_s
        self._times = 1
        self._busy = 0
        self._busy_s = 0.0
        self._calm = 0

    @property
    def interval_s(self) -> float:
        return self._set_s * self._times

    def reported(self, took_s: float, cpu_percent: float) -> None:
        """Take note of a report: how long its interval was, and the processor's load in it."""
        late = took_s > self.interval_s * _LATE_TIMES + _LATE_S
        if not late and cpu_percent <= _BUSY_PERCENT:
            self._busy, self._busy_s, self._calm = 0, 0.0, self._calm + 1
            if self._calm >= _IN_A_ROW:
                self._times, self._calm = max(1, self._times // 2), 0
            return
        self._busy, self._busy_s, self._calm = self._busy + 1, self._busy_s + took_s, 0
        if self._busy >= _IN_A_ROW and self._busy_s >= _LEAST_LOAD_S:
            self._times = min(MOST_TIMES, self._times * 2)
            self._busy, self._busy_s = 0, 0.0
