"""Where results go: lines of JSON in a file or on standard output."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TextIO

from edge.results import Result


class NdjsonSink:
    """Appends one JSON object for each result; `-` is standard output."""

    def __init__(self, path: str) -> None:
        self._file: TextIO = sys.stdout if path == "-" else Path(path).open("a", encoding="utf-8")  # noqa: SIM115  # closed in close

    def write(self, results: list[Result]) -> None:
        for result in results:
            prediction = result.prediction
            row = {
                "id": result.sample.id,
                "time_s": round(result.time_s, 3),
                "release": prediction.release,
                "best": prediction.best,
                "label": prediction.label,
                "confidence": round(prediction.confidence, 4),
                "latency_us": round(prediction.latency_s * 1e6, 1),
            }
            self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def close(self) -> None:
        if self._file is not sys.stdout:
            self._file.close()
