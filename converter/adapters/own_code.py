"""Python files of the user: imported so that a model's own layers are known when it is loaded.

They run in a child process, with the user's rights, and only when the user names them.
"""

from __future__ import annotations

import importlib.util
import inspect
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from converter.adapters.child import one_line
from wire.errors import ModelError


def import_code(files: Sequence[Path]) -> dict[str, Any]:
    """Import `files` in their order; return the classes and functions that they define, by name.

    Raises ModelError for a file that is not there or that fails.
    """
    found: dict[str, Any] = {}
    for file in files:
        module = import_file(file)
        found |= {
            name: value
            for name, value in vars(module).items()
            if (inspect.isclass(value) or inspect.isfunction(value)) and value.__module__ == module.__name__
        }
    return found


def import_file(file: Path) -> ModuleType:
    """Import one Python file under its own name; what stands beside it can be imported too."""
    if not file.is_file():
        raise ModelError(f"{file} is not there")
    spec = importlib.util.spec_from_file_location(file.stem, file)
    if spec is None or spec.loader is None:
        raise ModelError(f"{file} is no Python file")
    # At the end: a file `numpy.py` beside it is not meant.
    sys.path.append(str(file.resolve().parent))
    module = importlib.util.module_from_spec(spec)
    sys.modules.setdefault(file.stem, module)  # pickles and Keras look a class up in its module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:  # the user's code raises whatever it likes
        raise ModelError(f"{file} fails: {type(error).__name__}: {one_line(error)}") from error
    return module
