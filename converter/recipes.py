"""The recipes: which parts of a model become which numbers, and exceptions for some of its operators. Pure.

What runs where (ai-edge-litert 2.3 runs all): tflite-runtime 2.14 runs float32, float16, int8,
weight-int8 and int16, and refuses the others.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from wire.errors import SettingsError

#: Tensor name → smallest and largest value that it took.
Ranges = Mapping[str, tuple[float, float]]

#: What litert-quantizer has 4-bit weights for; the others get the recipe's `otherwise`.
_INT4: Final = frozenset({"CONV_2D", "FULLY_CONNECTED", "EMBEDDING_LOOKUP", "BATCH_MATMUL"})
_BLOCKWISE: Final = frozenset({"FULLY_CONNECTED", "EMBEDDING_LOOKUP"})


@dataclass(frozen=True)
class Recipe:
    """How weights are stored, and in what numbers is computed.

    With integer `activations` the ranges of all tensors are needed beforehand. `dynamic` computes in
    int8 by finding each tensor's range anew in every call. Weights have a scale for each channel, or
    for each `block` of inputs of it. `operators` are those that the recipe is only for (empty: for
    all); the others are made by the recipe `otherwise`. `float_io` keeps inputs and outputs float32.
    """

    name: str
    summary: str
    weights: Literal["float32", "float16", "int8", "int4"] = "float32"
    activations: Literal["float32", "int8", "int16"] = "float32"
    dynamic: bool = False
    block: int = 0
    operators: frozenset[str] = frozenset()
    otherwise: str = ""
    float_io: bool = False

    @property
    def calibrates(self) -> bool:
        """Whether it needs ranges: calibration data."""
        return self.activations != "float32"


_ALL: Final = (
    Recipe("float32", "as converted"),
    Recipe("float16", "weights as float16, computes in float32: half the size", "float16"),
    Recipe("int8", "all in 8 bits, needs calibration data: small and fastest", "int8", "int8"),
    Recipe("int8-float-io", "as int8, with float32 inputs and outputs", "int8", "int8", float_io=True),
    Recipe(
        "dynamic-int8",
        "8-bit weights, ranges found in every call; not for tflite-runtime",
        "int8",
        dynamic=True,
    ),
    Recipe("weight-int8", "8-bit weights, computes in float32: no calibration data needed", "int8"),
    Recipe("int16", "8-bit weights, 16-bit activations: accurate, slow", "int8", "int16"),
    Recipe(
        "weight-int4",
        "4-bit weights where operators know them, else 8; not for tflite-runtime",
        "int4",
        operators=_INT4,
        otherwise="weight-int8",
    ),
    Recipe(
        "weight-int4-block32",
        "as weight-int4, a scale for each 32 weights: dense layers of 32·n inputs",
        "int4",
        dynamic=True,
        block=32,
        operators=_BLOCKWISE,
        otherwise="weight-int8",
    ),
)
RECIPES: Final[Mapping[str, Recipe]] = {recipe.name: recipe for recipe in _ALL}


@dataclass(frozen=True)
class Rule:
    """An exception: another recipe for the operators that `pattern` matches.

    That is a TFLite operator's name, SOFTMAX, or a regular expression that is searched in the names
    of layers, as the names of their tensors tell them.
    """

    pattern: str
    recipe: str


@dataclass(frozen=True)
class LayerLoss:
    """How far one operator's output is from the float32 model's, by all that came before and by itself.

    `error` is the root mean square of the difference over that of the values: .01 is 40 dB.
    """

    name: str
    operator: str
    error: float


def parse_rule(text: str) -> Rule:
    """Read `SOFTMAX=float32` or `dense.*=weight-int8`; raise SettingsError for what is no rule."""
    pattern, equals, recipe = text.rpartition("=")
    if not equals or not pattern:
        raise SettingsError(f"exception {text!r}: write PATTERN=RECIPE, such as SOFTMAX=float32")
    allowed = [known.name for known in _ALL if not known.float_io]
    if recipe not in allowed:
        raise SettingsError(f"exception {text!r}: {recipe!r} is none of {', '.join(allowed)}")
    try:
        re.compile(pattern)
    except re.error as error:
        raise SettingsError(f"exception {text!r}: no regular expression: {error}") from error
    return Rule(pattern, recipe)
