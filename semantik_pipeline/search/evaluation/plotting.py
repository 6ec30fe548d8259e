"""Plots a comparison: quality against latency, with a labeled point for each way. The extra ``evaluation`` has
matplotlib."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

from semantik_pipeline.errors import UsageError
from semantik_pipeline.search.evaluation.comparison import Compared, Comparison

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: The color of each verdict, from the palette by Okabe and Ito, which color-blind readers can tell apart.
COLOURS = {"default": "#0072B2", "better": "#009E73", "alike": "#7F7F7F", "worse": "#D55E00"}
#: Offsets of a label from its point, in typographic points. The first one that is free is used.
PLACES = [
    (9, 0),
    (9, 9),
    (9, -9),
    (-9, 0),
    (-9, 9),
    (-9, -9),
    (0, 13),
    (0, -13),
    (9, 20),
    (9, -20),
    (-9, 20),
    (-9, -20),
]

MISSING = "Plots require matplotlib: pip install 'semantik-pipeline[evaluation]'"


def can_plot() -> bool:
    """Return whether matplotlib is installed."""
    from importlib.util import find_spec

    return find_spec("matplotlib") is not None


def write_plots(comparison: Comparison, title: str, path: Path) -> list[Path]:
    """Write the plot as .png and as .html and return the paths.

    If ``path`` ends with one of these suffixes, writes only that file; else adds both suffixes to ``path``. Raises
    UsageError if matplotlib is missing or a file can't be written.
    """
    if not can_plot():
        raise UsageError(MISSING + ".", "Or leave out --plot.")
    from semantik_pipeline.search.evaluation.page import page

    figure = drawing(comparison, title)
    endings = (".png", ".html")
    wanted = [path] if path.suffix in endings else [path.with_name(path.name + ending) for ending in endings]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        for one in wanted:
            if one.suffix == ".png":
                figure.savefig(one, dpi=150)
            else:
                one.write_text(page(comparison, title, _svg(figure)), "utf-8")
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror}.", "Choose another path with --plot.") from None
    return wanted


def drawing(comparison: Comparison, title: str) -> Figure:
    """Return the figure. It needs no display."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullLocator

    timed = [one for one in comparison.ways if one.p50_ms is not None]
    figure = Figure(figsize=(9, 6), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontweight="bold")
    axes.set_xlabel("latency of a search, ms (median; to the left is faster)")
    axes.set_ylabel("nDCG@10 (up is better)")
    axes.set_xscale("log")
    axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5), numticks=30))
    axes.xaxis.set_major_formatter(lambda x, _: f"{x:,.0f}" if x >= 1 else f"{x:g}")
    axes.xaxis.set_minor_locator(NullLocator())
    axes.grid(visible=True, color="#E5E5E5", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    axes.margins(x=0.18, y=0.12)
    for verdict, colour in COLOURS.items():
        own = [one for one in timed if one.verdict == verdict]
        if own:
            told = {"alike": "no difference beyond chance", "default": "the default"}.get(verdict, verdict)
            marker = "D" if verdict == "default" else "o"
            axes.scatter(
                [one.p50_ms or 0.0 for one in own],
                [one.mean() for one in own],
                s=60,
                c=colour,
                marker=marker,
                label=told,
            )
    axes.axhline(comparison.default.mean(), color=COLOURS["default"], linewidth=0.8, linestyle=":")
    axes.legend(frameon=False, loc="lower right", fontsize=9)
    _label(figure, axes, timed)
    return figure


def _label(figure: Figure, axes: Any, ways: list[Compared]) -> None:
    """Put the names beside their points, without overlaps between names and points if possible."""
    from matplotlib.patheffects import withStroke

    figure.draw_without_rendering()
    taken = [_box(axes.transData.transform((one.p50_ms, one.mean())), 7) for one in ways]
    taken.append(axes.get_legend().get_window_extent())
    for one in ways:
        for place in PLACES:
            text = axes.annotate(
                one.way.name,
                (one.p50_ms, one.mean()),
                xytext=place,
                textcoords="offset points",
                ha={1: "left", -1: "right", 0: "center"}[(place[0] > 0) - (place[0] < 0)],
                va="center",
                fontsize=8.5,
                color=COLOURS[one.verdict],
                path_effects=[withStroke(linewidth=3, foreground="white")],
            )
            box = text.get_window_extent()
            inside = axes.bbox.x0 <= box.x0 and box.x1 <= axes.bbox.x1 + 4
            if inside and not any(box.overlaps(other) for other in taken):
                break
            if place != PLACES[-1]:
                text.remove()
        taken.append(box)


def _box(middle: Any, radius: float) -> Any:
    from matplotlib.transforms import Bbox

    x, y = middle
    return Bbox([[x - radius, y - radius], [x + radius, y + radius]])


def _svg(figure: Figure) -> str:
    """Return the figure as an SVG element for a page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
    text = buffer.getvalue()
    return text[text.index("<svg") :]
