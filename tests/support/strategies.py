"""Hypothesis strategies for every message of the protocol, derived from the dataclasses themselves."""

from __future__ import annotations

import types
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any, Union, get_args, get_origin, get_type_hints

from hypothesis import strategies as st

from fleet.reliability_sums import middles
from wire.counters import (
    CONFIDENCE_BINS,
    MAX_CLASSES,
    MAX_COUNT,
    RELIABILITY_BINS,
    Cells,
    Classes,
    FeatureCounts,
    ModelCounters,
    Moments,
    Reliability,
    SliceCounters,
    ValueCounters,
)
from wire.manifest import Manifest
from wire.messages import (
    MAX_BLOB_BYTES,
    MAX_BUNDLE_BYTES,
    PLAN_STATES,
    Ack,
    Blob,
    Command,
    Desired,
    Envelope,
    EventReport,
    Head,
    Online,
    Plan,
    Release,
    Reported,
    Samples,
    SamplesReport,
    Targets,
    TelemetryReport,
    Truths,
)
from wire.topics import NAME, SHA256

#: Every message that travels, and what travels inside one.
MESSAGES = (
    Ack,
    Command,
    Desired,
    Envelope,
    EventReport,
    Manifest,
    Online,
    Plan,
    Reported,
    SamplesReport,
    Targets,
    TelemetryReport,
    Truths,
)

_SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(-(2**63), 2**63 - 1),
    float: st.floats(allow_nan=False, allow_infinity=False),
    str: st.text(max_size=20),
    bool: st.booleans(),
}

_NAMES = st.from_regex(NAME, fullmatch=True)
_DIGESTS = st.from_regex(SHA256, fullmatch=True)
_COUNTS = st.integers(0, MAX_COUNT)
_CLASSES = st.integers(0, MAX_CLASSES - 1)

#: Fields that check themselves.
_CHECKED: dict[Any, dict[str, st.SearchStrategy[Any]]] = {
    Blob: {
        "sha256": _DIGESTS,
        "chunks_sha256": _DIGESTS,
        "size_bytes": st.integers(1, MAX_BLOB_BYTES),
        "base_sha256": st.none() | _DIGESTS,
    },
    Plan: {
        "group": _NAMES,
        "model": _NAMES,
        "bundle_sha256": _DIGESTS,
        "state": st.sampled_from(PLAN_STATES),
        "percent": st.floats(0, 100),
        "rate_bytes_s": st.none() | st.integers(1, 10**9),
    },
    Head: {"boot": _NAMES},
    Online: {"boot": _NAMES},
    Reported: {"boot": _NAMES},
    Desired: {"groups": st.lists(_NAMES, max_size=3).map(tuple)},
    FeatureCounts: {"counts": st.lists(_COUNTS, max_size=3).map(tuple)},
    ModelCounters: {
        "confidence": st.just(()) | st.tuples(*[_COUNTS] * CONFIDENCE_BINS),
        "golden_runs": _COUNTS,
        "golden_failed": _COUNTS,
    },
}


def values_of(annotation: Any) -> st.SearchStrategy[Any]:
    """Return a strategy for values of a field annotation or a message class."""
    origin, args = get_origin(annotation), get_args(annotation)
    if annotation in _COLUMNS:
        return _COLUMNS[annotation]()
    if annotation is Release:
        return _releases()
    if is_dataclass(annotation):
        hints = get_type_hints(annotation)
        make: Any = annotation
        given = {f.name: values_of(hints[f.name]) for f in fields(annotation)}
        return st.builds(make, **(given | _CHECKED.get(make, {})))
    if origin in (Union, types.UnionType):
        (inner,) = (a for a in args if a is not type(None))
        return st.none() | values_of(inner)
    if origin is tuple:
        return st.lists(values_of(args[0]), max_size=3).map(tuple)
    if origin is dict:
        return st.dictionaries(st.text(max_size=8), values_of(args[1]), max_size=3)
    return _SCALARS[annotation]


@st.composite
def _releases(draw: st.DrawFn) -> Release:
    manifest = replace(draw(values_of(Manifest)), model=draw(_NAMES), version=draw(_NAMES))
    whole, *updates = draw(st.lists(values_of(Blob), min_size=1, max_size=3))
    return Release(
        name=f"{manifest.model}/{manifest.version}",
        bundle_sha256=draw(_DIGESTS),
        bundle_bytes=draw(st.integers(1, MAX_BUNDLE_BYTES)),
        blobs=(replace(whole, base_sha256=None), *updates),
        manifest=manifest,
    )


def _column(draw: st.DrawFn, values: st.SearchStrategy[Any], n: int) -> tuple[Any, ...]:
    return tuple(draw(st.lists(values, min_size=n, max_size=n)))


@st.composite
def _samples(draw: st.DrawFn) -> Samples:
    n = draw(st.integers(0, 4))

    def column(values: st.SearchStrategy[Any]) -> tuple[Any, ...]:
        return _column(draw, values, n)

    def maybe(values: st.SearchStrategy[Any]) -> tuple[Any, ...]:
        return column(values) if draw(st.booleans()) else ()

    return Samples(
        release=draw(_SCALARS[str]),
        rate=draw(_SCALARS[float]),
        ids=column(_SCALARS[str]),
        predicted=column(_SCALARS[int]),
        confidence=column(st.none() | _SCALARS[float]),
        truth=column(st.none() | _SCALARS[int]),
        times_s=maybe(_SCALARS[float]),
        policies=maybe(_SCALARS[str]),
        outputs=maybe(st.lists(_SCALARS[float], max_size=2).map(tuple)),
        slices=maybe(st.lists(_SCALARS[str], max_size=2).map(tuple)),
        inputs=maybe(st.none() | _SCALARS[str]),
    )


@st.composite
def _cells(draw: st.DrawFn) -> Cells:
    n = draw(st.integers(0, 3))
    return Cells(_column(draw, _CLASSES, n), _column(draw, _CLASSES, n), _column(draw, _COUNTS, n))


@st.composite
def _classes(draw: st.DrawFn) -> Classes:
    n = draw(st.integers(0, 3))
    return Classes(_column(draw, _CLASSES, n), _column(draw, _COUNTS, n))


@st.composite
def _reliability(draw: st.DrawFn) -> Reliability:
    labelled = _column(draw, _COUNTS, draw(st.sampled_from([0, RELIABILITY_BINS])))
    correct = tuple(draw(st.integers(0, n)) for n in labelled)
    return Reliability(labelled, correct, tuple(draw(st.sampled_from([(), middles(labelled)]))))


@st.composite
def _moments(draw: st.DrawFn) -> Moments:
    numbers = draw(st.lists(st.floats(-1e100, 1e100), max_size=3))
    if not numbers:
        return Moments()
    squares = sum(number * number for number in numbers)
    return Moments(len(numbers), sum(numbers), squares, min(numbers), max(numbers))


@st.composite
def _value_counters(draw: st.DrawFn) -> ValueCounters:
    errors = draw(_moments())
    off = draw(st.floats(0, 1e100)) if errors.count else 0.0
    return ValueCounters(draw(st.integers(0, 7)), draw(_moments()), errors, off)


@st.composite
def _slices(draw: st.DrawFn) -> SliceCounters:
    labelled = draw(_COUNTS)
    return SliceCounters(draw(_SCALARS[str]), draw(_COUNTS), labelled, draw(st.integers(0, labelled)))


@st.composite
def _truths(draw: st.DrawFn) -> Truths:
    n = draw(st.integers(0, 3))
    return Truths(_column(draw, _SCALARS[str], n), _column(draw, _SCALARS[int], n))


#: Messages whose columns belong together.
_COLUMNS: dict[Any, Callable[[], st.SearchStrategy[Any]]] = {
    Samples: _samples,
    Cells: _cells,
    Classes: _classes,
    Reliability: _reliability,
    SliceCounters: _slices,
    Moments: _moments,
    ValueCounters: _value_counters,
    Truths: _truths,
}
