"""The page's templates: every text is escaped, and a name that a template does not know is an error."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from fleet.calibration import ReliabilityBin
from fleet.web import wording
from fleet.web.figures import Share

WEB: Final = Path(__file__).parents[1] / "web"
STATIC: Final = WEB / "static"


@dataclass(frozen=True)
class Scripts:
    """Which of the scripts that the build brings in are there; the page does without any."""

    htmx: bool
    uplot: bool

    @classmethod
    def found(cls) -> Scripts:
        vendor = STATIC / "vendor"
        return cls((vendor / "htmx.min.js").exists(), (vendor / "uPlot.iife.min.js").exists())


class Templates:
    """Renders templates with what all of them may use."""

    def __init__(self) -> None:
        self._environment = Environment(
            loader=FileSystemLoader(WEB / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        filters: dict[str, Callable[..., Any]] = {
            "percent": wording.percent, "sureness": wording.sureness, "count": wording.count,
            "iso": wording.iso, "local": wording.local, "interval": _interval,
            "bin_interval": _bin_interval,
        }  # fmt: skip
        self._environment.filters.update(filters)
        self._environment.globals.update(static=_addresses(), scripts=Scripts.found())

    def render(self, template: str, **context: Any) -> str:
        """Return a template's text, ready to be sent."""
        return self._environment.get_template(template).render(**context)


def _interval(share: Share) -> str:
    return wording.percent_range(share.low, share.high)


def _bin_interval(of: ReliabilityBin) -> str:
    return wording.percent_range(of.accuracy_low, of.accuracy_high)


def _addresses() -> Callable[[str], str]:
    """Return what names a static file by its content: it may then be kept for ever."""
    known = {
        str(path.relative_to(STATIC)): hashlib.sha256(path.read_bytes()).hexdigest()[:10]
        for path in STATIC.rglob("*")
        if path.is_file()
    }
    return lambda name: f"/static/{name}?{known[name]}"
