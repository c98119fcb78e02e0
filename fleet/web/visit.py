"""One request, as the pages see it: who asks for what, without a web framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import parse_qsl

#: What a form may weigh: ours have a few short fields.
MAX_FORM_BYTES: Final = 64 * 1024
_MAX_FIELDS: Final = 50


@dataclass(frozen=True)
class Visit:
    """A request. `fragment` asks for the living part of a page only; `source` is the address it came from."""

    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    names: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] | None = None
    fragment: bool = False
    source: str = ""
    cookie: str | None = None
    from_our_page: bool = False
    bearer: str | None = None

    @property
    def changes(self) -> bool:
        """Whether it wants to change something."""
        return self.form is not None


@dataclass(frozen=True)
class Answer:
    """What is sent back: a page, or where to go. `logs_out` ends the session."""

    status: int = 200
    body: str | bytes = ""
    kind: str = "text/html"
    location: str | None = None
    logs_out: bool = False
    headers: Mapping[str, str] = field(default_factory=dict)


def read_form(body: bytes) -> dict[str, str]:
    """Return the fields of a form; of a field that comes twice the last. Garbage has no fields."""
    try:
        return dict(parse_qsl(body.decode(), max_num_fields=_MAX_FIELDS, keep_blank_values=True))
    except ValueError:
        return {}


def safe_path(text: str | None) -> str:
    """Return a path on this page to go to after the log-in, `/` for anything that leads elsewhere."""
    if text and text.startswith("/") and not text.startswith(("//", "/\\")) and text.isprintable():
        return text
    return "/"
