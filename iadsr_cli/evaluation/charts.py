"""The report's charts: small SVGs to stand inside a page, drawn by matplotlib and coloured by the page's style sheet.

In all of them NaN means that there is no value: nothing is drawn there. Words in a chart are ours (arms, kinds of
noise, scorers, numbers); what a log says (titles, ids) never comes here. `name` sets a chart's ids apart from others'.
"""

import io
import re
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Narrow enough to be read on a phone without being scaled down much.
_WIDTH = 360
# matplotlib draws in these stand-ins; the page's style sheet says what they are in light and in dark.
_INK, _FAINT, _RULE = "#010101", "#010102", "#010103"
SERIES = 6
_SERIES = [f"#0102{number:02d}" for number in range(1, SERIES + 1)]
_VARIABLES = {_INK: "--ink", _FAINT: "--faint", _RULE: "--rule"} | {
    colour: f"--series-{number}" for number, colour in enumerate(_SERIES, 1)
}
# Colours are told apart by shape as well; the page's keys (`.key`) show the same marks.
_MARKERS = ["o", "D", "s", "^", "v", "P"]
_DASHES = ["solid", "dashed", "dotted"]


def dashes(number: int) -> int:
    """Return how the line of a series is broken (0 solid, 1 dashed, 2 dotted); with its colour, 18 differ."""
    return (number + number // SERIES) % len(_DASHES)


def relative_changes(name: str, label: str, arms: Mapping[str, Sequence[tuple[float, float, float]]]) -> str:
    """Draw dots with intervals on either side of zero.

    Args:
        name: of the chart.
        label: what it shows, for those who cannot see it.
        arms: by arm, for each metric its mean, low and high; 0.032 is +3.2%.
    """
    height = 34 * len(arms) + 30
    with _figure(height) as figure:
        axes = _axes(figure, left=124, right=14, top=4, bottom=26)
        for row, (arm, changes) in enumerate(arms.items()):
            lines = textwrap.wrap(arm, 19)[:2]
            for line, text in enumerate(lines):
                offset = 6.5 * (len(lines) - 1) - 13 * line
                axes.annotate(
                    text, (0, row), (-124, offset), ("axes fraction", "data"), "offset points", va="center", color=_INK
                )
            for number, (mean, low, high) in enumerate(changes):
                place = row + 0.26 * (number - (len(changes) - 1) / 2)
                style: dict[str, Any] = {"color": _SERIES[number], "clip_on": False}
                axes.plot([low, high], [place, place], linewidth=1.6, solid_capstyle="round", **style)
                axes.plot([mean], [place], _MARKERS[number], markersize=5.5, **style)
        axes.set_ylim(len(arms) - 0.5, -0.5)
        axes.set_yticks([])
        axes.axvline(0, color=_INK, linewidth=1, zorder=1)
        axes.xaxis.set_major_locator(_steps(5))
        axes.xaxis.set_major_formatter(lambda value, _: f"{100 * value:+.3g}%".replace("-", "−").replace("+0%", "0"))
        axes.grid(axis="x")
        return _inline(figure, name, label)


def distributions(name: str, label: str, edges: np.ndarray, counts: Sequence[np.ndarray]) -> str:
    """Draw histograms over one another, each as if it had the same number of rows.

    Args:
        name: of the chart.
        label: what it shows.
        edges: of the bins, float [B + 1].
        counts: rows per bin of each histogram, float [B].
    """
    with _figure(170) as figure:
        axes = _axes(figure, left=8, right=8, top=6, bottom=36)
        for number, count in enumerate(counts):
            density = count / max(1.0, np.nansum(count)) / np.diff(edges)
            style: dict[str, Any] = {"color": _SERIES[number], "clip_on": False}
            axes.stairs(density, edges, fill=True, alpha=0.22, linewidth=0, **style)
            axes.stairs(density, edges, linewidth=1.6, linestyle=_DASHES[dashes(number)], **style)
        axes.set_xlim(edges[0], edges[-1])
        axes.set_ylim(bottom=0)
        axes.set_yticks([])
        axes.xaxis.set_major_locator(_steps(5))
        _name_axis(axes, "noise score")
        return _inline(figure, name, label)


def precision_recall(
    name: str, label: str, curves: Sequence[tuple[np.ndarray, np.ndarray]], share: float | None
) -> str:
    """Draw precision over recall, steps for each pair (recall, precision), and a line at `share`, a random choice's."""
    with _figure(230) as figure:
        axes = _axes(figure, left=42, right=14, top=22, bottom=36)
        if share is not None:
            axes.axhline(share, color=_FAINT, linewidth=1)
        for number, (recall, precision) in reversed(list(enumerate(curves))):
            axes.plot(
                recall,
                precision,
                color=_SERIES[number % SERIES],
                linestyle=_DASHES[dashes(number)],
                linewidth=2.2 if number == 0 else 1.4,
                drawstyle="steps-post",
                clip_on=False,
            )
        _unit_square(axes, "recall: share of the noise that is found", "precision")
        return _inline(figure, name, label)


def calibration(name: str, label: str, predicted: np.ndarray, observed: np.ndarray, rows: np.ndarray) -> str:
    """Draw the observed share of noise over the predicted one, float [B] each; the dots' areas grow with the rows."""
    with _figure(230) as figure:
        axes = _axes(figure, left=42, right=14, top=22, bottom=36)
        axes.plot([0, 1], [0, 1], color=_FAINT, linewidth=1, linestyle=(0, (2, 2)))
        axes.plot(predicted, observed, color=_SERIES[0], linewidth=1.4, clip_on=False)
        sizes = 16 + 100 * np.nan_to_num(rows) / max(1.0, np.nanmax(rows, initial=0.0))
        axes.scatter(predicted, observed, sizes, color=_SERIES[0], clip_on=False, zorder=3)
        _unit_square(axes, "predicted share of noise", "observed")
        return _inline(figure, name, label)


def shares(name: str, label: str, groups: Sequence[str], values: np.ndarray, overall: float | None, unit: str) -> str:
    """Draw one bar per group with its share above it, and a dashed line at the share of all together."""
    with _figure(170) as figure:
        axes = _axes(figure, left=8, right=8, top=20, bottom=36)
        axes.bar(range(len(groups)), np.nan_to_num(values), 0.62, color=_SERIES[0], clip_on=False)
        for place, value in enumerate(values):
            text = "–" if np.isnan(value) else f"{100 * value:.1f}%"
            above: dict[str, Any] = {"textcoords": "offset points", "ha": "center", "zorder": 4}
            axes.annotate(text, (place, np.nan_to_num(value)), (0, 4), color=_INK, **above)
        if overall is not None:
            axes.axhline(overall, color=_INK, linewidth=1, linestyle=(0, (3, 2)), zorder=3)
        axes.set_xlim(-0.5, len(groups) - 0.5)
        axes.set_ylim(0, max(1e-9, np.nanmax(values, initial=overall or 0.0)))
        axes.set_yticks([])
        axes.set_xticks(range(len(groups)), groups)
        _name_axis(axes, unit)
        return _inline(figure, name, label)


@contextmanager
def _figure(height: int) -> Iterator["Figure"]:
    """Lend a figure `_WIDTH` wide, in units of the SVG, that looks the same whatever the reader's matplotlibrc says."""
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update(
            {
                "svg.fonttype": "none",
                "svg.hashsalt": "iadsr",
                "font.size": 11,
                "text.parse_math": False,
                "axes.axisbelow": True,
                "axes.edgecolor": _RULE,
                "axes.spines.left": False,
                "axes.spines.right": False,
                "axes.spines.top": False,
                "grid.color": _RULE,
                "grid.linewidth": 0.7,
                "xtick.labelcolor": _FAINT,
                "ytick.labelcolor": _FAINT,
                "xtick.bottom": False,
                "ytick.left": False,
            }
        )
        yield Figure(figsize=(_WIDTH / 72, height / 72))


def _axes(figure: "Figure", *, left: int, right: int, top: int, bottom: int) -> "Axes":
    """Return axes with these margins, in units of the SVG."""
    height = figure.get_figheight() * 72
    return figure.add_axes((left / _WIDTH, bottom / height, 1 - (left + right) / _WIDTH, 1 - (top + bottom) / height))


def _name_axis(axes: "Axes", text: str) -> None:
    axes.annotate(text, (1, 0), (0, -26), "axes fraction", "offset points", ha="right", va="center", color=_FAINT)


def _unit_square(axes: "Axes", across: str, up: str) -> None:
    ticks, names = [0, 0.25, 0.5, 0.75, 1], ["0", "25%", "50%", "75%", "100%"]
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xticks(ticks, names)
    axes.set_yticks(ticks, names)
    axes.grid()
    _name_axis(axes, across)
    axes.annotate(up, (0, 1), (-38, 14), "axes fraction", "offset points", va="center", color=_FAINT)


def _steps(most: int) -> Any:
    from matplotlib.ticker import MaxNLocator

    return MaxNLocator(most)


def _inline(figure: "Figure", name: str, label: str) -> str:
    """Return the figure as an <svg> element of an HTML page."""
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None})
    text = buffer.getvalue()
    root = ElementTree.fromstring(text[text.index("<svg") :])
    _strip(root)
    names = {old: f"{name}-{number}" for number, old in enumerate(sorted(_references(root)), 1)}
    for element in root.iter():
        element.tag = element.tag.rpartition("}")[2]
        element.text, element.tail = (element.text or "").strip(), ""
        for key, value in list(element.attrib.items()):
            del element.attrib[key]
            kept = _attribute(key.rpartition("}")[2], value, names)
            if kept is not None:
                element.set(key.rpartition("}")[2], kept)
    root.attrib = {"viewBox": root.get("viewBox", ""), "role": "img", "aria-label": label}
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)


def _strip(parent: ElementTree.Element) -> None:
    """Take out what would act on the whole page (style sheets) or says nothing there (metadata)."""
    for child in list(parent):
        if child.tag.rpartition("}")[2] in ("style", "metadata"):
            parent.remove(child)
        else:
            _strip(child)


def _references(root: ElementTree.Element) -> set[str]:
    values = [value for element in root.iter() for value in element.attrib.values()]
    return {found[1] for value in values for found in re.finditer(r"(?:^|url\()#([\w.-]+)", value)}


def _attribute(key: str, value: str, names: Mapping[str, str]) -> str | None:
    """Return what stands in the page for an attribute of matplotlib's, or None if nothing does."""
    if key == "id":
        return names.get(value)
    if key == "transform" and value.startswith("rotate(-0 "):
        return None
    if key in ("d", "x", "y"):
        return " ".join(re.sub(r"-?\d+\.\d+", lambda found: f"{float(found[0]):.4g}", value).split())
    if key == "style":
        value = re.sub(r"font: ([\d.]+px)[^;]*", r"font-size: \1", value)
        value = re.sub(r"font-family:[^;]*;\s*", "", value)
        return re.sub(r"#\w{6}", lambda found: f"var({_VARIABLES[found[0]]})", value)
    return re.sub(r"#([\w.-]+)", lambda found: f"#{names.get(found[1], found[1])}", value)
