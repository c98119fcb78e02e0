"""What flows where: the kinds of sources and sinks, and the rules of back-pressure.

Rules:
- a *pull* source (npz, ndjson, folder, wav, a video file) waits for the model: nothing is dropped;
- a *live* source (mqtt, camera, microphone) cannot wait: the newest wins, and what is passed over is
  counted with its cause;
- a sink has a queue of its own. Behind a pull source a full queue makes the reader wait; behind a live
  one its oldest row goes, and is counted.

On the command line a source or sink is one word, `KIND[:WHERE]`: `npz:digits.npz`, `stdin`, `camera:0`,
`mqtt:cameras/door`, `microphone`, `sqlite:answers.db`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from wire.errors import SettingsError

#: What follows the colon, by kind of source; the empty text where nothing may, `[…]` where it may be missing.
SOURCES: Final[Mapping[str, str]] = {
    "npz": "FILE",
    "ndjson": "[FILE]",
    "mqtt": "TOPIC",
    "folder": "FOLDER",
    "camera": "[DEVICE or FILE]",
    "wav": "FILE",
    "microphone": "[DEVICE]",
}

#: The same for sinks.
SINKS: Final[Mapping[str, str]] = {
    "ndjson": "[FILE]",
    "mqtt": "TOPIC",
    "sqlite": "FILE",
    "csv": "FILE",
    "parquet": "FOLDER",
    "webhook": "URL",
}

#: Other names for `ndjson:-`.
_PLAIN: Final = {"stdin": "ndjson:-", "stdout": "ndjson:-"}

_DEFAULT_WHERE: Final = {"ndjson": "-", "camera": "0", "microphone": "default"}

_BEGINNINGS: Final = (
    (b"\x93NUMPY", "npy"),
    (b"\xff\xd8\xff", "image"),
    (b"\x89PNG\r\n\x1a\n", "image"),
    (b"GIF8", "image"),
    (b"BM", "image"),
)


@dataclass(frozen=True)
class Address:
    """One source or sink as it was written; `where` is a path, topic, device or URL."""

    kind: str
    where: str


def parse_source(text: str) -> Address:
    """Read a source such as `npz:digits.npz`; raise SettingsError that names what is known."""
    return _parse(text, "source", SOURCES)


def parse_sink(text: str) -> Address:
    """Read a sink such as `sqlite:answers.db`; raise SettingsError that names what is known."""
    if text.startswith(("http://", "https://")):
        return Address("webhook", text)
    return _parse(text, "sink", SINKS)


def _parse(text: str, role: str, known: Mapping[str, str]) -> Address:
    kind, _, where = _PLAIN.get(text, text).partition(":")
    if kind not in known:
        near = difflib.get_close_matches(kind, known, 1)
        hint = f"did you mean {near[0]}?" if near else f"choose {', '.join(known)}"
        raise SettingsError(f"{role} {text!r}: unknown kind {kind!r}; {hint}")
    where = where or _DEFAULT_WHERE.get(kind, "")
    if not where:
        raise SettingsError(f"{role} {text!r}: write {kind}:{known[kind]}")
    return Address(kind, where)


def payload_kind(payload: bytes) -> str | None:
    """Return what a message holds by how it begins: `json`, `npy`, `image`, `wav`, or None."""
    if payload[:4] == b"RIFF":
        return {b"WAVE": "wav", b"WEBP": "image"}.get(payload[8:12])
    for beginning, kind in _BEGINNINGS:
        if payload.startswith(beginning):
            return kind
    return "json" if payload[:64].lstrip()[:1] == b"{" else None


#: What a file in a watched folder holds, by the end of its name.
FILE_KINDS: Final[Mapping[str, str]] = {
    **dict.fromkeys((".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp"), "image"),
    ".wav": "wav",
    ".npy": "npy",
    ".json": "json",
}


def file_kind(name: str) -> str | None:
    """Return what the file `name` holds, or None for a hidden, unfinished or foreign file."""
    if name.startswith("."):
        return None
    _, dot, end = name.rpartition(".")
    return FILE_KINDS.get(dot + end.lower())
