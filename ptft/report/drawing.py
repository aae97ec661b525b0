"""The pieces pictures are made of: style, panels, curves with intervals, axes and legends that cover no data."""

import math
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ptft.report.curves import Point
from ptft.report.tables import format_count

# Matplotlib is imported where it is used: the command line must answer `--help` without waiting for it.
if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's palette, told apart with every common kind of colour blindness; its yellow is too pale for lines.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4D4D4D")
_MARKERS = ("o", "s", "^", "D", "v", "P", "X")
_DASHES = ("-", "--", "-.", ":")
_CURVE_MARKERS = (*_MARKERS, "*", "<", ">", "p", "h", "d")
_CURVE_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (5, 1.6, 1, 1.6)), (0, (1.2, 1.2)), (0, (8, 1.6, 3, 1.6)))
_GREY = "#6B6B6B"
FEW_LINES = 4
"""With more lines than this a panel is crowded."""
_STROKES: tuple[dict[str, Any], dict[str, Any]] = (
    {"elinewidth": 1.1, "capsize": 2.0},
    {"elinewidth": 0.8, "capsize": 1.5, "linewidth": 1.2, "markersize": 4.5},
)
VALID_LOOK: dict[str, Any] = {
    "color": COLOURS[-1],
    "marker": "o",
    "markeredgecolor": "white",
    "linestyle": "--",
    "linewidth": 1.0,
    "zorder": 3,
}
_EAST_ASIAN_FONTS = ("Noto Sans CJK KR", "Noto Sans KR", "NanumGothic", "Apple SD Gothic Neo", "Malgun Gothic")
LEVEL_LOOK: dict[str, Any] = {"color": _GREY, "linestyle": (0, (2, 2)), "linewidth": 1.2, "zorder": 1}
_LEGEND_LETTERS = 60
_WIDTH_INCHES = 7.5
_DOTS_PER_INCH = 180
_STYLE: dict[str, Any] = {
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": _GREY,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "grid.color": "#E4E4E4",
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 5.5,
    # A label such as "a $5 b $6" is text, not a formula.
    "text.parse_math": False,
    # Names within an SVG are drawn at random otherwise.
    "svg.hashsalt": "ptft",
}


@contextmanager
def style() -> Iterator[None]:
    """Draw the same picture whatever a user's own matplotlib settings are, and leave those as they were."""
    import matplotlib.style
    from matplotlib.font_manager import fontManager

    installed = {font.name for font in fontManager.ttflist}
    fonts = ["DejaVu Sans", *(name for name in _EAST_ASIAN_FONTS if name in installed)]
    with matplotlib.style.context(["default", {**_STYLE, "font.family": fonts}]):
        yield


def save(figure: "Figure", path: Path) -> None:
    """Write a figure as PNG or, by the ending of its name, as SVG; the same figure gives the same bytes."""
    with style(), warnings.catch_warnings():
        # A name in a script that no installed font knows is drawn as boxes; the page's tables still show it.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        # The library's version and the date are the only metadata matplotlib would add.
        unwanted = {"Creator": None, "Date": None} if path.suffix == ".svg" else {"Software": None}
        figure.savefig(path, dpi=_DOTS_PER_INCH, facecolor="white", metadata=unwanted)


def look(index: int) -> dict[str, Any]:
    """Colour, marker and dash of the line with this index; seven colours come again with another dash."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": _MARKERS[index % len(_MARKERS)],
        "linestyle": _DASHES[index // len(COLOURS) % len(_DASHES)],
    }


def curve_look(index: int) -> dict[str, Any]:
    """As :func:`look`, but thirteen lines can be told apart without colour too, in print: by marker, and by dash."""
    return {
        "color": COLOURS[index % len(COLOURS)],
        "marker": _CURVE_MARKERS[index % len(_CURVE_MARKERS)],
        "linestyle": _CURVE_DASHES[index % len(_CURVE_DASHES)],
    }


def grid(num_panels: int, num_columns: int = 0) -> "tuple[Figure, list[Axes]]":
    """Make a figure of panels, row by row, with room for a legend on top; 0 columns means as many as look well."""
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    num_columns = num_columns or (num_panels if num_panels <= 3 else 2 if num_panels == 4 else 3)
    num_rows = math.ceil(num_panels / num_columns)
    height_inches = {1: 3.6, 2: 2.8}.get(num_columns, 2.5)
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.06)
    figure = Figure(figsize=(_WIDTH_INCHES, height_inches * num_rows + 0.4), layout=layout)
    axes = [figure.add_subplot(num_rows, num_columns, index + 1) for index in range(num_panels)]
    return figure, axes


def title(axes: "Axes", text: str) -> None:
    """Write what a panel shows above it, on as many lines as its width asks for."""
    axes.set_title(textwrap.fill(text, _room(axes) + 4))


def draw_losses(
    axes: "Axes", train: Sequence[tuple[float, float]], valid: Sequence[tuple[float, float]], index: int, is_alone: bool
) -> None:
    """Draw a training loss, thin as logged and thick as its running mean, and validation points over it.

    Args:
        axes: The panel.
        train: Count and loss of each logged step.
        valid: Count and loss of each validation.
        index: The look of the run.
        is_alone: Nothing else is in the panel, so that validation can have a colour of its own.
    """
    settings = look(index)
    if train:
        xs, ys = zip(*train, strict=True)
        smoothed = running_mean(ys, max(1, len(ys) // 40))
        if smoothed != list(ys):
            axes.plot(xs, ys, color=settings["color"], linewidth=0.7, alpha=0.3)
        axes.plot(xs, smoothed, color=settings["color"], linestyle=settings["linestyle"])
    if valid:
        xs, ys = zip(*valid, strict=True)
        colour = COLOURS[1] if is_alone else settings["color"]
        axes.plot(xs, ys, **VALID_LOOK | {"color": colour, "marker": settings["marker"]})


def running_mean(values: Sequence[float], num_beside: int) -> list[float]:
    """Average each value with up to ``num_beside - 1`` on either side; 1 changes nothing.

    Example:
        >>> running_mean([1.0, 2.0, 6.0], 2)
        [1.5, 3.0, 4.0]
    """
    sums = [0.0]
    for value in values:
        sums.append(sums[-1] + value)
    if num_beside <= 1:
        return list(values)
    spans = [(max(0, index - num_beside + 1), min(len(values), index + num_beside)) for index in range(len(values))]
    return [(sums[end] - sums[start]) / (end - start) for start, end in spans]


def draw_curves(axes: "Axes", curves: Mapping[str, Sequence[Point]], indices: Mapping[str, int]) -> None:
    """Draw lines of means with their intervals on a 0..1 scale over a logarithmic count.

    Many lines are drawn finer, on a scale that begins below the lowest of them.

    Args:
        axes: The panel.
        curves: The points of each line.
        indices: The look of each line, so that a name looks the same in all panels.
    """
    all_points = [point for curve in curves.values() for point in curve]
    places = _places(sorted({point.x for point in all_points}))
    ordered = sorted(places.values())
    width = ordered[-1] - ordered[0] or 1.0
    gap = min((right - left for left, right in pairwise(ordered)), default=1.0)
    # Lines that meet would hide each other's intervals, so each is moved a little sideways.
    step = min(0.006 * (1 + _num_columns(axes)) * width, 0.5 * gap / len(curves))
    for order, (name, curve) in enumerate(curves.items()):
        shift = step * (order - (len(curves) - 1) / 2)
        axes.errorbar(
            [places[point.x] + shift for point in curve],
            [point.mean for point in curve],
            yerr=[
                [max(0.0, point.mean - point.low) for point in curve],
                [max(0.0, point.high - point.mean) for point in curve],
            ],
            **_STROKES[len(curves) > FEW_LINES],
            **curve_look(indices[name]),
        )
    ticks = _apart(places, width / _room(axes))
    axes.set_xticks([places[count] for count in ticks], [format_count(count) for count in ticks])
    margin = 0.07 * width if len(places) > 1 else 0.5
    axes.set_xlim(ordered[0] - margin, ordered[-1] + margin)
    lowest = min(min(point.low, point.mean) for point in all_points)
    is_crowded = len(curves) > FEW_LINES and lowest >= 0
    axes.set_yticks([fifth / 5 for fifth in range(-5 if lowest < 0 else 0, 6)])  # widens the limits
    axes.set_ylim(math.floor(5 * lowest) / 5 - 0.02 if is_crowded else min(-0.02, lowest - 0.05), 1.03)


def draw_level(axes: "Axes", level: float) -> None:
    """Draw a level to compare with, such as the accuracy of the most frequent label."""
    axes.axhline(level, **LEVEL_LOOK)


def legend(figure: "Figure", entries: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the legend above the panels, where it covers no data; as many columns as the names leave room for."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], **settings) for settings in entries.values()]
    names = [textwrap.fill(name, _LEGEND_LETTERS) for name in entries]
    num_columns = _legend_columns([min(len(name), _LEGEND_LETTERS) for name in entries])
    figure.legend(handles, names, loc="outside upper left", ncols=num_columns, handlelength=3.0)


def _legend_columns(lengths: Sequence[int]) -> int:
    """The most columns in which names of so many letters fit, going down one column after another."""
    for num_columns in range(len(lengths), 1, -1):
        # Matplotlib gives each of the first columns one name more where they cannot be equally long.
        size, rest = divmod(len(lengths), num_columns)
        starts = [size * column + min(column, rest) for column in range(num_columns + 1)]
        # About 92 letters fit the width, and an entry's line takes the room of nine.
        if sum(max(lengths[start:stop]) + 9 for start, stop in pairwise(starts)) <= 92:
            return num_columns
    return 1


def count_axis(axes: "Axes", most: float, noun: str) -> None:
    """Label an axis of large counts in units that keep its numbers short."""
    units = ((1e9, "billions"), (1e6, "millions"), (1e4, "thousands"))
    size, unit = next(((1e3 if size == 1e4 else size, unit) for size, unit in units if most >= size), (1.0, ""))
    axes.locator_params(axis="x", nbins=5)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value / size:g}")
    axes.set_xlabel(f"{noun} ({unit})" if unit else noun)


def _places(counts: Sequence[float]) -> dict[float, float]:
    """Where counts lie on an axis of doublings; zero lies one doubling below the smallest other count."""
    positive = [count for count in counts if count > 0]
    zero = math.log2(positive[0]) - 1 if positive else 0.0
    return {count: math.log2(count) if count > 0 else zero for count in counts}


def _apart(places: Mapping[float, float], letter: float) -> list[float]:
    """The counts, left to right, whose labels do not run into the one before, for this width of a letter."""
    kept: list[float] = []
    for count, place in places.items():
        letters = (len(format_count(count)) + len(format_count(kept[-1]))) / 2 + 1.5 if kept else 0.0
        if not kept or place - places[kept[-1]] >= letters * letter:
            kept.append(count)
    return kept


def _num_columns(axes: "Axes") -> int:
    spec = axes.get_subplotspec()
    return spec.get_gridspec().ncols if spec else 1


def _room(axes: "Axes") -> int:
    """About how many letters fit the width of a panel."""
    return {1: 76, 2: 34}.get(_num_columns(axes), 20)
