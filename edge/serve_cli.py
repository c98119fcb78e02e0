"""`edgeflock serve`: models over HTTP."""

from __future__ import annotations

import argparse
import logging
import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from edge.adapters.uvicorn_server import Listen
from edge.serve_app import MB, LabelSetting, ModelFile, ServeSettings, batching_of, limits_of, serve
from edge.web.address import TOKEN_READ_BYTES, check_address, check_token
from edge.web.admission import Limits
from edge.web.batching import Batching
from edge.web.service import Options
from wire.errors import SettingsError

if TYPE_CHECKING:
    from argparse import _SubParsersAction

_HELP = """\
Serves models over HTTP: the Open Inference Protocol V2 (KServe, Triton clients) and TensorFlow
Serving's REST interface, with health, metadata, feedback and Prometheus metrics. Several versions of
a model may be given; the newest answers who names none. SIGTERM lets what is inside finish.

Without --unix or another --host it listens on 127.0.0.1:8000. An address that others can reach needs
--token-file, and --certificate with --key, or --plain-http to send the token unencrypted.

example:
    edgeflock serve price-1.bundle price-2.bundle --label stable=1
    curl -d '{"instances": [[0.0, 0.5, 1.0]]}' http://127.0.0.1:8000/v1/models/price:predict
    curl http://127.0.0.1:8000/v2/models/price

The rows are for a model of three numbers; the last command tells the names and shapes of a model's
inputs.

How-to: docs/how-to/serve-a-model.md. Every path and status: docs/reference/http.md
"""

_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
#: More of anything is a slip of the pen, and longer than clocks and sockets can count.
_MOST: Final = 1_000_000


def add_parser(commands: _SubParsersAction[argparse.ArgumentParser], version: str) -> None:
    """Add `serve` to the command line."""
    parser = commands.add_parser(
        "serve",
        help="serve models over HTTP on this machine",
        description=_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "models", nargs="+", metavar="[NAME=]BUNDLE", help="a bundle, under its own name or NAME"
    )
    parser.add_argument(
        "--label", action="append", default=[], metavar="[MODEL:]LABEL=VERSION", help="a name for a version"
    )
    _add_address(parser)
    _add_model_options(parser)
    _add_limits(parser)
    parser.add_argument("--log-level", default="WARNING", choices=["DEBUG", "INFO", "WARNING", "ERROR"])
    parser.set_defaults(run=lambda arguments: _run(arguments, version))


def _add_address(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("address")
    group.add_argument("--host", default="127.0.0.1", metavar="ADDRESS")
    group.add_argument("--port", type=int, metavar="N", help="8000, or none with --unix; 0 takes a free one")
    group.add_argument("--unix", type=Path, metavar="PATH", help="a Unix socket for owner and group")
    group.add_argument(
        "--token-file", type=Path, metavar="FILE", help="what a client must send as Bearer token"
    )
    group.add_argument("--certificate", type=Path, metavar="FILE", help="TLS: the certificate chain (PEM)")
    group.add_argument("--key", type=Path, metavar="FILE", help="TLS: its private key (PEM)")
    group.add_argument(
        "--plain-http", action="store_true", help="let others connect without TLS, token in the clear"
    )


def _add_model_options(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("models")
    group.add_argument("--backend", default="auto", help="auto, ai-edge-litert or tflite-runtime")
    group.add_argument("--threads", type=int, default=1, metavar="N", help="threads inside an interpreter")
    group.add_argument(
        "--pool", type=int, default=1, metavar="N", help="interpreters of each model; 0: one for each core"
    )
    group.add_argument(
        "--isolation",
        default="thread",
        choices=["thread", "process"],
        help="process: a crash is one failed call",
    )
    group.add_argument(
        "--batch-rows", type=int, default=0, metavar="N", help="answer up to N requests together (off)"
    )
    group.add_argument(
        "--batch-wait-ms",
        type=float,
        default=1.0,
        metavar="MS",
        help="how long the first one waits for others",
    )


def _add_limits(parser: argparse.ArgumentParser) -> None:
    limits = Limits()
    group = parser.add_argument_group("limits")
    group.add_argument("--max-in-flight", type=int, default=limits.in_flight, metavar="N", help="then 429")
    group.add_argument("--max-rows", type=int, default=limits.rows, metavar="N", help="of one request")
    group.add_argument(
        "--max-body-mb",
        type=float,
        default=limits.body_bytes / MB,
        metavar="MB",
        help="of one request; then 413",
    )
    group.add_argument(
        "--max-held-mb",
        type=float,
        default=limits.held_bytes / MB,
        metavar="MB",
        help="of memory for all together; then 503",
    )
    group.add_argument("--max-connections", type=int, default=limits.connections, metavar="N")
    group.add_argument(
        "--timeout-s", type=float, default=limits.timeout_s, metavar="S", help="then 408 or 504"
    )


def _run(arguments: argparse.Namespace, version: str) -> int:
    logging.basicConfig(level=arguments.log_level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    return serve(read_settings(arguments, version))


def read_settings(arguments: argparse.Namespace, version: str) -> ServeSettings:
    """Return the settings in parsed arguments; raise SettingsError for those that cannot be."""
    options = Options(
        limits=_limits(arguments), token=_token(arguments), batching=_batching(arguments), version=version
    )
    for name in ("threads", "pool"):
        if getattr(arguments, name) < (name == "threads"):
            raise SettingsError(f"--{name} {getattr(arguments, name)}: too few")
    return ServeSettings(
        models=tuple(model_file(text) for text in arguments.models),
        labels=tuple(label_setting(text) for text in arguments.label),
        listen=_listen(arguments),
        options=options,
        backend=arguments.backend,
        threads=arguments.threads,
        pool=arguments.pool,
        isolation=arguments.isolation,
    )


def model_file(text: str) -> ModelFile:
    """Return what `NAME=PATH` or `PATH` means; a file that is called so is a path."""
    name, equals, path = text.partition("=")
    if equals and _NAME.fullmatch(name) and not Path(text).exists():
        return ModelFile(Path(path), name)
    return ModelFile(Path(text))


def label_setting(text: str) -> LabelSetting:
    """Return what `LABEL=VERSION` or `MODEL:LABEL=VERSION` means; raise SettingsError."""
    label, _, version = text.partition("=")
    model, _, label = label.rpartition(":")
    if not _NAME.fullmatch(label) or not version:
        raise SettingsError(f"--label {text}: write LABEL=VERSION, or MODEL:LABEL=VERSION")
    return LabelSetting(label, version, model)


def _limits(arguments: argparse.Namespace) -> Limits:
    for option in ("max_in_flight", "max_rows", "max_body_mb", "max_held_mb", "max_connections", "timeout_s"):
        if not 0 < getattr(arguments, option) <= _MOST:  # neither is nan
            raise SettingsError(f"--{option.replace('_', '-')} must be more than 0 and at most {_MOST:,}")
    return limits_of(arguments)


def _batching(arguments: argparse.Namespace) -> Batching | None:
    for option in ("batch_rows", "batch_wait_ms"):
        if not 0 <= getattr(arguments, option) <= _MOST:
            raise SettingsError(f"--{option.replace('_', '-')} must be 0 to {_MOST:,}")
    return batching_of(arguments)


def _listen(arguments: argparse.Namespace) -> Listen:
    port = arguments.port
    if port is None and arguments.unix is None:
        port = 8000
    if port is not None and not 0 <= port <= 65535:
        raise SettingsError(f"--port {port}: 0 to 65535")
    if (arguments.certificate is None) != (arguments.key is None):
        raise SettingsError("--certificate and --key go together")
    if port is not None:
        check_address(
            arguments.host,
            token=arguments.token_file is not None,
            encrypted=arguments.certificate is not None,
            plain_http=arguments.plain_http,
            command_line=True,
        )
    return Listen(arguments.host, port, arguments.unix, arguments.certificate, arguments.key)


def _token(arguments: argparse.Namespace) -> bytes:
    path: Path | None = arguments.token_file
    if path is None:
        return b""
    try:
        with path.open("rb") as file:
            return check_token(file.read(TOKEN_READ_BYTES), str(path))
    except OSError as error:
        raise SettingsError(f"{path}: {error.strerror}") from error
