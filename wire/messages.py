"""Every message of the protocol, as a frozen dataclass.

Rules:
- each message carries its version `v`; fields are only ever added, with a default;
- what a device says carries a `Head`: (boot, sequence) makes it unique for ever, and `first` tells
  the server which earlier ones it need not wait for (the outbox had to drop them);
- units are in the names; a field that may be unknown is `None`, never 0 or "";
- what a device acts upon checks itself when it is made (ValueError): a digest becomes a file's name
  and a group a subscription, so neither may be anything else.

Messages from the server that change what a device runs (`Plan`, `Desired`) travel inside an
`Envelope`; `edge/trust.py` is the one place that opens it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from wire.counters import ModelCounters
from wire.manifest import Manifest
from wire.topics import NAME, SHA256

#: Largest payload we send: 64 KiB and a small header, so that AWS IoT (128 KB) and EMQX take it as it is.
MAX_PAYLOAD_BYTES: Final = 66 * 1024

#: A blob's chunk digests fit one chunk (wire/blob.py).
MAX_BLOB_BYTES: Final = 128 * 1024 * 1024

#: What a bundle may grow to on a device; far above what a board of this class can run.
MAX_BUNDLE_BYTES: Final = 1024 * 1024 * 1024

PLAN_STATES: Final = ("run", "pause", "abort")

#: How a blob becomes a bundle: by xz, or by what wire/delta.py makes of it and of another bundle.
WHOLE: Final = "xz"
DELTA: Final = "delta-xz"

#: Groups of one device: it subscribes to a plan of each, for each of its models.
MAX_GROUPS: Final = 64

#: The durable streams of a device, in the order in which their outbox is sent.
STREAMS: Final = ("event", "telemetry", "samples")


# --- device to server ------------------------------------------------------------------------


@dataclass(frozen=True)
class Head:
    """Where a durable message stands.

    `boot` is new at every start of the agent, `sequence` counts from 1 in it for each stream,
    and `first` is the oldest sequence of that boot and stream that the device still holds.
    """

    boot: str
    sequence: int
    first: int
    time_s: float

    def __post_init__(self) -> None:
        _check_name(self.boot)


@dataclass(frozen=True)
class Online:
    """Birth and will, both retained on one topic; a will of an older boot says nothing about this one."""

    boot: str
    online: bool
    software: str = ""
    v: int = 1

    def __post_init__(self) -> None:
        _check_name(self.boot)


@dataclass(frozen=True)
class ModelState:
    """What one model on a device is doing; versions are release names such as `digits/2`.

    Chunks are those of the download that runs; `repeated_chunks` had to be asked for again, because they
    did not come or came damaged.
    """

    model: str
    state: str
    current: str | None = None
    previous: str | None = None
    target: str | None = None
    done_chunks: int = 0
    total_chunks: int = 0
    fetched_chunks: int = 0
    error: str | None = None
    attempt: int = 0
    repeated_chunks: int = 0


@dataclass(frozen=True)
class Reported:
    """The device's own state, retained: the last word wins.

    The versions are those of the metadata that it verified last; `clock` is where its time comes from:
    `system`, `signed` (the newest timestamp), `saved` or `built`. `board` is what the firmware calls the
    board, and `machine` its userland (`aarch64`, `armv7l`, `x86_64`): what latencies are compared by.
    """

    boot: str
    sequence: int
    time_s: float
    models: tuple[ModelState, ...]
    groups: tuple[str, ...] = ()
    free_bytes: int | None = None
    targets_version: int | None = None
    root_version: int | None = None
    timestamp_version: int | None = None
    clock: str | None = None
    board: str | None = None
    machine: str | None = None
    v: int = 1

    def __post_init__(self) -> None:
        _check_name(self.boot)


@dataclass(frozen=True)
class Event:
    """One transition of a model's state machine: a line of the audit log."""

    model: str
    before: str
    after: str
    cause: str
    release: str | None = None
    detail: str | None = None


@dataclass(frozen=True)
class Vitals:
    """Resource use; percentages are of one core for the process, of all for the system.

    What a board does not tell is None. Byte counts of the network are since the board's start, those of
    the disk since its file system was made. `throttled` is the firmware's register of a Raspberry Pi:
    bits 0 to 3 are under-voltage, capped clock, throttling and the soft limit of temperature now, bits 16
    to 19 the same since its start. `undervoltages` counts the times that under-voltage began since the
    agent's start, `throttled_s` is how long the clock was below its highest while it was asked for, in
    this interval.
    """

    cpu_percent: float
    process_cpu_percent: float
    rss_bytes: int
    memory_available_bytes: int
    disk_free_bytes: int
    temperature_c: float | None = None
    swap_used_bytes: int | None = None
    network_sent_bytes: int | None = None
    network_received_bytes: int | None = None
    disk_written_bytes: int | None = None
    filesystem_errors: int | None = None
    throttled: int | None = None
    undervoltages: int | None = None
    throttled_s: float | None = None
    clock_mhz: float | None = None
    uptime_s: float | None = None


@dataclass(frozen=True)
class Loss:
    """What was lost since boot, by cause. All zero on a healthy device.

    `stuck_outputs` counts models that gave one answer to everything and failed their self-test.
    `samples_thinned` were picked and had no room; `truths_unknown` named no answer that waits (too old, known
    already, or another device's), `truths_unfit` a class that the model does not have. `samples_unsaved` were
    sent, and a disk that failed did not take them: a label counts until the next restart only.
    """

    results_dropped: int = 0
    outbox_dropped: int = 0
    bad_messages: int = 0
    inputs_refused: int = 0
    stuck_outputs: int = 0
    samples_thinned: int = 0
    truths_unknown: int = 0
    truths_unfit: int = 0
    samples_unsaved: int = 0


@dataclass(frozen=True)
class Telemetry:
    """One report: counters of the interval, resource use at its end, and the most that waited for a model."""

    interval_s: float
    models: tuple[ModelCounters, ...]
    vitals: Vitals
    loss: Loss
    final: bool = False
    queue_depth: int = 0


@dataclass(frozen=True)
class Samples:
    """Sampled predictions of one release as columns; `truth` is None where no label is known yet,
    `confidence` where the model gave no finite one.

    The other columns may be empty. `policies` says why each was taken: `uniform` (at `rate`; only these say
    how a share of all is), `low-confidence` or `class`. `outputs` are the largest values of the first
    output, the best first; `slices` are tags such as `site=lab`; `inputs` are base64 of the raw tensors,
    sent only where the settings say so.
    """

    release: str
    rate: float
    ids: tuple[str, ...]
    predicted: tuple[int, ...]
    confidence: tuple[float | None, ...]
    truth: tuple[int | None, ...]
    times_s: tuple[float, ...] = ()
    policies: tuple[str, ...] = ()
    outputs: tuple[tuple[float, ...], ...] = ()
    slices: tuple[tuple[str, ...], ...] = ()
    inputs: tuple[str | None, ...] = ()

    def __post_init__(self) -> None:
        if len({len(self.ids), len(self.predicted), len(self.confidence), len(self.truth)}) != 1:
            raise ValueError("columns of unequal length")
        extra = (self.times_s, self.policies, self.outputs, self.slices, self.inputs)
        if {len(column) for column in extra} - {0, len(self.ids)}:
            raise ValueError("columns of unequal length")


@dataclass(frozen=True)
class EventReport:
    head: Head
    body: Event
    v: int = 1


@dataclass(frozen=True)
class TelemetryReport:
    head: Head
    body: Telemetry
    v: int = 1


@dataclass(frozen=True)
class SamplesReport:
    head: Head
    body: Samples
    v: int = 1


# --- server to device ------------------------------------------------------------------------


@dataclass(frozen=True)
class Signature:
    """One signature of an envelope, base64, by the key with id `keyid`."""

    keyid: str
    sig: str


@dataclass(frozen=True)
class Envelope:
    """The JSON form of a DSSE envelope (secure-systems-lab/dsse, envelope.md): `payload` is base64."""

    payloadType: str  # noqa: N815  # the name is DSSE's
    payload: str
    signatures: tuple[Signature, ...] = ()


@dataclass(frozen=True)
class Blob:
    """A compressed bundle, or a delta, as it travels.

    `chunks_sha256` names the list of its chunk digests (32 raw bytes each), itself a one-chunk blob.
    `base_sha256` is the digest of the bundle that a delta starts from.
    """

    sha256: str
    size_bytes: int
    chunks_sha256: str
    encoding: str = WHOLE
    base_sha256: str | None = None

    def __post_init__(self) -> None:
        _check_digest(self.sha256)
        _check_digest(self.chunks_sha256)
        if self.base_sha256 is not None:
            _check_digest(self.base_sha256)
        _check(0 < self.size_bytes <= MAX_BLOB_BYTES, f"a blob of {self.size_bytes} bytes")


@dataclass(frozen=True)
class Release:
    """One released bundle: what `meta/targets.json` says of it. The first blob is the whole bundle: a
    device from before there were others takes that."""

    name: str
    bundle_sha256: str
    bundle_bytes: int
    blobs: tuple[Blob, ...]
    manifest: Manifest

    def __post_init__(self) -> None:
        _check_digest(self.bundle_sha256)
        _check(0 < self.bundle_bytes <= MAX_BUNDLE_BYTES, f"a bundle of {self.bundle_bytes} bytes")
        _check(bool(self.blobs), "a release without a blob")
        _check(self.blobs[0].base_sha256 is None, "a release whose first blob is no whole bundle")
        _check_name(self.manifest.model)
        _check_name(self.manifest.version)
        own_name = f"{self.manifest.model}/{self.manifest.version}"
        _check(self.name == own_name, f"release {self.name!r} holds {own_name}")


@dataclass(frozen=True)
class Targets:
    """All releases that a plan may name. Its version only ever grows."""

    version: int
    releases: tuple[Release, ...]
    v: int = 1


@dataclass(frozen=True)
class Plan:
    """A rollout of one release to one group.

    `state` is run, pause or abort. A device takes part when it is among `canaries` or its bucket
    lies below `percent`. `rate_bytes_s` caps its download. `retry` is the sequence of the plan that last
    asked for another try where the release was blocked; 0: none did.
    """

    sequence: int
    group: str
    model: str
    release: str
    bundle_sha256: str
    state: str = "run"
    canaries: tuple[str, ...] = ()
    percent: float = 100.0
    rate_bytes_s: int | None = None
    retry: int = 0
    v: int = 1

    def __post_init__(self) -> None:
        _check_name(self.group)
        _check_name(self.model)
        _check_digest(self.bundle_sha256)
        _check(self.state in PLAN_STATES, f"state {self.state!r}")
        _check(0 <= self.percent <= 100, f"percent {self.percent}")
        _check(self.rate_bytes_s is None or self.rate_bytes_s > 0, f"rate {self.rate_bytes_s}")


@dataclass(frozen=True)
class Desired:
    """What one device should be: its groups, and a pinned release per model that wins over any plan.

    It names the device, so that nobody can put it on the topic of another.
    """

    sequence: int
    groups: tuple[str, ...]
    pins: dict[str, str] = field(default_factory=dict)
    device: str = ""
    v: int = 1

    def __post_init__(self) -> None:
        _check(len(self.groups) <= MAX_GROUPS, f"{len(self.groups)} groups")
        for group in self.groups:
            _check_name(group)


@dataclass(frozen=True)
class Mark:
    """Everything up to `sequence` of `boot` is committed in the server's store."""

    boot: str
    sequence: int


@dataclass(frozen=True)
class Ack:
    """End-to-end acknowledgement, retained: per stream, one mark for each boot that had something open."""

    streams: dict[str, tuple[Mark, ...]]
    v: int = 1


@dataclass(frozen=True)
class Truths:
    """What was right, for answers that were given earlier: a class for each id.

    A device counts those that it still remembers, each once.
    """

    ids: tuple[str, ...]
    truths: tuple[int, ...]
    v: int = 1

    def __post_init__(self) -> None:
        if len(self.ids) != len(self.truths):
            raise ValueError("columns of unequal length")


@dataclass(frozen=True)
class Command:
    """A request that may be lost; `name` is `check-now`."""

    name: str
    v: int = 1


def _check(holds: bool, problem: str) -> None:
    if not holds:
        raise ValueError(problem)


def _check_digest(text: str) -> None:
    _check(SHA256.fullmatch(text) is not None, f"{text[:80]!r} is no SHA-256")


def _check_name(text: str) -> None:
    _check(NAME.fullmatch(text) is not None, f"{text[:80]!r} is no name")
