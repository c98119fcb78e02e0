"""What Home Assistant is told of a device over MQTT: how to show it, and how it is. Pure.

The format is Home Assistant's device discovery (home-assistant.io/integrations/mqtt, "Device discovery
payload", since 2024.11): one retained message with an entry for each entity (`cmps`), beside what is common.

Rules:
- a value template names a model, and Home Assistant runs it: a model whose name is none of ours is left out;
- what is not known is null, which Home Assistant shows as unknown; figures of a device that is away are
  unavailable, and all of them when the server has said nothing for `_EXPIRE_S`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from fleet.findings import FleetFacts
from fleet.health_rules import HealthFacts, Verdict
from fleet.home_topics import Home
from fleet.quality import latency
from fleet.statistics import wilson
from wire.codec import encode
from wire.software import SOFTWARE
from wire.topics import NAME

#: A hub draws each of them; past this a fleet needs a page of its own.
MAX_DEVICES: Final = 200
#: Models of one device that are told of: a message is at most 66 KiB.
MAX_MODELS: Final = 8

#: A state is said again at least so often, so that its age tells whether a server is there.
_AGAIN_S: Final = 300
_EXPIRE_S: Final = 3 * _AGAIN_S
_MAX_TEXT: Final = 500

Json = dict[str, Any]


@dataclass(frozen=True)
class ModelNow:
    """One model: the release that serves; accuracy of 24 h by labels; p99 of the last one to two hours."""

    model: str
    release: str | None
    accuracy: float | None = None
    interval: tuple[float, float] | None = None
    labelled: int = 0
    p99_us: float | None = None


@dataclass(frozen=True)
class DeviceNow:
    """One device. `rate_hz` is answers a second of all models in its last report."""

    device: str
    verdict: Verdict
    online: bool
    rate_hz: float | None
    temperature_c: float | None
    models: tuple[ModelNow, ...] = ()


def devices_now(facts: FleetFacts) -> list[DeviceNow]:
    """Return what is told of each device that one look saw, by name."""
    return [_device(health, facts) for health in facts.health]


def config(home: Home, now: DeviceNow, gone: Iterable[str] = ()) -> bytes:
    """Return the discovery message of a device; entities in `gone` (`sensor/p99-digits`) are taken away."""
    own = home.device_id(now.device)
    entities = {name: entity | {"unique_id": f"{own}_{name}"} for name, entity in _entities(home, now)}
    for place in gone:
        platform, _, name = place.partition("/")
        entities[name] = {"platform": platform}
    return encode(
        {
            "device": {"identifiers": [own], "name": now.device, "manufacturer": "Edgeflock"},
            "origin": {"name": "edgeflock"},
            "state_topic": home.state_topic(now.device),
            "components": entities,
        }
    )


def places(home: Home, now: DeviceNow) -> frozenset[str]:
    """Return a device's entities as `platform/name`."""
    return frozenset(f"{entity['platform']}/{name}" for name, entity in _entities(home, now))


def state(now: DeviceNow, at_s: float) -> bytes:
    """Return the state message of a device at Unix time `at_s`."""
    reasons = "; ".join(reason.text for reason in now.verdict.reasons)
    return encode(
        {
            "online": now.online,
            "problem": now.verdict.state != "healthy",
            "health": now.verdict.state,
            "reasons": reasons[:_MAX_TEXT],
            "rate_hz": _rounded(now.rate_hz, 2),
            "temperature_c": _rounded(now.temperature_c, 1),
            "models": {model.model: _model_state(model) for model in now.models},
            "at_s": int(at_s // _AGAIN_S * _AGAIN_S),
        }
    )


def _entities(home: Home, now: DeviceNow) -> Iterator[tuple[str, Json]]:
    topic = home.state_topic(now.device)
    yield (
        "online",
        _entity("binary_sensor", "Connection", "'ON' if value_json.online else 'OFF'")
        | {"device_class": "connectivity", "entity_category": "diagnostic"},
    )
    yield (
        "problem",
        _entity("binary_sensor", "Health", "'ON' if value_json.problem else 'OFF'")
        | {"device_class": "problem"}
        | _attributes(topic, "{'health': value_json.health, 'reasons': value_json.reasons}"),
    )
    yield "rate", _figure(topic, "Inferences", "value_json.rate_hz", "1/s")
    yield (
        "temperature",
        _figure(topic, "Temperature", "value_json.temperature_c", "°C") | {"device_class": "temperature"},
    )
    for model in now.models:
        value = f"value_json.models['{model.model}']"
        yield f"release-{model.model}", _entity("sensor", f"{model.model} release", f"{value}.release")
        yield (
            f"accuracy-{model.model}",
            _figure(topic, f"{model.model} accuracy, 24 h", f"{value}.accuracy", "%")
            | _attributes(
                topic, f"{{'low': {value}.low, 'high': {value}.high, 'labelled': {value}.labelled}}"
            ),
        )
        yield f"p99-{model.model}", _figure(topic, f"{model.model} p99 latency", f"{value}.p99_ms", "ms")


def _entity(platform: str, name: str, value: str) -> Json:
    return {
        "platform": platform,
        "name": name,
        "value_template": f"{{{{ {value} }}}}",
        "expire_after": _EXPIRE_S,
    }


def _figure(topic: str, name: str, value: str, unit: str) -> Json:
    return _entity("sensor", name, value) | {
        "unit_of_measurement": unit,
        "state_class": "measurement",
        "availability_topic": topic,
        "availability_template": "{{ 'online' if value_json.online else 'offline' }}",
    }


def _attributes(topic: str, value: str) -> Json:
    return {"json_attributes_topic": topic, "json_attributes_template": f"{{{{ {value} | tojson }}}}"}


def _model_state(model: ModelNow) -> Json:
    low, high = model.interval or (None, None)
    return {
        "release": model.release,
        "accuracy": _percent(model.accuracy),
        "low": _percent(low),
        "high": _percent(high),
        "labelled": model.labelled,
        "p99_ms": _rounded(None if model.p99_us is None else model.p99_us / 1000, 3),
    }


def _device(health: HealthFacts, facts: FleetFacts) -> DeviceNow:
    said = health.reported.models if health.reported else ()
    named = [model for model in said if model.model != SOFTWARE and NAME.fullmatch(model.model)]
    return DeviceNow(
        device=health.device,
        verdict=facts.devices[health.device],
        online=health.online,
        rate_hz=_rate_hz(health),
        temperature_c=health.vitals.temperature_c if health.vitals else None,
        models=tuple(_model(health.device, m.model, m.current, facts) for m in named[:MAX_MODELS]),
    )


def _rate_hz(health: HealthFacts) -> float | None:
    said = health.telemetry
    if said is None or said.interval_s <= 0:
        return None
    return sum(counters.inferences for counters in said.models) / said.interval_s


def _model(device: str, model: str, release: str | None, facts: FleetFacts) -> ModelNow:
    found = next((r for r in facts.releases if r.release == release), None)
    day, recent = (found.window.get(device), found.recent.get(device)) if found else (None, None)
    labelled = day.labelled if day else 0
    _, p99_us = latency([recent.latency_us]) if recent else (None, None)
    return ModelNow(
        model=model,
        release=release,
        accuracy=day.correct / labelled if day and labelled else None,
        interval=wilson(day.correct, labelled) if day and labelled else None,
        labelled=labelled,
        p99_us=p99_us,
    )


def _percent(share: float | None) -> float | None:
    return _rounded(None if share is None else 100 * share, 1)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, digits)
