"""The files that a conversion leaves: checked before it begins, written when everything is known.

Rules:
- no source is overwritten, whatever links lead to it, and no two outputs share a file;
- a file is written wholly or not at all, and the bundle last: where it is, everything went well.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from converter.adapters.front_plot import front_png
from converter.adapters.page import page_html
from converter.report import Report, to_json
from wire.adapters.files import write_atomic
from wire.errors import SettingsError, UnavailableError


@dataclass(frozen=True)
class Outputs:
    """Where the bundle goes, and the report as JSON, as a page, and its Pareto front as a picture."""

    bundle: Path
    json: Path | None = None
    page: Path | None = None
    plot: Path | None = None

    def named(self) -> list[tuple[str, Path]]:
        """Return the option and the path of each file that is asked for, the bundle last."""
        reports = [("--json", self.json), ("--report", self.page), ("--plot", self.plot)]
        return [(option, path) for option, path in (*reports, ("--out", self.bundle)) if path is not None]


def check_outputs(outputs: Outputs, sources: Sequence[Path]) -> None:
    """Raise SettingsError for an output that cannot be written or would overwrite something."""
    taken: dict[Path, str] = {}
    held = {path.resolve() for path in sources}
    for option, path in outputs.named():
        whole = path.resolve()
        if whole in held or any(source in whole.parents for source in held):
            raise SettingsError(f"{option} {path} is the source: it would be overwritten")
        if path.is_dir():
            raise SettingsError(f"{option} {path} is a folder: name a file")
        if not path.parent.is_dir() or not os.access(path.parent, os.W_OK):
            raise SettingsError(f"{option} {path}: its folder is not there or cannot be written")
        if whole in taken:
            raise SettingsError(f"{option} and {taken[whole]} name the same file: {path}")
        taken[whole] = option


def write_outputs(outputs: Outputs, bundle: bytes, report: Report) -> None:
    """Write what is asked for; raise UnavailableError, and leave nothing, where that fails."""
    makers: dict[str, Callable[[], bytes]] = {
        "--json": lambda: to_json(report),
        "--report": lambda: page_html(report),
        "--plot": lambda: front_png(report),
        "--out": lambda: bundle,
    }
    made = [(path, makers[option](), path.exists()) for option, path in outputs.named()]
    for position, (path, data, _) in enumerate(made):
        try:
            write_atomic(path, data)
        except OSError as error:
            for written, _, was_there in made[:position]:
                if not was_there:  # a report of a bundle that is not there would mislead
                    written.unlink(missing_ok=True)
            raise UnavailableError(f"{path} cannot be written: {error.strerror}") from error
