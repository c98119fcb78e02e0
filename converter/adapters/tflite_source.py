"""A float TFLite file as a source, bare or with a zip behind it, as bundles and model metadata have."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from converter.adapters.source_child import Source, run_source
from converter.source import Converted
from wire.errors import ModelError

_CHILD: Final = "converter.adapters.tflite_child"
_MARK: Final = b"TFL3"


def convert(source: Source) -> Converted:
    """Fix the batch and the open sizes of a `.tflite` file or a bundle, and run it.

    Raises ModelError when it is quantized already, needs operators that no plain runtime has, or
    cannot be run; DataError when the rows do not fit its inputs.
    """
    check_mark(source.path)
    return run_source(_CHILD, source)


def check_mark(path: Path) -> None:
    """Raise ModelError when the file does not begin as a TFLite model."""
    with path.open("rb") as file:
        if file.read(8)[4:] != _MARK:
            raise ModelError(f"{path} is not a TFLite model (no {_MARK.decode()} mark)")
