"""The runtime: the model that serves now, and how another takes its place.

Rules:
- a call waits for nothing but the interpreter: the network, the disk and the loading of the next
  model happen elsewhere, and no lock is held while they do;
- an interpreter has a lock of its own, because two threads in one give silently wrong answers;
- a swap is one assignment between two calls; the old model is closed by the swapping thread after
  its last call has returned (freeing it holds the GIL for milliseconds: not on a caller's time);
- a call that met the old model while it closed goes to the new one: no request is lost.

Threads: any number may call `predict`; one at a time may call `swap` or `close`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from edge.backend import Array, Interpreter, Loader, Tensor
from edge.tensors import InputWriter, dequantize
from wire.errors import InputError, ModelError

_WARM_UP_CALLS = 3  # the first invoke is up to 40 % dearer than the second


@dataclass(frozen=True)
class Prediction:
    """What the model said about one input.

    `outputs` are real values (dequantized) by output name, batch first. `best` is the index of the
    largest value of the first output and `confidence` that value; `label` is its name, or None for
    a model without labels. `latency_s` is the time inside the model, from its lock to its output.
    """

    release: str
    outputs: Mapping[str, Array]
    best: int
    confidence: float
    label: str | None
    latency_s: float


class LoadedModel:
    """One model, loaded and ready: an interpreter, its views and its lock."""

    def __init__(self, release: str, interpreter: Interpreter, labels: tuple[str, ...] = ()) -> None:
        self.release = release
        self.labels = labels
        self.lock = threading.Lock()
        self.closed = False
        self._interpreter = interpreter
        self._writers = [
            InputWriter(tensor, interpreter.input_view(i)) for i, tensor in enumerate(interpreter.inputs)
        ]
        self._positions = {tensor.name: i for i, tensor in enumerate(interpreter.inputs)}

    @property
    def inputs(self) -> tuple[Tensor, ...]:
        return self._interpreter.inputs

    @property
    def outputs(self) -> tuple[Tensor, ...]:
        return self._interpreter.outputs

    def warm_up(self) -> None:
        """Run on zeros, so that no caller pays for the first call.

        Each time anew: an interpreter may use the inputs' memory for what it computes, and garbage is
        no index into an embedding.
        """
        for _ in range(_WARM_UP_CALLS):
            for position in range(len(self._interpreter.inputs)):
                self._interpreter.input_view(position)[...] = 0
            self._interpreter.invoke()

    def run(self, inputs: Any) -> Prediction:
        """Run one input; the caller holds `lock`. Raises InputError or ModelError."""
        start = time.perf_counter()
        self._write(inputs)
        self._interpreter.invoke()
        outputs = {
            tensor.name: dequantize(tensor, self._interpreter.output(i))
            for i, tensor in enumerate(self._interpreter.outputs)
        }
        latency_s = time.perf_counter() - start
        first = next(iter(outputs.values())).ravel()
        best = int(np.argmax(first))
        label = self.labels[best] if best < len(self.labels) else None
        return Prediction(self.release, outputs, best, float(first[best]), label, latency_s)

    def close(self) -> None:
        """Free the interpreter after the call that is inside it."""
        with self.lock:
            self.closed = True
            self._writers.clear()
            self._interpreter.close()

    def _write(self, inputs: Any) -> None:
        if isinstance(inputs, Mapping):
            if inputs.keys() != self._positions.keys():
                raise InputError(f"inputs {sorted(inputs)} given, the model takes {sorted(self._positions)}")
            for name, value in inputs.items():
                self._writers[self._positions[name]].write(value)
        elif len(self._writers) == 1:
            self._writers[0].write(inputs)
        else:
            raise InputError(f"the model takes several inputs: pass a mapping of {sorted(self._positions)}")


class Runtime:
    """Serves one model at a time; models come and go without a call noticing.

    `edge.open_bundle` makes one from a bundle file.
    """

    def __init__(self) -> None:
        self._active: LoadedModel | None = None

    @property
    def release(self) -> str | None:
        """The release that serves now, such as `digits/2`."""
        active = self._active
        return active.release if active else None

    def predict(self, inputs: Any) -> Prediction:
        """Run one input: an array of the input's shape (batch dimension optional), or a mapping by name.

        Floats are quantized for an integer model; an array of the tensor's own integer dtype is
        taken as raw codes. Raises InputError for what does not fit and ModelError when no model
        serves or the interpreter fails.
        """
        while True:
            active = self._active
            if active is None:
                raise ModelError("no model is loaded yet")
            with active.lock:
                if not active.closed:
                    try:
                        return active.run(inputs)
                    except ModelError as error:
                        error.release = active.release
                        raise

    def swap(self, new: LoadedModel) -> None:
        """Let `new`, loaded and warmed, answer from the next call on, and close the old model."""
        old, self._active = self._active, new
        if old is not None:
            old.close()

    def close(self) -> None:
        """Serve nothing any more; calls raise ModelError."""
        old, self._active = self._active, None
        if old is not None:
            old.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def load(release: str, path: Path, loader: Loader, labels: tuple[str, ...] = ()) -> LoadedModel:
    """Load and warm the model in `path`; raise ModelError when it cannot run."""
    model = LoadedModel(release, loader(path), labels)
    model.warm_up()
    return model
