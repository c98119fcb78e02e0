"""From settings to open sources and sinks: wiring, for `edgeflock run` and the agent alike."""

from __future__ import annotations

import os
import secrets
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from io import BufferedIOBase
from pathlib import Path
from typing import Final

from edge.adapters.decoding import Decoder, Intake
from edge.adapters.sink_mqtt import MqttSink
from edge.adapters.sink_parquet import ParquetSink
from edge.adapters.sink_sqlite import SqliteSink
from edge.adapters.sink_webhook import WebhookSink
from edge.adapters.sinks import CsvSink, LineSink
from edge.adapters.source_audio import microphone_stream, wav_stream
from edge.adapters.source_camera import camera_stream, is_video_file, video_stream
from edge.adapters.source_folder import FolderSource
from edge.adapters.source_mqtt import mqtt_stream
from edge.adapters.sources import idle_stream, line_stream, npz_stream
from edge.online.answer_rows import make_row
from edge.online.delivery import Delivery, DeliveryRules, RowSink
from edge.online.settlement import Settlement
from edge.online.sounds import Sounds
from edge.online.tally import Tally
from edge.online.windows import Windowing
from edge.prediction import Prediction
from edge.results import Result, Sample
from edge.runtime import LoadedModel, Runtime
from edge.settings import BrokerSettings, SinkSettings, SourceSettings
from wire.adapters.paho_link import BrokerAddress, PahoLink
from wire.errors import DataError, ModelError, SettingsError

_TOKEN: Final = "EDGEFLOCK_WEBHOOK_TOKEN"  # noqa: S105  # the name of a variable


@dataclass(frozen=True)
class OpenSource:
    """A source that is ready. `samples` is used by one thread, and closed by it; the rest by any.

    `live` sources drop what the model does not get to; behind the others everybody waits. `settle`
    says of a sample's token that its answer is safe, `refuse` that it does not fit: where a source
    remembers.
    """

    samples: Iterator[Sample]
    live: bool = False
    settle: Callable[[int], None] | None = None
    refuse: Callable[[int], None] | None = None

    def close(self) -> None:
        """End what the source holds: its thread, its connection, its child."""
        close = getattr(self.samples, "close", None)  # generators have one
        if close is not None:
            close()


def open_source(
    settings: SourceSettings,
    broker: BrokerSettings,
    runtime: Runtime,
    tally: Tally,
    stop: threading.Event,
    *,
    settle_on_next: bool = True,
) -> OpenSource:
    """Open the source of the settings; the model may come later, but before the first sample.

    `settle_on_next`: a sample counts as answered when the next one is asked for; otherwise the caller
    calls `settle`. Raises DataError, SettingsError or UnavailableError when it cannot be used.
    """
    path = settings.path
    sounds = Sounds(settings.window_s, settings.hop_s, settings.audio_hz)

    def windowing() -> Windowing:
        model = _serving(runtime)
        return sounds.windowing(model.manifest, model.inputs[0].shape)

    decoder = Decoder(runtime.prepare, lambda: sounds.rate_hz(_serving(runtime).manifest))
    intake = Intake(decoder, tally, stop)
    match settings.kind:
        case "npz":
            return OpenSource(npz_stream(Path(path), repeat=settings.repeat))
        case "ndjson":
            name = "the input" if path in ("", "-") else path
            return OpenSource(line_stream(_line_opener(path), name, tally, stop))
        case "folder":
            folder = FolderSource(Path(path), intake, settle_on_next=settle_on_next)
            folder.open()
            return OpenSource(folder.samples(), settle=folder.settle, refuse=folder.refuse)
        case "mqtt":
            link = _make_link(broker, "source")
            return OpenSource(mqtt_stream(link, settings.topic, settings.queue, intake), live=True)
        case "camera" if is_video_file(path):
            return OpenSource(video_stream(Path(path), intake))
        case "camera":
            frames = camera_stream(path or "0", settings.rate_hz, intake)
            return OpenSource(frames, live=True)
        case "wav":
            return OpenSource(wav_stream(Path(path), windowing, intake))
        case "microphone":
            device = path or "default"
            heard = microphone_stream(device, windowing, settings.queue, intake)
            return OpenSource(heard, live=True)
        case _:
            return OpenSource(idle_stream(stop), live=True)


class OpenSinks:
    """All sinks of a stream, each with its thread. `write` and `close` belong to one thread."""

    def __init__(
        self,
        deliveries: Sequence[Delivery],
        settlement: Settlement | None,
        answer: Answer,
        stop: threading.Event,
    ) -> None:
        self._deliveries = deliveries
        self._settlement = settlement
        self._answer = answer
        self._stop = stop

    def write(self, results: list[Result]) -> None:
        """Hand results to every sink; waits only behind a pull source."""
        for result in results:
            number = self._settlement.begin(result.sample.token) if self._settlement else 0
            row = make_row(result, self._answer(result.prediction)) if self._deliveries else {}
            for delivery in self._deliveries:
                delivery.put(number, row, self._stop)

    @property
    def broken(self) -> Delivery | None:
        """The first sink that gave up, if one did."""
        return next((delivery for delivery in self._deliveries if delivery.broken), None)

    def close(self) -> None:
        """Deliver what is queued: as long as it takes, or a few seconds each once `stop` is set."""
        for delivery in self._deliveries:
            delivery.finish()
        for delivery in self._deliveries:
            delivery.close(self._stop)


#: The bundle's declared answer to a prediction, or None where it declares none.
Answer = Callable[[Prediction], list[dict[str, object]] | None]


def open_sinks(
    settings: Sequence[SinkSettings],
    broker: BrokerSettings,
    runtime: Runtime,
    tally: Tally,
    stop: threading.Event,
    *,
    rules: DeliveryRules,
    settle: Callable[[int], None] | None = None,
) -> OpenSinks:
    """Open the sinks of the settings and start their threads; raise SettingsError or UnavailableError.

    `rules` say who waits when one is slow; `settle` is told the tokens of samples whose answers are
    safe in all.
    """
    named = [(s, _sink_name(s)) for s in settings if s.kind != "none"]
    sinks: list[tuple[str, RowSink]] = []
    with ExitStack() as opened:
        for setting, name in named:
            sink = _open_sink(setting, broker)
            opened.callback(sink.close)
            sinks.append((name, sink))
        opened.pop_all()  # all are open: from here on they are their deliveries'
    settlement = Settlement(len(sinks), settle) if settle else None
    outcome = settlement.outcome if settlement else None
    deliveries = [Delivery(name, sink, tally, rules, outcome=outcome) for name, sink in sinks]
    for delivery in deliveries:
        delivery.start()
    return OpenSinks(deliveries, settlement, lambda p: declared_answer(runtime, p), stop)


def declared_answer(runtime: Runtime, prediction: Prediction) -> list[dict[str, object]] | None:
    """Return what the bundle's postprocessing says, or None where none is declared."""
    manifest = prediction.manifest
    if manifest is None or manifest.postprocessing.kind == "none":
        return None
    return runtime.answer(prediction)


def _open_sink(settings: SinkSettings, broker: BrokerSettings) -> RowSink:
    boot = secrets.token_hex(4)
    sink: LineSink | CsvSink | SqliteSink | ParquetSink | WebhookSink | MqttSink
    match settings.kind:
        case "csv":
            sink = CsvSink(settings.path)
        case "sqlite":
            sink = SqliteSink(settings.path)
        case "parquet":
            sink = ParquetSink(settings.path, boot, settings.rotate_s)
        case "webhook":
            sink = WebhookSink(settings.url, boot, os.environ.get(_TOKEN, ""))
        case "mqtt":
            sink = MqttSink(_make_link(broker, "sink"), settings.topic)
        case _:
            sink = LineSink(settings.path)
    sink.open()
    return sink


def _sink_name(settings: SinkSettings) -> str:
    if settings.kind == "ndjson" and settings.path == "-":
        return "standard output"
    return settings.kind


def _make_link(broker: BrokerSettings, role: str) -> PahoLink:
    """Return a link that takes pictures, too: what waits is bounded by the source's own queue."""
    address, name = BrokerAddress(broker.host, broker.port), f"edgeflock-{role}-{secrets.token_hex(6)}"
    return PahoLink(address, name, largest_bytes=None)


def _line_opener(path: str) -> Callable[[], BufferedIOBase]:
    if path in ("", "-"):  # a file of its own: its thread may still wait in it when the process ends
        if sys.stdin is None:
            raise SettingsError("standard input is closed: name another --source")
        return lambda: open(sys.stdin.fileno(), "rb", closefd=False)  # closed by the thread that reads it
    try:
        file = Path(path).open("rb")  # noqa: SIM115  # as above
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}") from error
    return lambda: file


def _serving(runtime: Runtime) -> LoadedModel:
    model = runtime.model
    if model is None:
        raise ModelError("no model is loaded yet")
    return model
