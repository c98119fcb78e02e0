"""The runtime: the model that serves now, and how another takes its place.

Rules:
- a call waits for nothing but an interpreter: the network, the disk and the loading of the next model
  happen elsewhere, and no lock is held while they do;
- a swap is one assignment between two calls; the old model is closed by the swapping thread after
  its last call has returned (freeing it holds the GIL for milliseconds: not on a caller's time);
- a call that met the old model while it closed goes to the new one: no request is lost.

Threads: any number may call `predict`; one at a time may call `swap` or `close`.
"""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

from edge import postprocessing, preprocessing
from edge.backend import Array
from edge.loaded import LoadedModel, ModelClosedError
from edge.prediction import Prediction, Predictions
from wire.errors import ModelError

__all__ = ["LoadedModel", "Prediction", "Predictions", "Runtime", "Stream"]


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

    @property
    def model(self) -> LoadedModel | None:
        """The model that serves now; it may be another one at the next look."""
        return self._active

    def predict(
        self, inputs: Any, *, timeout_s: float | None = None, signature: str | None = None
    ) -> Prediction:
        """Answer one input: an array of the input's shape, or several by name or position.

        The batch dimension of 1 is optional. Floats are quantized for an integer model; an array of
        the tensor's own integer dtype is taken as raw codes. `signature` runs another function of the
        file, which takes a mapping by its own names.

        Raises InputError for what does not fit, BusyError when no interpreter is free within
        `timeout_s` seconds (None waits), and ModelError when no model serves or the interpreter fails.
        """
        while True:
            active = self._active
            if active is None:
                raise ModelError("no model is loaded yet")
            try:
                return active.run(inputs, timeout_s=timeout_s, signature=signature)
            except ModelClosedError as error:
                if self._active is active:
                    raise ModelError(f"{active.release} is closed") from error

    def predict_batch(
        self, inputs: Any, *, resize: bool = False, timeout_s: float | None = None, asked: int | None = None
    ) -> Predictions:
        """Answer n inputs: arrays [n, …] in place of those that `predict` takes.

        They run one after the other, which is fastest on a CPU for all but tiny models. `resize` runs
        them as one batch where the model allows it; raises InputError where it does not. A stateful
        model is never resized. Of a batch that was filled up, only the first `asked` rows are counted as
        answers. Raises what `predict` raises.
        """
        while True:
            active = self._active
            if active is None:
                raise ModelError("no model is loaded yet")
            try:
                return active.run_batch(inputs, resize=resize, timeout_s=timeout_s, asked=asked)
            except ModelClosedError as error:
                if self._active is active:
                    raise ModelError(f"{active.release} is closed") from error

    def prepare(self, sample: Array) -> Array:
        """Return the first input for a raw sample, as the manifest declares it.

        An image is uint8 [height, width, 3] in RGB, a wave float32 [n] between -1 and 1. A model that
        declares nothing gets the sample as it is. Raises InputError for a sample that does not fit.
        """
        model = self._serving()
        if model.manifest is None:
            return sample
        return preprocessing.prepare(sample, model.manifest.preprocessing, model.inputs[0].shape[1:])

    def answer(self, prediction: Prediction) -> list[dict[str, object]]:
        """Return what the manifest declares to be the answer: classes, or boxes, the best first."""
        manifest = prediction.manifest  # that of the model which answered: another may serve by now
        if manifest is None:
            return []
        return postprocessing.answer(
            prediction.outputs, manifest.postprocessing, prediction.labels, manifest.task
        )

    def stream(self) -> Stream:
        """Return an interpreter of its own for one stream of a stateful model; close it at the end."""
        return Stream(self._serving().stream())

    def swap(self, new: LoadedModel) -> LoadedModel | None:
        """Let `new`, loaded and warmed, answer from the next call on; return the old model, closed."""
        old = self.exchange(new)
        if old is not None:
            old.close()
        return old

    def exchange(self, new: LoadedModel | None) -> LoadedModel | None:
        """Let `new` answer from the next call on, and return the old model as it was: still open.

        Ask for `predict` anew then: one that was bound before answers by the old model until that closes.
        """
        old, self._active = self._active, new
        # The method above, without its frames: a quarter of the time of a small model. It comes back
        # to the method when the model is closed.
        slow = Runtime.predict.__get__(self)
        self.predict = slow if new is None else new.shortcut(slow)  # type: ignore[method-assign]  # on purpose
        return old

    def close(self) -> None:
        """Serve nothing any more; calls raise ModelError."""
        old = self.exchange(None)
        if old is not None:
            old.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _serving(self) -> LoadedModel:
        active = self._active
        if active is None:
            raise ModelError("no model is loaded yet")
        return active


class Stream:
    """One stream of a stateful model: calls see what the calls before them left, and nobody else's.

    There is no reset: an interpreter's own leaves variables as they are. Close it and ask for another.
    """

    def __init__(self, model: LoadedModel) -> None:
        self._model = model

    def predict(self, inputs: Any) -> Prediction:
        """Answer one input, as Runtime.predict does."""
        try:
            return self._model.run(inputs)
        except ModelClosedError as error:
            raise ModelError("the stream is closed") from error

    def close(self) -> None:
        self._model.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
