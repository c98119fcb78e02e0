"""The report as one HTML page that needs nothing else: no script, no network, no file beside it.

Rules:
- every text is escaped, whatever a label or a path holds: autoescape is on, and nothing is marked safe;
- equal reports make equal pages: no date;
- every row of every table is in it; a terminal shows a choice.
"""

from __future__ import annotations

import base64
import importlib.resources
from typing import Final

from jinja2 import BaseLoader, Environment, StrictUndefined

from converter.adapters.front_plot import front_png
from converter.report import Report
from converter.report_entries import tried
from converter.report_facts import facts, highlights
from converter.report_forms import forms_table
from converter.report_tables import (
    classes_table,
    entries_table,
    entry_reasons,
    layers_table,
    operators_table,
)
from converter.table import plain

_TEMPLATE: Final = "page.html"
#: One form makes no picture.
_FEWEST_IN_PICTURE: Final = 2


def page_html(report: Report) -> bytes:
    """Return the page, UTF-8. Raises UnavailableError without matplotlib, which draws the search."""
    environment = Environment(
        loader=BaseLoader(), autoescape=True, undefined=StrictUndefined, keep_trailing_newline=True
    )
    source = importlib.resources.files(__package__).joinpath(_TEMPLATE).read_text(encoding="utf-8")
    tables = (classes_table(report), layers_table(report), operators_table(report))
    drawn = len(tried(report)) >= _FEWEST_IN_PICTURE
    page = environment.from_string(source).render(
        title=plain(f"{report.model}/{report.version}: {report.shipped}"),
        subtitle=_subtitle(report),
        highlights=highlights(report),
        warnings=[plain(warning) for warning in report.warnings],
        forms=forms_table(report, full=True),
        point_meaning=report.point_meaning,
        entries=entries_table(report),
        reasons=entry_reasons(report),
        picture=base64.b64encode(front_png(report)).decode() if drawn else "",
        tables=[table for table in tables if table is not None],
        facts=facts(report),
        provenance=[(plain(name), plain(text)) for name, text in sorted(report.provenance.items())],
        notes=[plain(note) for note in report.notes],
    )
    return page.encode()


def _subtitle(report: Report) -> str:
    kinds = {
        "classes": "a classification",
        "binary": "a yes-or-no question",
        "values": "a regression",
        "unlabelled": "measured without truth",
    }
    return f"From {report.framework}; {kinds[report.task]}, reported on {report.count:,} samples."
