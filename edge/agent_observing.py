"""What an agent looks at in its answers, as the settings say. Wiring."""

from __future__ import annotations

import random
from collections.abc import Sequence

from edge.adapters.answer_store import AnswerStore
from edge.backend import Tensor
from edge.input_statistics import InputStatistics, Measured
from edge.loaded import LoadedModel
from edge.observing import Observing
from edge.recorder import Recorder
from edge.remembered import Remembered
from edge.sampled_inputs import SampledInputs
from edge.sampling import Sampler, SamplingRules
from edge.serving import Serving
from edge.settings import AgentSettings


def make_observing(
    settings: AgentSettings,
    recorder: Recorder,
    remembered: Remembered,
    servings: Sequence[Serving],
    store: AnswerStore,
) -> Observing:
    """Return what takes note of the answers of `servings`; samples in `store` wait for their truth again."""
    for identity, answered in store.open():
        remembered.sampled(identity, answered)

    def model_of(release: str) -> LoadedModel | None:
        models = (serving.runtime.model for serving in servings)
        return next((model for model in models if model and model.release == release), None)

    def tensors_of(release: str) -> tuple[Tensor, ...] | None:
        model = model_of(release)
        return model.inputs if model else None

    def measured_by(release: str) -> Measured | None:
        model = model_of(release)
        if model is None or model.reference is None or model.manifest is None:
            return None
        return Measured(model.reference, model.inputs, model.manifest.preprocessing)

    telemetry, samples = settings.telemetry, settings.samples
    rules = SamplingRules(telemetry.sample_rate, samples.lowest, samples.below, samples.per_class)
    inputs = SampledInputs(tensors_of, int(samples.input_kb * 1000)) if samples.inputs else None
    sampler = Sampler(rules, random.random, int(telemetry.budget_kb * 1000), inputs)
    statistics = InputStatistics(recorder, measured_by, telemetry.input_rate, random.random)
    return Observing(recorder, sampler, remembered, statistics, store)
