"""Figures of a report: SVG that stands inside a page, in the page's colours and letters."""

import re
from collections.abc import Sequence
from io import StringIO
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, MaxNLocator, NullLocator

HALF, WHOLE = 7.0, 14.4  # inches: half the width of the page, or all of it
HEIGHT = 2.9
MOST_RATES = 40
SETTINGS = {
    "svg.fonttype": "none",  # letters stay letters
    "svg.hashsalt": "lockstep",
    "text.parse_math": False,
    "font.size": 10.5,
    "axes.linewidth": 0.7,
    "lines.linewidth": 1.2,
    "lines.solid_joinstyle": "round",
    "xtick.major.width": 0.7,
    "xtick.major.size": 3,
    "ytick.major.size": 0,
}
# What is drawn in these colours gets those of the page, by day and by night.
MUTED, RULE, LINE, BAR = "#000001", "#000002", "#000003", "#000004"
MARKS = ("#000005", "#000006", "#000007", "#000008")
NAMES = {
    MUTED: "muted",
    RULE: "rule",
    LINE: "line",
    BAR: "bar",
    **{color: f"mark-{i}" for i, color in enumerate(MARKS)},
}
SHAPES = ("v", "^", "o", "s")
GLYPHS = ("▼", "▲", "●", "■")  # the same in a legend
# Of what matplotlib writes: a style that would hold for the whole page, groups nobody refers to.
_NEEDLESS = re.compile(
    r"<metadata>.*?</metadata>|<!--.*?-->|<defs>\s*<style.*?</style>\s*</defs>"
    r'| id="(?:figure|axes|patch|line2d|text|xtick|ytick|matplotlib|\w+Collection)[\w.]*_\d+"'
    r"| ?font-family: [^;\"]*;?| transform=\"rotate\(-0 [^\"]*\"",
    re.DOTALL,
)

_plain = FuncFormatter(lambda value, _: f"{value:,g}")


def histogram(distribution: dict[str, Any], name: str) -> str:
    """Bars of the same width, one for each bin, the edges written between them."""
    edges, counts = distribution["edges"], distribution["counts"]
    figure, axes = _axes(HALF)
    axes.bar(range(len(counts)), counts, width=0.9, color=BAR)
    axes.set_xlim(-0.6, len(counts) - 0.4)
    stride = -(-len(edges) // 20)
    axes.set_xticks([i + 0.5 for i in range(0, len(edges), stride)])
    axes.set_xticklabels([f"{edge:g}" for edge in edges[::stride]])
    if max(counts) > 0:
        axes.set_yscale("log")  # a bin with one sample is as much of interest as a full one
        axes.set_ylim(bottom=0.6)
    axes.yaxis.set_major_formatter(_plain)
    axes.yaxis.set_minor_locator(NullLocator())
    axes.set_xlabel(distribution["unit"])
    axes.set_ylabel("samples, logarithmic")
    return _svg(figure, name)


def lines(series: dict[str, Any], kinds: Sequence[str], name: str) -> str:
    """A line with its marks; a kind of mark looks the same in every figure."""
    figure, axes = _axes(WHOLE)
    points = series["points"]
    axes.plot([point[0] for point in points], [point[1] for point in points], color=LINE)
    for i, kind in enumerate(kinds):
        marks = [mark for mark in series["marks"] if mark[2] == kind]
        axes.scatter(
            [mark[0] for mark in marks],
            [mark[1] for mark in marks],
            s=22,
            marker=SHAPES[i % len(SHAPES)],
            color=MARKS[i % len(MARKS)],
            linewidths=0,
            zorder=3,
        )
    axes.margins(x=0.01)
    axes.xaxis.set_major_formatter(_plain)
    axes.set_xlabel(series["x_unit"])
    axes.set_ylabel(series["unit"])
    return _svg(figure, name)


def pace(moments: Sequence[Sequence[float]], name: str) -> str:
    """Steps per second in stretches of equal time; the moments are (seconds, steps so far)."""
    times, steps = zip(*moments, strict=True)
    edges = np.linspace(0.0, times[-1], MOST_RATES + 1)
    figure, axes = _axes(HALF)
    if times[-1] > 0:
        axes.stairs(np.diff(np.interp(edges, times, steps)) / np.diff(edges), edges, color=LINE,
                    linewidth=1.2)  # fmt: skip
    axes.set_ylim(bottom=0)
    axes.margins(x=0.01)
    axes.set_xlabel("seconds")
    axes.set_ylabel("steps per second")
    return _svg(figure, name)


def _axes(width: float) -> tuple[Figure, Axes]:
    with rc_context(SETTINGS):
        figure = Figure(figsize=(width, HEIGHT), layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        axes.tick_params(colors=MUTED)
        axes.yaxis.set_major_locator(MaxNLocator(4))
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color(RULE)
    axes.grid(axis="y", color=RULE, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.xaxis.label.set_color(MUTED)
    axes.yaxis.label.set_color(MUTED)
    axes.yaxis.set_major_formatter(_plain)
    return figure, axes


def _svg(figure: Figure, name: str) -> str:
    """The drawing alone, its identifiers its own within the page."""
    out = StringIO()
    with rc_context(SETTINGS):
        figure.savefig(out, format="svg", metadata={"Date": None})
    text = _NEEDLESS.sub("", out.getvalue())
    text = text[text.index("<svg") :]
    text = re.sub(
        r'<svg [^>]*?viewBox="([^"]*)"[^>]*>',
        r'<svg viewBox="\1" aria-hidden="true">',
        text,
        count=1,
    )
    text = text.replace("xlink:href", "href")
    text = re.sub(r'(\bid="|href="#|url\(#)', rf"\1{name}-", text)
    text = re.sub(r"font: ([\d.]+)px [^;\"]*", r"font-size: \1px", text)
    for color, meaning in NAMES.items():
        text = text.replace(color, f"var(--{meaning})")
    return re.sub(r"\s*\n\s*", "\n", text).strip()
