"""SavedModel folders as a source: of `tf.saved_model.save`, of `model.export`, of Keras 2."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from converter.adapters.source_child import Source, run_source
from converter.source import Converted

_CHILD: Final = "converter.adapters.saved_model_child"
GRAPH: Final = "saved_model.pb"


def is_saved_model(folder: Path) -> bool:
    """Tell whether `folder` holds a SavedModel."""
    return (folder / GRAPH).is_file()


def convert(source: Source) -> Converted:
    """Convert one signature of the SavedModel: the one asked for, `serving_default`, or the only one.

    Raises ModelError when it has none such, when its variables are not there, or when plain TFLite
    cannot express it; DataError when the rows do not fit its inputs.
    """
    return run_source(_CHILD, source)
