"""What a .tflite without a manifest tells about itself, read from its flatbuffer; nothing is run."""

from __future__ import annotations

from converter.adapters.flatbuffer import min_runtime, operators, read_graphs
from converter.graph import Tensor
from converter.inspection import Model
from wire.errors import EdgeflockError, ModelError, UnavailableError
from wire.manifest import TensorSpec


def describe(tflite: bytes) -> Model:
    """Return its tensors and operators.

    Raises ModelError when the file is cut off or is no flatbuffer, UnavailableError without
    ai-edge-litert, which brings the schema.
    """
    try:
        graph = read_graphs(tflite)[0]  # of all constants too: one that ends behind the file is an error
        return Model(
            inputs=tuple(_spec(graph.tensors[position]) for position in graph.inputs),
            outputs=tuple(_spec(graph.tensors[position]) for position in graph.outputs),
            operators=tuple(f"{operator.name} {operator.version}" for operator in operators(tflite)),
            min_runtime=min_runtime(tflite),
        )
    except EdgeflockError:
        raise
    except ImportError as error:
        raise UnavailableError(
            "ai-edge-litert cannot be imported: pip install 'edgeflock[converter]'"
        ) from error
    except Exception as error:  # flatbuffers checks nothing: damage shows as any error of struct or numpy
        raise ModelError("it is no whole TFLite file: cut off, or damaged") from error


def _spec(tensor: Tensor) -> TensorSpec:
    per_tensor = len(tensor.scales) == 1 == len(tensor.zero_points)
    return TensorSpec(
        name=tensor.name,
        dtype=tensor.dtype,
        shape=tensor.shape,
        scale=tensor.scales[0] if per_tensor else None,
        zero_point=tensor.zero_points[0] if per_tensor else None,
    )
