"""The workstation's half: a trained model in; a small, measured and proven bundle out.

Pure core files, `adapters/` for what touches the world, `app.py` for the wiring. TensorFlow, the
quantizer and the interpreters run in child processes: each can end with a segmentation fault.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from converter.api import convert_model

__all__ = ["convert_model"]


def __getattr__(name: str) -> Any:
    """Import the API when it is asked for: a child process that imports one file needs no rich or pyarrow."""
    if name == "convert_model":
        from converter.api import convert_model

        return convert_model
    raise AttributeError(name)
