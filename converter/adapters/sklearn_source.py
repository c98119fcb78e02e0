"""Pickled scikit-learn estimators as a source. A pickle runs the code that is in it: open your own only."""

from __future__ import annotations

from typing import Final

from converter.adapters.source_child import Source, run_source
from converter.source import Converted

_CHILD: Final = "converter.adapters.sklearn_child"


def convert(source: Source) -> Converted:
    """Convert a fitted estimator, or a pipeline of scalers and one, from a pickle or joblib file.

    Raises ModelError for another object or an estimator of an unsupported kind, DataError when the rows
    do not fit its columns, and UnavailableError without scikit-learn.
    """
    return run_source(_CHILD, source)
