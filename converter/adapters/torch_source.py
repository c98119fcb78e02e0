"""PyTorch models as a source: exported programs, and functions in a Python file that return a module."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from converter.adapters.source_child import Source, run_source
from converter.adapters.torch_environment import torch_python
from converter.source import Converted
from wire.errors import ModelError

_CHILD: Final = "converter.adapters.torch_start"
_ZIP_MARK: Final = b"PK\x03\x04"


def factory_file(path: Path) -> Path | None:
    """Return the file in `FILE.py:FUNCTION`; None when `path` is no such thing."""
    file, _, name = str(path).rpartition(":")
    return Path(file) if file.endswith(".py") and name.isidentifier() else None


def convert(source: Source, *, say: Callable[[str], None] | None = None) -> Converted:
    """Convert a `.pt2` file of `torch.export.save`, or what a function returns: a module and example inputs.

    `say` is told a line before minutes are spent on an environment; without it the line goes to
    standard error. Raises ModelError when the module cannot be had or plain TFLite cannot express it,
    DataError when the rows do not fit its inputs, UnavailableError when PyTorch cannot be installed.
    """
    file = factory_file(source.path)
    if file is None:
        _check_zip(source.path)
    python = torch_python(say or _to_stderr)
    function = str(source.path).rpartition(":")[2] if file else ""
    return run_source(_CHILD, source, str(python), function, of=file)


def _check_zip(path: Path) -> None:
    with path.open("rb") as file:
        if file.read(len(_ZIP_MARK)) != _ZIP_MARK:
            raise ModelError(f"{path} is not a program of torch.export.save")


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
