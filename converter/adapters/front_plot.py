"""The search as a picture: what travels against what is lost. matplotlib draws it, on no display.

Rules:
- equal reports make equal pictures: no date, no version, and no settings of the user's;
- colours are told apart by the colour-blind too (Okabe and Ito, "Color Universal Design"), and a
  form's mark differs by its shape as well;
- nothing global is touched: no pyplot, which keeps figures and picks a display.
"""

from __future__ import annotations

import io
import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final

from converter.budget import Budget
from converter.label_placing import Box, place_labels
from converter.report import Report
from converter.report_entries import Tried, tried
from wire.errors import UnavailableError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_BLUE: Final = "#0072b2"
_ORANGE: Final = "#d55e00"
_GREEN: Final = "#009e73"
_GREY: Final = "#6b6b6b"
_SIZE_INCHES: Final = (8.0, 5.0)
_DPI: Final = 144
#: A loss so many times the budget squeezes the rest into a line: above the budget the axis is logarithmic.
_FAR: Final = 6.0
_MARK_POINTS: Final = 6.0
_LABEL_SIZE: Final = 8.0
_GAP_PIXELS: Final = 8.0
_POINTS_PER_INCH: Final = 72.0
_LOSS_TICKS: Final = (-20, -10, -5, -2, -1, -0.5, 0, 0.5, 1, 2, 5, 10, 20, 50, 100)


def front_png(report: Report) -> bytes:
    """Return a PNG of what was tried: wire bytes (logarithmic) against points lost on the report's split.

    Raises UnavailableError without matplotlib.
    """
    try:
        logging.getLogger("matplotlib").setLevel(logging.ERROR)  # it tells of its font cache
        import matplotlib as mpl
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError as error:
        raise UnavailableError("matplotlib cannot be imported: pip install 'edgeflock[converter]'") from error
    lines = tried(report)
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update({"font.size": 9.0, "axes.spines.top": False, "axes.spines.right": False})
        figure = Figure(figsize=_SIZE_INCHES, dpi=_DPI, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.add_subplot()
        _draw(axes, report, lines)
        figure.draw_without_rendering()  # labels are placed in pixels, which the layout settles here, once
        figure.set_layout_engine("none")
        _label(axes, lines)
        out = io.BytesIO()
        figure.savefig(out, format="png", metadata={"Software": None})
    return out.getvalue()


def _draw(axes: Axes, report: Report, lines: Sequence[Tried]) -> None:
    axes.set_title(
        f"{report.model}/{report.version}: {len(lines)} forms on {report.count:,} samples", loc="left"
    )
    axes.set_xlabel("bytes on the wire" if report.update is None else "bytes as an update")
    axes.set_ylabel(f"points of {report.score_name} lost")
    axes.grid(visible=True, color="#e2e2e2", linewidth=0.6)
    axes.set_axisbelow(True)
    if not lines:
        axes.text(0.5, 0.5, "nothing was measured", transform=axes.transAxes, ha="center")
        return
    budget = report.budget or Budget()
    _scale_bytes(axes, [line.wire_bytes for line in lines])
    _scale_loss(axes, lines, budget)
    _draw_budget(axes, budget)
    _draw_marks(axes, lines)
    axes.figure.legend(loc="outside lower center", frameon=False, fontsize=_LABEL_SIZE, ncols=5)


def _scale_bytes(axes: Axes, sizes: Sequence[int]) -> None:
    from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

    axes.set_xscale("log")
    axes.set_xlim(min(sizes) / 1.4, max(sizes) * 1.6)
    narrow = max(sizes) < 10 * min(sizes)  # then 1, 2, 5 may all lie outside
    axes.xaxis.set_major_locator(LogLocator(base=10, subs=(1, 1.5, 2, 3, 4, 5, 7) if narrow else (1, 2, 5)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda size, _: _bytes(size)))
    axes.xaxis.set_minor_formatter(NullFormatter())


def _scale_loss(axes: Axes, lines: Sequence[Tried], budget: Budget) -> None:
    """Show the losses around the budget evenly; those far beyond it logarithmically, if there are any."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    near = max(1.0, budget.loss_points)
    highest = max(line.lost_points + line.error_points for line in lines)
    lowest = min(line.lost_points - line.error_points for line in lines)
    top, bottom = max(highest, budget.loss_points), min(0.0, lowest)
    room = 0.15 * (min(top, _FAR * near) - bottom)  # for names below the lowest marks
    top, bottom = top * 1.1, bottom - room
    if highest > _FAR * near:
        axes.set_yscale("symlog", linthresh=near, linscale=1.2)
        axes.yaxis.set_major_locator(FixedLocator([tick for tick in _LOSS_TICKS if bottom <= tick <= top]))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.yaxis.set_major_formatter(FuncFormatter(lambda loss, _: f"{loss:g}"))
    axes.set_ylim(bottom, top)


def _draw_budget(axes: Axes, budget: Budget) -> None:
    axes.axhline(0.0, color=_GREY, linewidth=0.8)
    axes.axhline(budget.loss_points, color=_ORANGE, linewidth=1.0, linestyle="--", label="budget")
    if budget.wire_bytes is not None:
        axes.axvline(budget.wire_bytes, color=_ORANGE, linewidth=1.0, linestyle="--")
        left, right = axes.get_xlim()
        axes.set_xlim(min(left, budget.wire_bytes / 1.2), max(right, budget.wire_bytes * 1.2))


def _draw_marks(axes: Axes, lines: Sequence[Tried]) -> None:
    front = sorted((line for line in lines if line.on_front), key=lambda line: line.wire_bytes)
    if len(front) > 1:
        sizes, losses = [line.wire_bytes for line in front], [line.lost_points for line in front]
        axes.plot(sizes, losses, color=_BLUE, linewidth=1.2, alpha=0.5, label="front of size, loss and time")
    for line in lines:
        if line.error_points:
            axes.errorbar(
                line.wire_bytes,
                line.lost_points,
                line.error_points,
                color="#b5b5b5",
                linewidth=0.8,
                capsize=2,
            )
    groups = (
        ("inside the budget", "o", _BLUE, [line for line in lines if line.inside]),
        ("outside", "X", _ORANGE, [line for line in lines if not line.inside]),
    )
    for name, shape, colour, group in groups:
        sizes, losses = [line.wire_bytes for line in group], [line.lost_points for line in group]
        if group:
            axes.plot(sizes, losses, shape, color=colour, markersize=7, markeredgecolor="white", label=name)
    for line in lines:
        if line.shipped:
            axes.plot(
                line.wire_bytes, line.lost_points, "o", color=_GREEN, markersize=15, fillstyle="none",
                markeredgewidth=2.0, linestyle="", label="shipped",
            )  # fmt: skip


def _label(axes: Axes, lines: Sequence[Tried]) -> None:
    """Write each form's name beside its mark; one that finds no place is in the table alone."""
    from matplotlib.patheffects import withStroke

    ranked = sorted(lines, key=lambda line: (not line.shipped, not line.on_front))
    points = [tuple(axes.transData.transform((line.wire_bytes, line.lost_points))) for line in ranked]
    texts = [axes.text(0, 0, line.name, **_font(line)) for line in ranked]
    boxes = [text.get_window_extent() for text in texts]
    for text in texts:
        text.remove()
    window = axes.get_window_extent()
    places = place_labels(
        points,
        [(box.width + _GAP_PIXELS, box.height) for box in boxes],
        Box(window.x0, window.y0, window.x1, window.y1),
        _MARK_POINTS * _DPI / _POINTS_PER_INCH,
    )
    for line, point, place in zip(ranked, points, places, strict=True):
        if place is None:
            continue
        axes.annotate(
            line.name,
            xy=point,
            xytext=(place.box.left, place.box.bottom),
            xycoords="figure pixels",
            textcoords="figure pixels",
            **_font(line),
            arrowprops={"arrowstyle": "-", "color": _GREY, "linewidth": 0.5} if place.led else None,
            path_effects=[withStroke(linewidth=2.5, foreground="white")],
        )


def _font(line: Tried) -> dict[str, Any]:
    return {"fontsize": _LABEL_SIZE, "fontweight": "bold" if line.shipped else "normal"}


def _bytes(size: float) -> str:
    for unit, factor in (("MB", 1e6), ("kB", 1e3)):
        if size >= factor:
            return f"{size / factor:g} {unit}"
    return f"{size:g} B"
