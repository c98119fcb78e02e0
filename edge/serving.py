"""What answers callers: the runtime, with everything counted that it does."""

from __future__ import annotations

import logging
import threading
import time
from pathlib import Path
from typing import Final

from edge.backend import Loader
from edge.loading import load_bundle
from edge.recorder import Recorder
from edge.results import Result, ResultQueue, Sample
from edge.runtime import LoadedModel, Runtime
from wire.errors import InputError, ModelError

log = logging.getLogger(__name__)

_NO_RELEASE: Final = "none"


class Serving:
    """The runtime with its recorder and its queue of results.

    `answer` runs on the inference thread; the rest on the control thread.
    """

    def __init__(self, loader: Loader, recorder: Recorder, results: ResultQueue) -> None:
        self._loader = loader
        self._recorder = recorder
        self._results = results
        self._runtime = Runtime()
        self._candidate: LoadedModel | None = None
        self._ready = threading.Event()
        self.inputs_refused = 0

    @property
    def release(self) -> str | None:
        return self._runtime.release

    def wait_ready(self, timeout_s: float) -> bool:
        """Wait until a model serves; return whether one does."""
        return self._ready.wait(timeout_s)

    def answer(self, sample: Sample) -> Result | None:
        """Answer one sample, count it and queue the result; None when it failed, which is counted."""
        try:
            prediction = self._runtime.predict(sample.inputs)
        except InputError as error:  # the source's fault: it must not count against a model on probation
            self._refuse(error)
            return None
        except ModelError as error:
            self._recorder.failed(error.release or _NO_RELEASE)
            return None
        self._recorder.answered(
            prediction.release, prediction.latency_s, best=prediction.best, truth=sample.truth
        )
        result = Result(sample, prediction, time.time())
        self._results.put(result)
        return result

    def _refuse(self, error: InputError) -> None:
        if not self.inputs_refused:
            log.warning("%s (further ones are only counted)", error)
        self.inputs_refused += 1

    def prepare(self, bundle: Path) -> None:
        """Load and warm the candidate beside the model that serves."""
        self._candidate = None
        self._candidate = load_bundle(bundle, self._loader)

    def swap(self) -> None:
        """Let the candidate answer from the next call on."""
        assert self._candidate is not None, "nothing was prepared"
        self._runtime.swap(self._candidate)
        self._candidate = None
        self._ready.set()

    def stop(self) -> None:
        """Serve nothing until the next swap."""
        self._ready.clear()
        self._runtime.close()

    def health(self, release: str) -> tuple[int, int]:
        """Return (inferences, errors) of `release` since boot."""
        return self._recorder.since_boot(release)
