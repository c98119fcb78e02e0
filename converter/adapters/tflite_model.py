"""A TFLite file taken apart: one signature of it, its inputs, a batch of 1, no open sizes. Children only.

- Plain callers look at the first subgraph and at the only signature; so the one that is chosen is put
  first, and no other stays. A file without signatures gets one.
- A size is fixed where the file says it, at the input: the interpreter works out all others from it.
- A file that is right already keeps its bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ai_edge_litert import schema_py_generated as schema

from converter.signatures import Slot, choose_signature
from converter.source import InputSpec
from wire.errors import ModelError

_OPEN: Final = -1
_MARK: Final = b"TFL3"
_TYPES: Final[Mapping[int, str]] = {
    code: name.lower() for name, code in vars(schema.TensorType).items() if isinstance(code, int)
}
#: What these hold are codes for floats, where a scale stands beside them; a float16 is one by itself.
_CODES: Final = ("int8", "uint8", "int16", "int4", "int2", "float16")


@dataclass
class TfliteModel:
    """A model (`schema.ModelT`) whose only signature starts at its first subgraph.

    `same` is the file's bytes while they still say the same.
    """

    model: Any
    same: bytes | None

    @property
    def graph(self) -> Any:
        return self.model.subgraphs[0]

    @property
    def signature(self) -> Any:
        return self.model.signatureDefs[0]


def take_apart(tflite: bytes, wanted: str | None) -> TfliteModel:
    """Return the model in `tflite` with the signature that is `wanted`, or the one that is meant.

    Raises ModelError when the bytes are no whole model, or lack that signature.
    """
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(bytearray(tflite), 0))
        held = model.signatureDefs or [_made_signature(model.subgraphs[0])]
        by_name = {_text(signature.signatureKey): signature for signature in held}
    except (TypeError, ValueError, AttributeError, LookupError, OverflowError, struct.error) as error:
        raise ModelError("it is no whole TFLite model: damaged, or cut off") from error
    chosen = by_name[choose_signature(list(by_name), wanted)]
    same = bool(model.signatureDefs) and len(held) == 1 and chosen.subgraphIndex == 0
    model.signatureDefs = [chosen]
    if not same:
        _keep_from(model, int(chosen.subgraphIndex))
    chosen.subgraphIndex = 0
    return TfliteModel(model, tflite if same else None)


def check_float(taken: TfliteModel) -> None:
    """Raise ModelError when tensors hold codes instead of floats."""
    tensors = [tensor for graph in taken.model.subgraphs for tensor in graph.tensors]
    kinds = [_TYPES[tensor.type] for tensor in tensors if _is_coded(tensor)]
    if kinds:
        raise ModelError(
            f"it is quantized already ({len(kinds)} of {len(tensors)} tensors are "
            f"{' or '.join(sorted(set(kinds)))}): give the model that it was made from"
        )


def slots(taken: TfliteModel) -> list[Slot]:
    """Describe the inputs in the file's order, by their names in the signature."""
    names = _names(taken.signature.inputs)
    return [_slot(names[int(number)], taken.graph.tensors[number]) for number in taken.graph.inputs]


def outputs(taken: TfliteModel) -> tuple[str, ...]:
    """Return the names of the outputs in the file's order."""
    names = _names(taken.signature.outputs)
    return tuple(names[int(number)] for number in taken.graph.outputs)


def with_sizes(taken: TfliteModel, specs: Sequence[InputSpec]) -> bytes:
    """Return the file with the shapes of `specs` for its inputs, and a batch of 1."""
    same = taken.same
    for number, spec in zip(taken.graph.inputs, specs, strict=True):
        tensor, wanted = taken.graph.tensors[number], [1, *spec.shape]
        if [int(size) for size in tensor.shape] != wanted or _has_open_size(tensor):
            tensor.shape, tensor.shapeSignature, same = wanted, None, None
    if same is not None:
        return same
    builder = schema.flatbuffers.Builder(1024)
    builder.Finish(taken.model.Pack(builder), file_identifier=_MARK)
    return bytes(builder.Output())


def _made_signature(graph: Any) -> Any:
    made = schema.SignatureDefT()
    made.signatureKey, made.subgraphIndex = b"serving_default", 0
    made.inputs, made.outputs = (
        [_entry(graph.tensors[number], int(number)) for number in numbers]
        for numbers in (graph.inputs, graph.outputs)
    )
    return made


def _entry(tensor: Any, number: int) -> Any:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = _text(tensor.name).removesuffix(":0"), number
    return entry


def _keep_from(model: Any, chosen: int) -> None:
    """Put a subgraph first, keep those that it calls behind it, and renumber the calls."""
    order = [chosen]
    for number in order:  # grows while it is walked
        order += [called for _, _, called in _calls(model.subgraphs[number]) if called not in order]
    model.subgraphs = [model.subgraphs[number] for number in order]
    for graph in model.subgraphs:
        for options, name, called in list(_calls(graph)):
            setattr(options, name, order.index(called))


def _calls(graph: Any) -> Iterator[tuple[Any, str, int]]:
    """Yield where an operator names a subgraph to run: its options, the field, the number in it."""
    for operator in graph.operators or []:
        for options in filter(None, (operator.builtinOptions, operator.builtinOptions2)):
            for name, value in vars(options).items():
                if (name == "subgraph" or name.lower().endswith("subgraphindex")) and value >= 0:
                    yield options, name, value


def _slot(name: str, tensor: Any) -> Slot:
    sizes = tensor.shapeSignature if tensor.shapeSignature is not None else tensor.shape
    if sizes is None or len(sizes) == 0:
        raise ModelError(f"its input {name} has no batch: a row of it cannot be told from a whole")
    row = tuple(None if int(size) == _OPEN else int(size) for size in sizes[1:])
    return Slot(name, row, _TYPES[tensor.type])


def _has_open_size(tensor: Any) -> bool:
    return tensor.shapeSignature is not None and any(int(size) == _OPEN for size in tensor.shapeSignature)


def _is_coded(tensor: Any) -> bool:
    kind = _TYPES[tensor.type]
    scales = tensor.quantization.scale if tensor.quantization is not None else None
    return kind in _CODES and (kind == "float16" or (scales is not None and len(scales) > 0))


def _names(entries: Sequence[Any]) -> dict[int, str]:
    return {int(entry.tensorIndex): _text(entry.name) for entry in entries}


def _text(name: bytes | str) -> str:
    return name if isinstance(name, str) else name.decode()
