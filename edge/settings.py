"""The agent's settings: one TOML file, read once, refused as a whole when a key is wrong."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from wire.errors import SettingsError
from wire.topics import Topics, check_name


@dataclass(frozen=True)
class DeviceSettings:
    #: The device's name: its MQTT client id, and its level in every topic.
    name: str
    #: Folder for models, the outbox and the pointer. One agent owns it.
    state: str = "/var/lib/edgeflock"


@dataclass(frozen=True)
class BrokerSettings:
    #: Host name or address of the MQTT broker.
    host: str = "127.0.0.1"
    #: Its port.
    port: int = 1883
    #: First level (or levels) of every topic; must be the server's.
    prefix: str = "edgeflock"


@dataclass(frozen=True)
class ModelSettings:
    #: The model that this device serves; releases are named `<model>/<version>`.
    name: str
    #: A bundle to serve until the first push. Empty: wait for a push.
    bundle: str = ""
    #: `auto`, `ai-edge-litert` or `tflite-runtime`.
    backend: str = "auto"
    #: Threads inside the interpreter. One is fastest for small models, and leaves the others to the board.
    threads: int = 1


@dataclass(frozen=True)
class SourceSettings:
    #: `none`, `npz` (rows of x_test, for ever) or `ndjson` (lines on standard input).
    kind: str = "none"
    #: The file of an npz source.
    path: str = ""
    #: Samples a second of an npz source; 0 is as fast as the model.
    rate_hz: float = 10.0


@dataclass(frozen=True)
class SinkSettings:
    #: `none` or `ndjson`.
    kind: str = "none"
    #: The file of an ndjson sink; `-` is standard output.
    path: str = "-"


@dataclass(frozen=True)
class TelemetrySettings:
    #: Seconds between two reports.
    interval_s: float = 60.0
    #: The share of predictions that is sent as samples, 0 to 1.
    sample_rate: float = 0.01


@dataclass(frozen=True)
class AgentSettings:
    """All of it. Unknown keys are refused: a misspelt setting must not pass for the default."""

    device: DeviceSettings
    model: ModelSettings
    broker: BrokerSettings = field(default_factory=BrokerSettings)
    source: SourceSettings = field(default_factory=SourceSettings)
    sink: SinkSettings = field(default_factory=SinkSettings)
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)


def load(path: Path) -> AgentSettings:
    """Read the TOML file at `path`; raise SettingsError, with the key, when it cannot be used."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not TOML: {error}") from error
    return parse(raw, str(path))


def parse(raw: Mapping[str, Any], origin: str) -> AgentSettings:
    """Turn parsed TOML into settings; `origin` names the file in errors."""
    settings: AgentSettings = _build(AgentSettings, raw, origin, "")
    _check(settings, origin)
    return settings


def _build(kind: Any, raw: Any, origin: str, at: str) -> Any:
    if not isinstance(raw, Mapping):
        raise SettingsError(f"{origin}: {at.rstrip('.')} must be a table")
    known = {f.name: f for f in fields(kind)}
    hints = get_type_hints(kind)
    for key in raw.keys() - known.keys():
        close = difflib.get_close_matches(key, known, 1)
        hint = f"did you mean {close[0]!r}?" if close else f"known here: {', '.join(known)}"
        raise SettingsError(f"{origin}: unknown key {at}{key}; {hint}")
    given = {}
    for name, spec in known.items():
        if name in raw:
            given[name] = _value(hints[name], raw[name], origin, f"{at}{name}")
        elif spec.default is MISSING and spec.default_factory is MISSING:
            if not is_dataclass(hints[name]):
                raise SettingsError(f"{origin}: {at}{name} is missing")
            given[name] = _build(hints[name], {}, origin, f"{name}.")
    return kind(**given)


def _value(kind: Any, value: Any, origin: str, at: str) -> Any:
    if is_dataclass(kind):
        return _build(kind, value, origin, f"{at}.")
    accepted = (int, float) if kind is float else (kind,)
    if isinstance(value, bool) or not isinstance(value, accepted):
        words = {str: "text", int: "a whole number", float: "a number"}
        raise SettingsError(f"{origin}: {at} must be {words[kind]}, not {value!r}")
    return kind(value)


def _check(settings: AgentSettings, origin: str) -> None:
    try:
        check_name("device.name", settings.device.name)
        check_name("model.name", settings.model.name)
        Topics(settings.broker.prefix)
    except SettingsError as error:
        raise SettingsError(f"{origin}: {error}") from error
    rules = {
        "broker.port must be 1 to 65535": 0 < settings.broker.port < 65536,
        "model.threads must be 1 to 64": 0 < settings.model.threads <= 64,
        "source.kind must be none, npz or ndjson": settings.source.kind in ("none", "npz", "ndjson"),
        "source.path is needed for an npz source": settings.source.kind != "npz" or settings.source.path,
        "source.rate_hz must not be negative": settings.source.rate_hz >= 0,
        "sink.kind must be none or ndjson": settings.sink.kind in ("none", "ndjson"),
        "telemetry.interval_s must be at least 0.1": settings.telemetry.interval_s >= 0.1,
        "telemetry.sample_rate must be 0 to 1": 0 <= settings.telemetry.sample_rate <= 1,
    }
    for rule, holds in rules.items():
        if not holds:
            raise SettingsError(f"{origin}: {rule}")
