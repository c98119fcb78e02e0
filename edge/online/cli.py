"""`edgeflock run`: answer a stream of samples."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edge.online.app import RunSettings, run
from edge.online.delivery import GIVE_UP_S
from edge.online.streams import SINKS, SOURCES, parse_sink, parse_source
from edge.settings import BrokerSettings, SinkSettings, SourceSettings
from edge.settings_rules import sink_rules, source_rules
from wire.errors import SettingsError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_HELP = """\
Answers every sample of a source and hands the answers to one or more sinks. Without options it
reads lines `{{"id": "17", "input": [[…]]}}` and writes lines `{{"id": "17", "best": 3, …}}`.

sources:  stdin  {sources}
sinks:    stdout  {sinks}

A source that can wait (lines, npz, folder, wav) waits for the model and loses nothing. A live one (mqtt,
camera, microphone) cannot: the newest wins, and what is passed over is counted. An input of no
use is counted and said, and the run goes on. The last line says what became of everything.

example:
    edgeflock run digits.bundle < samples.ndjson > answers.ndjson
    edgeflock run digits.bundle --source npz:digits.npz --sink sqlite:answers.db
    edgeflock run faces.bundle --source camera:0 --rate 5 --sink mqtt:faces/door --broker hub.local
    edgeflock run words.bundle --source microphone --hop 0.25 --sink webhook:https://example.org/heard
    edgeflock run birds.bundle --source folder:incoming --sink csv:birds.csv --sink parquet:birds/
"""


def add_parser(commands: _SubParsersAction[argparse.ArgumentParser], version: str) -> None:  # noqa: ARG001  # all commands have it
    """Add `run` to the command line."""
    parser = commands.add_parser(
        "run",
        help="answer a stream of samples: lines, MQTT, a folder, a camera, a microphone",
        description=_HELP.format(sources=_kinds(SOURCES), sinks=_kinds(SINKS)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("model", type=Path, help="the bundle")
    parser.add_argument("--source", default="stdin", metavar="KIND[:WHERE]", help="default: stdin")
    parser.add_argument(
        "--sink", action="append", metavar="KIND[:WHERE]", help="may be repeated; default: stdout"
    )
    parser.add_argument("--broker", default="127.0.0.1:1883", metavar="HOST[:PORT]", help="of mqtt")
    _add_source_options(parser)
    parser.add_argument("--rotate", type=float, default=60.0, metavar="S", help="of parquet: seconds a file")
    parser.add_argument(
        "--give-up",
        type=float,
        default=GIVE_UP_S,
        metavar="S",
        help="a sink that fails for so long ends the run, where the source can wait (default: 30)",
    )
    parser.add_argument("--count", type=int, default=0, metavar="N", help="end after N answers")
    parser.add_argument(
        "--strict", action="store_true", help="exit with 1 when an input was refused or dropped"
    )
    parser.add_argument("--backend", default="auto", metavar="NAME", help="ai-edge-litert or tflite-runtime")
    parser.add_argument("--threads", type=int, default=1, metavar="N", help="inside the interpreter")
    parser.set_defaults(run=lambda arguments: run(_settings(arguments)))


def _add_source_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rate", type=float, default=0.0, metavar="HZ", help="of npz, and most of a camera")
    parser.add_argument("--repeat", action="store_true", help="begin an npz file anew at its end")
    parser.add_argument(
        "--window", type=float, default=0.0, metavar="S", help="of sound; default: the model's"
    )
    parser.add_argument(
        "--hop", type=float, default=0.0, metavar="S", help="of sound; default: half a window"
    )
    parser.add_argument(
        "--audio-hz", type=int, default=16_000, metavar="N", help="where the model does not declare it"
    )
    parser.add_argument(
        "--queue",
        type=int,
        default=16,
        metavar="N",
        help="of mqtt and microphone: so many wait for the model",
    )


def _settings(arguments: argparse.Namespace) -> RunSettings:
    """Return what the command line says; raise SettingsError for what cannot be."""
    where = parse_source(arguments.source)
    source = SourceSettings(
        kind=where.kind,
        path=where.where,
        topic=where.where,
        rate_hz=arguments.rate,
        repeat=arguments.repeat,
        window_s=arguments.window,
        hop_s=arguments.hop,
        audio_hz=arguments.audio_hz,
        queue=arguments.queue,
    )
    sinks = tuple(_sink(text, arguments.rotate) for text in arguments.sink or ["stdout"])
    for number, sink in enumerate(sinks):
        if sink in sinks[:number]:
            raise SettingsError(f"--sink {(arguments.sink or [''])[number]} is given twice")
    rules = source_rules(source)
    for sink in sinks:
        rules |= {rule: holds and rules.get(rule, True) for rule, holds in sink_rules(sink).items()}
    rules["--give-up must not be negative"] = arguments.give_up >= 0
    rules["--count must not be negative"] = arguments.count >= 0
    rules["--threads must be 1 to 64"] = 0 < arguments.threads <= 64
    for rule, holds in rules.items():
        if not holds:
            raise SettingsError(rule)
    return RunSettings(
        model=arguments.model,
        source=source,
        sinks=sinks,
        broker=_broker(arguments.broker),
        backend=arguments.backend,
        threads=arguments.threads,
        count=arguments.count,
        give_up_s=arguments.give_up,
        strict=arguments.strict,
    )


def _sink(text: str, rotate_s: float) -> SinkSettings:
    where = parse_sink(text)
    sink = SinkSettings(kind=where.kind, rotate_s=rotate_s)
    match where.kind:
        case "mqtt":
            return replace(sink, topic=where.where)
        case "webhook":
            return replace(sink, url=where.where)
        case _:
            return replace(sink, path=where.where)


def _broker(text: str) -> BrokerSettings:
    host, colon, port = text.rpartition(":")
    if not colon:
        return BrokerSettings(host=text)
    if not port.isdigit() or not 0 < int(port) < 65536 or not host:
        raise SettingsError(f"--broker {text!r}: write HOST or HOST:PORT")
    return BrokerSettings(host=host, port=int(port))


def _kinds(kinds: Mapping[str, str]) -> str:
    return "  ".join(_word(kind, where) for kind, where in kinds.items())


def _word(kind: str, where: str) -> str:
    return f"{kind}[:{where[1:-1]}]" if where.startswith("[") else f"{kind}:{where}"
