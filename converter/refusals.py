"""Why a framework did not load a model, or a converter not convert it: one line out of their pages. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

_UNKNOWN: Final = re.compile(r"(?:Could not locate (?:class|function)|Unknown [\w ]+?):? '?([\w.>]+)'?")
_CAUSE: Final = re.compile(r"Exception encountered: (.+)")
_OPERATORS: Final = re.compile(r"(?:Flex|Custom) ops: ([\w., ]+)")
_OPERATOR: Final = re.compile(r"'tf\.(\w+)' op")
#: Where in the model an operator comes from: fused["Svd:", "model_1/functional_1/odd_1/Svd@__inference…"].
_PLACE: Final = re.compile(r'"\w+:", "([^"@]+)@')
_NO_LOWERING: Final = re.compile(r"Lowering not found: ([\w.]+)")

_EXPORT: Final = "load it with tf_keras and export it from there as a SavedModel folder: model.export(FOLDER)"


def not_loaded(text: str, line: str, saved_by: str, here: str) -> str:
    """Say in one line why Keras did not load a model.

    `text` is its error and `line` that error's best line; `saved_by` and `here` are the versions of
    Keras that saved the model ("": not known) and that reads it.
    """
    if "Lambda" in text and "safe_mode" in text:
        return (
            "it has a Lambda layer, which is Python code inside of the file and is not run: write it as a "
            "layer class, save the model again and name the class's file with --code FILE.py"
        )
    if "OpLambda" in text:
        return f"it calls TensorFlow between its layers, which only Keras 2 reads: {_EXPORT}"
    if found := _UNKNOWN.search(text):
        name = found[1].rpartition(">")[2]
        return (
            f"it needs {name}, which Keras does not have: name the file that defines it with --code FILE.py"
        )
    if "No model config found" in text:
        return "it holds no Keras model, at most the weights of one: save the whole model with model.save()"
    if "truncated file" in text:
        return "it is cut off"
    cause = _CAUSE.search(text)
    why = cause[1][:200] if cause else line
    if saved_by.startswith(("1.", "2.")):
        return f"Keras {here} cannot load what Keras {saved_by} saved ({why}): {_EXPORT}"
    other = f" (saved by Keras {saved_by}, read by {here})" if saved_by not in ("", here) else ""
    return f"Keras cannot load it{other}: {why}"


def not_expressed(text: str, layers: Collection[str], line: str) -> str:
    """Say in one line why a model did not convert; `layers` are the names of its layers."""
    found = {name.strip() for names in _OPERATORS.findall(text) for name in names.split(",")}
    found = {name for name in found | set(_OPERATOR.findall(text)) if name}
    if not found:
        return f"plain TFLite cannot express it: {line}"
    where = next((layer for place in _PLACE.findall(text) for layer in [_layer(place, layers)] if layer), "")
    named = f"{', '.join(f'tf.{name}' for name in sorted(found))}{f' (layer {where})' if where else ''}"
    if any(name.startswith("TensorList") for name in found):
        return (
            f"plain TFLite cannot loop over a batch that is left open ({named}): give the .keras or .h5 file "
            "of the model, or export it with a batch of 1"
        )
    return (
        f"plain TFLite has no operator for {named}, only TensorFlow has, which no small board runs: "
        "build that part of other layers, or leave it out of the model"
    )


def not_lowered(text: str, line: str) -> str:
    """Say in one line why a PyTorch module did not convert."""
    if found := _NO_LOWERING.search(text):
        return f"plain TFLite has no operator for {found[1]}: build that part of other layers"
    return f"plain TFLite cannot express it: {line}"


def _layer(place: str, layers: Collection[str]) -> str:
    """Return the innermost layer of a path such as `model_1/odd_1/Svd`; Keras adds the numbers."""
    for part in reversed(place.split("/")):
        for name in (part, re.sub(r"_\d+$", "", part)):
            if name in layers:
                return name
    return ""
