"""The row that every sink writes for one answer.

One shape for all, so that a result reads the same as a line, a message, a row of a table or a posted
object. `answer` holds what the bundle's declared postprocessing says (boxes, the best five: a list of
JSON objects) and is None where nothing is declared. An answer whose confidence is no number has no best class
either. Columns are only ever added, at the end.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final

from edge.results import Result

#: One answer: column name to a JSON value.
Row = dict[str, Any]

#: Name and type of every column, in order.
COLUMNS: Final[Mapping[str, type]] = {
    "id": str,
    "time_s": float,
    "release": str,
    "best": int,
    "label": str,
    "confidence": float,
    "latency_us": float,
    "truth": int,
    "answer": str,
}

#: Left out of JSON where they are not known.
_OPTIONAL: Final = ("truth", "answer")


def make_row(result: Result, answer: list[dict[str, object]] | None = None) -> Row:
    """Return the row of one answer; time in seconds since 1970, latency in microseconds."""
    prediction = result.prediction
    confidence = prediction.confidence
    known = math.isfinite(confidence)  # NaN is no JSON, and the first class is no answer
    return {
        "id": result.sample.id,
        "time_s": round(result.time_s, 3),
        "release": prediction.release,
        "best": prediction.best if known else None,
        "label": prediction.label if known else None,
        "confidence": round(confidence, 4) if known else None,
        "latency_us": round(prediction.latency_s * 1e6, 1),
        "truth": result.sample.truth,
        "answer": answer or None,
    }


def to_json(row: Row) -> dict[str, Any]:
    """Return the row as a JSON object, without what is not known."""
    return {name: value for name, value in row.items() if value is not None or name not in _OPTIONAL}


def to_line(row: Row) -> str:
    """Return the row as one line of JSON, without its end."""
    return json.dumps(to_json(row))


def to_cells(row: Row) -> list[Any]:
    """Return the row for a table, in the order of COLUMNS; the answer as JSON text."""
    cells = [row[name] for name in COLUMNS]
    if row["answer"] is not None:
        cells[-1] = json.dumps(row["answer"])
    return cells
