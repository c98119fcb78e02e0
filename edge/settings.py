"""The agent's settings: one TOML file, read once, refused as a whole when a key is wrong."""

from __future__ import annotations

import difflib
import itertools
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Final, get_args, get_origin, get_type_hints

from edge.backend import ISOLATIONS
from edge.online.streams import SINKS, SOURCES
from edge.swapping import SwapPolicy
from wire.board_name import has_serial, no_serial, with_serial
from wire.errors import SettingsError
from wire.topics import Topics, check_name

#: With 64 groups (wire/messages.py) fewer plans than the 1,020 retained messages of which a broker may drop
#: the rest in silence (wire/window.py); the reported state of so many fits one message.
MOST_MODELS: Final = 15


@dataclass(frozen=True)
class DeviceSettings:
    #: The device's name: its MQTT client id, and its level in every topic. `{serial}` in it becomes the
    #: board's own serial number.
    name: str
    #: Folder for models, the outbox and the pointer. One agent owns it.
    state: str = "/var/lib/edgeflock"
    #: All answers of this device are counted under these, such as `site=lab`.
    tags: tuple[str, ...] = ()


@dataclass(frozen=True)
class BrokerSettings:
    #: Host name or address of the MQTT broker.
    host: str = "127.0.0.1"
    #: Its port.
    port: int = 1883
    #: First level (or levels) of every topic; must be the server's.
    prefix: str = "edgeflock"
    #: TLS: the CA of the broker (PEM). Empty: no TLS. Relative paths here are beside the settings file.
    ca: str = ""
    #: The device's certificate (PEM), with its key in the same file or in `key`. Empty: `identity.pem` in
    #: the state folder, if it is there. What the agent renews, it writes here, key and certificate together.
    certificate: str = ""
    #: The key of a certificate that was made by hand (PEM).
    key: str = ""
    #: The file with a claim token: without a certificate yet, the agent has one made at its start.
    claim: str = ""
    #: The broker's port for claims.
    claim_port: int = 8884


@dataclass(frozen=True)
class TrustSettings:
    #: The fleet's `root.json`, from `edgeflock fleet init`; a relative path begins at the settings file.
    root: str = ""
    #: Believe whatever is well formed, without signatures: for a network that you trust.
    unsigned: bool = False


@dataclass(frozen=True)
class ModelSettings:
    #: A model that this device serves; releases are named `<model>/<version>`.
    name: str
    #: A bundle to serve until the first push. Empty: wait for a push.
    bundle: str = ""
    #: `auto`, `ai-edge-litert` or `tflite-runtime`.
    backend: str = "auto"
    #: Threads inside the interpreter. One is fastest for small models, and leaves the others to the board.
    threads: int = 1
    #: Interpreters that answer side by side; only HTTP callers gain. 0: one for each core.
    pool: int = 1
    #: `thread`, or `process`: the model runs in a process of its own, whose crash costs one answer.
    isolation: str = "thread"
    #: `availability` (load the next model first), `memory` (unload this one first) or `auto`.
    swap: str = "auto"
    #: The share of live inputs on which a pushed model runs beside the serving one before it may serve.
    shadow_share: float = 0.0
    #: How many such pairs are wanted; their outcomes are reported.
    shadow_pairs: int = 200
    #: A pushed model of which one call in a hundred takes longer in its trial is refused; 0: none is.
    p99_limit_ms: float = 0.0
    #: A pushed model whose median answer takes so many times longer than that before it goes back; 0: none.
    slower_limit: float = 5.0


@dataclass(frozen=True)
class SourceSettings:
    #: `none`, `npz`, `ndjson`, `mqtt`, `folder`, `camera`, `wav` or `microphone`.
    kind: str = "none"
    #: The file of npz, ndjson (`-` or nothing: standard input) and wav; the folder; the camera or microphone.
    path: str = ""
    #: The topic of an mqtt source, wildcards allowed; the broker is the agent's.
    topic: str = ""
    #: Samples a second of an npz source, and most frames a second of a camera; 0 is as fast as the model.
    rate_hz: float = 10.0
    #: Whether an npz source begins anew at its end.
    repeat: bool = True
    #: Length of a window of sound; 0 takes the model's.
    window_s: float = 0.0
    #: From the start of one window to the next; 0 is half a window.
    hop_s: float = 0.0
    #: Samples of sound a second, where the model does not declare it.
    audio_hz: int = 16_000
    #: How many messages or windows of a live source wait for the model before the oldest is dropped.
    queue: int = 16
    #: The model that answers its samples. Empty: the first one.
    model: str = ""


@dataclass(frozen=True)
class SinkSettings:
    #: `none`, `ndjson`, `mqtt`, `sqlite`, `csv`, `parquet` or `webhook`.
    kind: str = "none"
    #: The file of ndjson (`-` is standard output), sqlite and csv; the folder of parquet.
    path: str = "-"
    #: The topic of an mqtt sink; the broker is the agent's.
    topic: str = ""
    #: Where a webhook posts to.
    url: str = ""
    #: Seconds after which a Parquet file is closed and the next one begun.
    rotate_s: float = 60.0


@dataclass(frozen=True)
class HttpSettings:
    #: Serve the model over HTTP on this port as well; 0 does not.
    port: int = 0
    #: Address to listen on. One that others can reach needs `token_file`, and TLS or `plain_http`.
    host: str = "127.0.0.1"
    #: A Unix socket to serve on, besides or instead.
    unix: str = ""
    #: The file whose content a client must send as Bearer token.
    token_file: str = ""
    #: TLS: the certificate chain (PEM).
    certificate: str = ""
    #: TLS: its private key (PEM).
    key: str = ""
    #: Let others connect without TLS, token in the clear.
    plain_http: bool = False
    #: Requests inside at a time; further ones are answered 429.
    max_in_flight: int = 64
    #: Rows of one request.
    max_rows: int = 64
    #: Megabytes of one body; longer ones are answered 413.
    max_body_mb: float = 16.0
    #: Megabytes of memory that all requests together may need; further ones are answered 503.
    max_held_mb: float = 128.0
    #: Open connections; further ones are closed at once.
    max_connections: int = 900
    #: Seconds from a request's headers to its answer, then 408 or 504.
    timeout_s: float = 10.0
    #: Answer up to so many requests as one batch; 0 and 1 do not.
    batch_rows: int = 0
    #: Milliseconds that the first one of a batch waits for others.
    batch_wait_ms: float = 1.0


@dataclass(frozen=True)
class TelemetrySettings:
    #: Seconds between two reports.
    interval_s: float = 60.0
    #: The share of predictions that is sent as samples, 0 to 1.
    sample_rate: float = 0.01
    #: What a report and the samples of its interval may take, in kilobytes; samples are thinned for it.
    budget_kb: float = 32.0
    #: The share of inputs that is counted by feature, where the bundle has a reference for them.
    input_rate: float = 0.05
    #: Seconds from one run of the golden set to the next; 0 does not run it but when something is suspicious.
    golden_every_s: float = 21_600.0


@dataclass(frozen=True)
class SamplesSettings:
    #: Samples of an interval besides the uniform share: those with the least margin.
    lowest: int = 0
    #: Of these, only answers with a confidence below this.
    below: float = 1.0
    #: Samples of each class in an interval.
    per_class: int = 0
    #: Send the inputs of samples too: raw tensors, readable to whoever reads the broker.
    inputs: bool = False
    #: A larger input is not sent, in kilobytes.
    input_kb: float = 16.0


@dataclass(frozen=True)
class AgentSettings:
    """All of it. Unknown keys are refused: a misspelt setting must not pass for the default."""

    device: DeviceSettings
    #: One `[model]`, or up to MOST_MODELS `[[model]]` with names of their own.
    model: tuple[ModelSettings, ...]
    broker: BrokerSettings = field(default_factory=BrokerSettings)
    trust: TrustSettings = field(default_factory=TrustSettings)
    source: SourceSettings = field(default_factory=SourceSettings)
    #: One `[sink]`, or any number of `[[sink]]`.
    sink: tuple[SinkSettings, ...] = ()
    http: HttpSettings = field(default_factory=HttpSettings)
    telemetry: TelemetrySettings = field(default_factory=TelemetrySettings)
    samples: SamplesSettings = field(default_factory=SamplesSettings)

    @property
    def fed(self) -> str:
        """The model that answers the source."""
        return self.source.model or self.model[0].name


def load(path: Path, read_serial: Callable[[], str] = no_serial) -> AgentSettings:
    """Read the TOML file at `path`; raise SettingsError, with the key, when it cannot be used.

    `read_serial` gives the board's serial number, and is asked only where the device is named by it.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not TOML: {error}") from error
    settings = parse(_named(raw, read_serial), str(path))
    trust = settings.trust
    if trust.root:
        trust = replace(trust, root=str(path.parent / trust.root))
    return replace(settings, trust=trust, broker=_beside(settings.broker, path.parent))


def _named(raw: Mapping[str, Any], read_serial: Callable[[], str]) -> Mapping[str, Any]:
    """Return `raw` with the board's serial number in the device's name, where that asks for it."""
    device = raw.get("device")
    if not isinstance(device, dict):
        return raw
    name = device.get("name")
    if not isinstance(name, str) or not has_serial(name):
        return raw
    return {**raw, "device": {**device, "name": with_serial(name, read_serial())}}


def _beside(broker: BrokerSettings, folder: Path) -> BrokerSettings:
    """Return `broker` with its relative paths below `folder`: systemd hands files on in one of its own."""

    def place(path: str) -> str:
        return str(folder / path) if path else ""

    return replace(
        broker,
        ca=place(broker.ca),
        certificate=place(broker.certificate),
        key=place(broker.key),
        claim=place(broker.claim),
    )


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
            if not is_dataclass(hints[name]) and get_origin(hints[name]) is not tuple:
                raise SettingsError(f"{origin}: {at}{name} is missing")
            given[name] = _value(hints[name], {}, origin, name)  # which names what it lacks
    return kind(**given)


def _value(kind: Any, value: Any, origin: str, at: str) -> Any:
    if is_dataclass(kind):
        return _build(kind, value, origin, f"{at}.")
    if kind == tuple[str, ...]:
        listed = value if isinstance(value, list) else [value]
        return tuple(_value(str, one, origin, at) for one in listed)
    if get_origin(kind) is tuple:  # of tables
        several = value if isinstance(value, list) else [value]
        return tuple(_build(get_args(kind)[0], one, origin, f"{at}.") for one in several)
    accepted = (int, float) if kind is float else (kind,)
    if isinstance(value, bool) != (kind is bool) or not isinstance(value, accepted):
        words = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
        raise SettingsError(f"{origin}: {at} must be {words[kind]}, not {value!r}")
    return kind(value)


def _check(settings: AgentSettings, origin: str) -> None:
    try:
        check_name("device.name", settings.device.name)
        for model in settings.model:
            check_name("model.name", model.name)
        Topics(settings.broker.prefix)
    except SettingsError as error:
        raise SettingsError(f"{origin}: {error}") from error
    rules = {
        "broker.port must be 1 to 65535": 0 < settings.broker.port < 65536,
        **_tls_rules(settings),
        "trust.unsigned goes without trust.root": not (settings.trust.unsigned and settings.trust.root),
        **_models_rules(settings),
        **http_rules(settings.http),
        **source_rules(settings.source),
        **telemetry_rules(settings.telemetry, settings.samples),
        "device.tags are at most 8 of 1 to 64 characters": (
            len(settings.device.tags) <= 8
            and all(0 < len(tag) <= 64 and tag.isprintable() for tag in settings.device.tags)
        ),
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


def telemetry_rules(telemetry: TelemetrySettings, samples: SamplesSettings) -> dict[str, bool]:
    """Return what must hold of reports and samples, each rule with whether it does."""
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


def http_rules(http: HttpSettings) -> dict[str, bool]:
    """Return what must hold of the HTTP side, each rule with whether it does."""
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
