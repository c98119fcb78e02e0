"""What most projects write around a model: set_tensor, invoke, get_tensor."""

# mypy: ignore-errors

import os

import numpy as np
from ai_edge_litert.interpreter import Interpreter


class Model:
    def __init__(self):
        self._interpreter = Interpreter(os.environ["BENCH_MODEL"], num_threads=1)
        self._interpreter.allocate_tensors()
        (self._given,), (self._got,) = (
            self._interpreter.get_input_details(),
            self._interpreter.get_output_details(),
        )

    def __call__(self, values):
        self._interpreter.set_tensor(
            self._given["index"], np.asarray(values, np.float32).reshape(self._given["shape"])
        )
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._got["index"])
