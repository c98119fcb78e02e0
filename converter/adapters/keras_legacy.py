"""What Keras 2 wrote into its files and Keras 3 does not know any more. Children only.

Two arguments that every Keras 2 layer of a kind has are refused, though their usual values say nothing:
a loop over time is not time-major, and a depthwise convolution has one group.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

_SAYS_NOTHING: Final[Mapping[str, Mapping[str, Any]]] = {
    "time_major": {"LSTM": False, "GRU": False, "SimpleRNN": False, "RNN": False, "ConvLSTM2D": False},
    "groups": {"DepthwiseConv1D": 1, "DepthwiseConv2D": 1, "Conv2DTranspose": 1, "Conv1DTranspose": 1}
    | {"SeparableConv1D": 1, "SeparableConv2D": 1},
}


def tolerant_layers() -> dict[str, Any]:
    """Return layer classes by name that load from a file of either version."""
    import keras

    names = {name for usual in _SAYS_NOTHING.values() for name in usual}
    return {name: _tolerant(getattr(keras.layers, name)) for name in names}


def _tolerant(layer: Any) -> Any:
    def from_config(cls: Any, config: dict[str, Any]) -> Any:
        kept = {key: value for key, value in config.items() if not _says_nothing(cls, key, value)}
        return layer.from_config.__func__(cls, kept)

    return type(layer.__name__, (layer,), {"from_config": classmethod(from_config)})


def _says_nothing(layer: type, argument: str, value: Any) -> bool:
    usual = _SAYS_NOTHING.get(argument, {})
    return layer.__name__ in usual and usual[layer.__name__] == value
