"""What must hold of settings, whether they come from a file or from the command line."""

from __future__ import annotations

import itertools

from edge.backend import ISOLATIONS
from edge.online.streams import SINKS, SOURCES
from edge.settings import (
    MOST_MODELS,
    AgentSettings,
    HttpSettings,
    ModelSettings,
    SamplesSettings,
    SinkSettings,
    SourceSettings,
    TelemetrySettings,
)
from edge.swapping import SwapPolicy
from edge.tags import checked_tags
from wire.errors import SettingsError
from wire.software import SOFTWARE
from wire.topics import Topics, check_name


def check(settings: AgentSettings, origin: str) -> None:
    """Raise SettingsError, with the first rule that does not hold; `origin` names the file."""
    try:
        check_name("device.name", settings.device.name)
        for model in settings.model:
            check_name("model.name", model.name)
        Topics(settings.broker.prefix)
    except SettingsError as error:
        raise SettingsError(f"{origin}: {error}") from error
    try:
        checked_tags(settings.device.tags)
    except ValueError as error:
        raise SettingsError(f"{origin}: device.tags: {error}") from error
    rules = {
        "broker.port must be 1 to 65535": 0 < settings.broker.port < 65536,
        **_tls_rules(settings),
        "trust.unsigned goes without trust.root": not (settings.trust.unsigned and settings.trust.root),
        **_models_rules(settings),
        **_http_rules(settings.http),
        **source_rules(settings.source),
        **_telemetry_rules(settings.telemetry, settings.samples),
    }
    several = [sink_rules(sink) for sink in settings.sink]
    twice = "a sink is there twice", len(set(settings.sink)) == len(settings.sink)
    for rule, holds in itertools.chain(rules.items(), *(one.items() for one in several), [twice]):
        if not holds:
            raise SettingsError(f"{origin}: {rule}")


def _models_rules(settings: AgentSettings) -> dict[str, bool]:
    """Return what must hold of the models, alone and together."""
    names = [model.name for model in settings.model]
    rules = {
        f"there must be 1 to {MOST_MODELS} models, not {len(names)}": 0 < len(names) <= MOST_MODELS,
        f"no model can be named {SOFTWARE}: so the agent's own software is": SOFTWARE not in names,
        "a model is there twice: give each [[model]] a name of its own": len(set(names)) == len(names),
        f"source.model must be one of {', '.join(names)}": settings.source.model in ("", *names),
    }
    for model in settings.model:
        whose = f" (model {model.name})" if len(names) > 1 else ""
        rules |= {f"{rule}{whose}": holds for rule, holds in _model_rules(model).items()}
    return rules


def _model_rules(model: ModelSettings) -> dict[str, bool]:
    return {
        "model.threads must be 1 to 64": 0 < model.threads <= 64,
        "model.pool must be 0 to 64": 0 <= model.pool <= 64,
        f"model.isolation must be {' or '.join(ISOLATIONS)}": model.isolation in ISOLATIONS,
        f"model.swap must be one of {', '.join(SwapPolicy)}": model.swap in set(SwapPolicy),
        "model.shadow_share must be 0 to 1": 0 <= model.shadow_share <= 1,
        "model.p99_limit_ms must be 0 or more": model.p99_limit_ms >= 0,
        "model.shadow_pairs must be 1 to 1000000": 1 <= model.shadow_pairs <= 1_000_000,
        "model.slower_limit must be 0, or at least 1.5": model.slower_limit == 0 or model.slower_limit >= 1.5,
    }


def _telemetry_rules(telemetry: TelemetrySettings, samples: SamplesSettings) -> dict[str, bool]:
    return {
        # Under load it is four times as long, and a server believes no report of more than a week.
        "telemetry.interval_s must be 0.1 to 86400": 0.1 <= telemetry.interval_s <= 86_400,
        "telemetry.sample_rate must be 0 to 1": 0 <= telemetry.sample_rate <= 1,
        "telemetry.input_rate must be 0 to 1": 0 <= telemetry.input_rate <= 1,
        "telemetry.budget_kb must be 4 to 1000": 4 <= telemetry.budget_kb <= 1000,
        "telemetry.golden_every_s must be 0, or at least 1": (
            telemetry.golden_every_s == 0 or telemetry.golden_every_s >= 1
        ),
        "samples.lowest and samples.per_class must be 0 to 1000": (
            0 <= samples.lowest <= 1000 and 0 <= samples.per_class <= 1000
        ),
        "samples.below must be more than 0": samples.below > 0,
        "samples.input_kb must be more than 0 and at most 32: a message holds no more": (
            0 < samples.input_kb <= 32
        ),
        # As text an input takes a third more, counters come first, and what does not fit is not sent.
        "samples.inputs needs a telemetry.budget_kb of at least twice samples.input_kb": (
            not samples.inputs or telemetry.budget_kb >= 2 * samples.input_kb
        ),
    }


def _http_rules(http: HttpSettings) -> dict[str, bool]:
    limits = (
        http.max_in_flight, http.max_rows, http.max_body_mb, http.max_held_mb, http.max_connections,
        http.timeout_s,
    )  # fmt: skip
    batching = (http.batch_rows, http.batch_wait_ms)
    return {
        "http.port must be 0 to 65535": 0 <= http.port < 65536,
        "the limits of http must be more than 0 and at most 1000000": all(0 < n <= 1_000_000 for n in limits),
        "http.batch_rows and http.batch_wait_ms must be 0 to 1000000": all(
            0 <= n <= 1_000_000 for n in batching
        ),
    }


def _tls_rules(settings: AgentSettings) -> dict[str, bool]:
    broker = settings.broker
    mqtt = "mqtt" in (settings.source.kind, *(sink.kind for sink in settings.sink))
    return {
        "broker.claim_port must be 1 to 65535": 0 < broker.claim_port < 65536,
        "broker.certificate and broker.claim need broker.ca": bool(broker.ca)
        or not (broker.certificate or broker.claim),
        "broker.key needs broker.certificate": bool(broker.certificate) or not broker.key,
        # One certificate is one client id: a second connection would end the first, for ever in turn.
        "an mqtt source or sink cannot share a broker that knows devices by certificates (broker.ca)": (
            not broker.ca or not mqtt
        ),
    }


def source_rules(source: SourceSettings) -> dict[str, bool]:
    """Return what must hold of a source, each rule with whether it does."""
    kinds = ", ".join(SOURCES)
    needs_path = source.kind in ("npz", "wav", "folder")
    return {
        f"source.kind must be none or one of {kinds}": source.kind in ("none", *SOURCES),
        f"source.path is needed for a source of kind {source.kind}": not needs_path or bool(source.path),
        "source.topic is needed for an mqtt source": source.kind != "mqtt" or bool(source.topic),
        "source.rate_hz must not be negative": source.rate_hz >= 0,
        "source.window_s and source.hop_s must not be negative": source.window_s >= 0 and source.hop_s >= 0,
        "source.audio_hz must be 1000 to 384000": 1000 <= source.audio_hz <= 384_000,
        "source.queue must be 1 to 100000": 1 <= source.queue <= 100_000,
    }


def sink_rules(sink: SinkSettings) -> dict[str, bool]:
    """Return what must hold of a sink, each rule with whether it does."""
    kinds = ", ".join(SINKS)
    needs_path = sink.kind in ("sqlite", "csv", "parquet")
    return {
        f"sink.kind must be none or one of {kinds}": sink.kind in ("none", *SINKS),
        f"sink.path is needed for a sink of kind {sink.kind}": not needs_path or sink.path not in ("", "-"),
        "sink.topic is needed for an mqtt sink": sink.kind != "mqtt" or bool(sink.topic),
        "sink.topic must not hold + or #": not {"+", "#"} & set(sink.topic),
        "sink.url must begin with http:// or https://": (
            sink.kind != "webhook" or sink.url.startswith(("http://", "https://"))
        ),
        "sink.rotate_s must be at least 1": sink.rotate_s >= 1,
    }
