"""From a file, a message or a frame to a sample: JSON, npy, images and WAV.

Images and sounds are prepared as the bundle declares; numbers in JSON and npy go to the model as they
are.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edge.adapters.media import read_image, read_wav
from edge.adapters.sources import IDLE
from edge.backend import Array
from edge.online.samples import parse_json, parse_npy
from edge.online.tally import Tally
from edge.results import Sample
from wire.adapters.files import as_text
from wire.errors import BundleError, DataError, InputError, ModelError

#: The bundle's declared preprocessing: a raw image or wave to what the model takes.
Prepare = Callable[[Any], Array]


@dataclass(frozen=True)
class Decoder:
    """Turns bytes into samples for the model that serves; `rate_hz` asks for its samples a second."""

    prepare: Prepare
    rate_hz: Callable[[], int]

    def from_file(self, path: Path, kind: str) -> Sample:
        """Read a whole file as one sample; raise DataError, InputError or OSError when it is none."""
        name = as_text(path.name)  # an id goes into JSON, tables and messages
        match kind:
            case "image":
                return Sample(name, self.prepare(read_image(path)))
            case "wav":
                return Sample(name, self.prepare(read_wav(path, self.rate_hz())))
            case _:
                return self.from_bytes(path.read_bytes(), kind, name, name)

    def from_bytes(self, data: bytes, kind: str | None, name: str, default_id: str) -> Sample:
        """Read a message; `name` says in errors where it came from. Raises DataError or InputError."""
        match kind:
            case "json":
                return parse_json(data, name, default_id)
            case "npy":
                return Sample(default_id, parse_npy(data, name))
            case "image":
                return Sample(default_id, self.prepare(read_image(data, name=name)))
            case "wav":
                return Sample(default_id, self.prepare(read_wav(data, self.rate_hz(), name=name)))
            case _:
                raise DataError(f"{name} is neither JSON nor npy, an image or WAV")


@dataclass(frozen=True)
class Intake:
    """What a source of raw samples works with: how to read them, where to count, when to end."""

    decoder: Decoder
    tally: Tally
    stop: threading.Event

    def prepared(self, kind: str, name: str, raw: Array) -> Sample:
        """Return a frame or window as a sample, or IDLE when it does not fit, which is counted as `kind`."""
        try:
            return Sample(name, self.decoder.prepare(raw))
        except (DataError, InputError) as error:
            self.tally.refuse(kind, f"{kind} {name}: {error}")
        except (ModelError, BundleError) as error:  # none is loaded just now, or it declares what cannot be
            self.tally.fail(f"{kind} {name}: {error}")
        return IDLE
