"""What a converter leaves to do on a TFLite file: the order of its inputs and outputs. Children only.

The converter sorts inputs and outputs by name; whoever calls the model counts them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from wire.errors import ModelError

_LOOPS: Final = ("WHILE", "LSTM", "RNN", "SVDF")


def in_order(tflite: bytes, inputs: Sequence[str], outputs: Sequence[str]) -> bytes:
    """Return `tflite` with its inputs and outputs in the order of these names of its first signature.

    The two lists of tensor numbers are permuted in place: no other byte changes. Raises ModelError
    when the signature has other names.
    """
    from ai_edge_litert import schema_py_generated as schema

    whole = bytearray(tflite)
    model = schema.Model.GetRootAsModel(whole, 0)
    signature = model.SignatureDefs(0)
    graph = model.Subgraphs(signature.SubgraphIndex())
    taken = _numbers(signature.Inputs, signature.InputsLength())
    given = _numbers(signature.Outputs, signature.OutputsLength())
    for names, numbers, row in (
        (inputs, taken, graph.InputsAsNumpy()),
        (outputs, given, graph.OutputsAsNumpy()),
    ):
        # An input that nothing reads, or an output that is another's, may be missing.
        if sorted(names) != sorted(numbers) or len(names) != len(row):
            raise ModelError(f"the converter made [{', '.join(numbers)}] of [{', '.join(names)}]")
        row[:] = [numbers[name] for name in names]
    return bytes(whole)


def check_stateless(tflite: bytes) -> None:
    """Raise ModelError for a model that keeps something from one call to the next.

    A fused LSTM does, as older converters make it: on a device, each row would be answered by those before.
    """
    from ai_edge_litert import schema_py_generated as schema

    model = schema.Model.GetRootAsModel(bytearray(tflite), 0)
    graphs = list(map(model.Subgraphs, range(model.SubgraphsLength())))
    kept = any(graph.Tensors(i).IsVariable() for graph in graphs for i in range(graph.TensorsLength()))
    keepers = {name for name in operator_names(tflite) if name.endswith(("_VARIABLE", "_RNN", "_LSTM"))}
    if kept or any(name.endswith("_VARIABLE") for name in keepers):
        raise ModelError(
            f"it keeps a state from one row to the next ({', '.join(sorted(keepers)) or 'in variables'}): "
            "give the .keras or .h5 file of the model, whose layers can be made to start anew"
        )


def runs_loops(tflite: bytes) -> bool:
    """Tell whether the model runs over time in a loop or in a recurrent operator."""
    return any(part in name for name in operator_names(tflite) for part in _LOOPS)


def operator_names(tflite: bytes) -> set[str]:
    """Return the names of the operators in use; a custom one is `custom NAME`."""
    from ai_edge_litert import schema_py_generated as schema

    names = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
    model = schema.Model.GetRootAsModel(bytearray(tflite), 0)
    graphs = map(model.Subgraphs, range(model.SubgraphsLength()))
    used = {graph.Operators(i).OpcodeIndex() for graph in graphs for i in range(graph.OperatorsLength())}
    return {_operator_name(model.OperatorCodes(number), names) for number in used}


def _operator_name(code: Any, names: Mapping[int, str]) -> str:
    # Two fields since there are more than 127 operators; the larger one counts.
    number = max(code.BuiltinCode(), code.DeprecatedBuiltinCode())
    custom = code.CustomCode()
    return f"custom {custom.decode()}" if custom else names.get(number, str(number))


def _numbers(entry: Any, count: int) -> Mapping[str, int]:
    """Return the tensor of each name in a signature's list."""
    return {entry(i).Name().decode(): entry(i).TensorIndex() for i in range(count)}
