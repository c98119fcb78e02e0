"""The agent's settings, each with what it means: read by edge/settings_file.py, kept to their rules by
edge/settings_rules.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

#: With 64 groups (wire/messages.py), and the software's plans besides, fewer plans than the 1,020 retained
#: messages of which a broker may drop the rest in silence (wire/window.py); the reported state of so many
#: fits one message.
MOST_MODELS: Final = 14


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
