"""What an agent does now, in the one line that `systemctl status` shows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from edge.lifecycle import State
from wire.messages import ModelState
from wire.software import SOFTWARE

_LONGEST_ERROR: Final = 120


def status_line(models: Sequence[ModelState], *, connected: bool) -> str:
    """Return what serves, what is under way, and whether the broker is out of reach.

    `digits/1 serves, digits/2: download 40 %`; several models are told apart by semicolons.
    """
    told = [text for model in models if (text := _about(model))]
    return "; ".join(told if connected else [*told, "no broker"])


def _about(model: ModelState) -> str:
    if model.model == SOFTWARE:  # without a release it is the one that was installed, which is no news
        serves = f"{model.current} runs" if model.current else ""
    else:
        serves = f"{model.current} serves" if model.current else f"waiting for a first model of {model.model}"
    return ", ".join(filter(None, (serves, _news(model))))


def _news(model: ModelState) -> str:
    """Return what is under way or went wrong; nothing where all is as it should be."""
    if model.state == State.IDLE and model.error is None:
        return ""
    whose = f"{model.target}: " if model.target and model.target != model.current else ""
    # In steps of ten: each change is a message to PID 1.
    share = f" {model.done_chunks * 10 // model.total_chunks * 10} %" if _downloads(model) else ""
    error = f" ({model.error[:_LONGEST_ERROR]})" if model.error else ""
    return f"{whose}{model.state}{share}{error}"


def _downloads(model: ModelState) -> bool:
    return model.state == State.DOWNLOAD and model.total_chunks > 0
