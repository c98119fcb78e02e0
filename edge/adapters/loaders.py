"""Which loader the settings ask for: in this process, or in one of the model's own."""

from __future__ import annotations

from edge.adapters.cores import capped
from edge.adapters.tflite import make_loader
from edge.backend import ISOLATIONS, Loader
from wire.errors import SettingsError


def choose_loader(backend: str = "auto", *, threads: int = 1, isolation: str = "thread") -> Loader:
    """Return the loader for `isolation` (`thread` or `process`); raise what `make_loader` raises.

    More threads than cores wait for each other: 340 times the latency on a full machine, measured.
    """
    if isolation not in ISOLATIONS:
        raise SettingsError(f"isolation {isolation!r}: choose {' or '.join(ISOLATIONS)}")
    threads = capped(threads)
    if isolation == "thread":
        return make_loader(backend, threads=threads)
    # Here and not above: it loads sockets and processes, which a program that uses the library may not want.
    from edge.adapters.worker_process import make_process_loader

    return make_process_loader(backend, threads=threads)
