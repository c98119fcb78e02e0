"""`edgeflock serve`: wiring, and nothing else.

Threads of the process, what each owns, and what may cross:

    main        the event loop: connections, requests, signals, and models that answer within two milliseconds
    inference-N as many as a slow model has interpreters, started by its first request
    asyncio_N   unpacks and parses long bodies, one at a time, started by the first

`make_server` is also how an agent serves the model it has.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import os
import secrets
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from edge import open_bundle
from edge.adapters.inference_threads import InferenceThreads
from edge.adapters.json_codec import make_json
from edge.adapters.uvicorn_server import Listen, UvicornServer
from edge.remembered import Remembered
from edge.runtime import Runtime
from edge.settings import HttpSettings
from edge.web.admission import Limits
from edge.web.application import Application
from edge.web.batching import Batching
from edge.web.feedback import OnJudgement
from edge.web.plan import Observe
from edge.web.service import Options, Ports
from edge.web.shelf import ModelShelf, Shelf
from wire.errors import SettingsError

MB: Final = 1_000_000

_SWITCH_INTERVAL_S: Final = 0.0005


@dataclass(frozen=True)
class ModelFile:
    """A bundle to serve; an empty name is the bundle's own."""

    path: Path
    name: str = ""


@dataclass(frozen=True)
class LabelSetting:
    """A label that stands for a version; an empty model is the only one."""

    label: str
    version: str
    model: str = ""


@dataclass(frozen=True)
class ServeSettings:
    """What `edgeflock serve` was told."""

    models: tuple[ModelFile, ...]
    labels: tuple[LabelSetting, ...] = ()
    listen: Listen = field(default_factory=Listen)
    options: Options = field(default_factory=Options)
    backend: str = "auto"
    threads: int = 1
    pool: int = 1
    isolation: str = "thread"


def serve(settings: ServeSettings) -> int:
    """Serve until SIGTERM or SIGINT; return the exit code.

    Raises an EdgeflockError for a bundle, an address or a certificate that cannot be used.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL_S)
    shelf = fill_shelf(settings)
    application, server = make_server(shelf, settings.listen, settings.options)
    server.open()
    gc.collect()
    gc.freeze()  # what was loaded stays: without this a full collection costs milliseconds
    try:
        server.run(lambda: announce(shelf, server.port, settings.listen))
    finally:
        application.close()
        for place in shelf:
            place.runtime.close()
    return 0


def make_server(
    shelf: Shelf,
    listen: Listen,
    options: Options,
    *,
    on_judgement: OnJudgement | None = None,
    observers: Mapping[Runtime, Observe] | None = None,
    remembered: Remembered | None = None,
) -> tuple[Application, UvicornServer]:
    """Return the application for a shelf and a server for it that is not open yet."""

    def connections() -> int:
        return server.connections

    ports = Ports(
        json=make_json(),
        make_workers=InferenceThreads,
        clock=time.monotonic,
        boot=secrets.token_hex(4),
        connections=connections,
        observers=observers or {},
        remembered=remembered,
    )
    application = Application(shelf, ports, options, on_judgement)
    server = UvicornServer(application, listen, options.limits)
    return application, server


def limits_of(given: HttpSettings | argparse.Namespace) -> Limits:
    """Return the limits that a command line or a device's settings ask for."""
    return Limits(
        in_flight=given.max_in_flight,
        body_bytes=int(given.max_body_mb * MB),
        held_bytes=int(given.max_held_mb * MB),
        rows=given.max_rows,
        timeout_s=given.timeout_s,
        headers_timeout_s=min(Limits.headers_timeout_s, given.timeout_s),
        connections=given.max_connections,
    )


def batching_of(given: HttpSettings | argparse.Namespace) -> Batching | None:
    """Return how requests are answered together, or None where each is answered by itself."""
    return Batching(given.batch_rows, given.batch_wait_ms / 1000) if given.batch_rows > 1 else None


def fill_shelf(settings: ServeSettings) -> ModelShelf:
    """Load all models; raise SettingsError for names, versions and labels that do not go together."""
    shelf = ModelShelf()
    for file in settings.models:
        runtime = _load(file.path, settings)
        name, _, version = (runtime.release or "").rpartition("/")
        shelf.add(file.name or name, version, runtime)
    names = {place.name for place in shelf}
    for setting in settings.labels:
        if not setting.model and len(names) > 1:
            raise SettingsError(
                f"--label {setting.label}: of which model? MODEL:{setting.label}={setting.version}"
            )
        shelf.label(setting.model or next(iter(names)), setting.label, setting.version)
    return shelf


def _load(path: Path, settings: ServeSettings) -> Runtime:
    runtime = open_bundle(
        path,
        backend=settings.backend,
        threads=settings.threads,
        pool=settings.pool,
        isolation=settings.isolation,
    )
    model = runtime.model
    if model is not None and model.stateful:
        runtime.close()
        raise SettingsError(f"{path} keeps state between calls: it answers streams, which edgeflock run has")
    return runtime


def announce(shelf: ModelShelf, port: int | None, listen: Listen) -> None:
    """Print what is served where; standard output may be full, or closed."""
    models = ", ".join(f"{place.name} {place.version}" for place in shelf)
    scheme = "https" if listen.certificate else "http"
    host = f"[{listen.host}]" if ":" in listen.host else listen.host
    places = [f"{scheme}://{host}:{port}"] if port is not None else []
    places += [str(listen.unix)] if listen.unix else []
    try:
        print(f"serving {models} on {' and '.join(places)}", flush=True)
    except OSError:  # nobody reads it, or the disk is full: no reason not to serve
        with contextlib.suppress(OSError):  # what is left in the buffer would fail again at the end
            _silence(sys.stdout.fileno())


def _silence(descriptor: int) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, descriptor)
    os.close(nowhere)
