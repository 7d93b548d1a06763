"""Line charts as plain SVG figures: scales, ticks and paths are computed here, `parts/chart.html` draws them.

The drawing has classes, not colours: the page's style sheet knows light and dark.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from elec.runs.page.numbers import compact

#: The drawing's size and margins, in SVG units.
WIDTH, HEIGHT = 440, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 10, 40
_MOST_POINTS = 200


@dataclass(frozen=True)
class Series:
    """A line: its name chooses its look.

    Attributes:
        name: `vanilla`, `gain`, `plain`, `champion`, `train`, `valid`.
        points: (x, y), in x's order.
        marked: The x of a point to mark (the best epoch).
        dots: Whether each point is drawn.
    """

    name: str
    points: Sequence[tuple[float, float]]
    marked: float | None = None
    dots: bool = False


@dataclass(frozen=True)
class Tick:
    """A grid line: where, and its label."""

    at: float
    label: str


@dataclass(frozen=True)
class Line:
    """A series in SVG units."""

    name: str
    path: str
    dots: tuple[tuple[float, float], ...]
    mark: tuple[float, float, str] | None


@dataclass(frozen=True)
class Chart:
    """A chart, ready to be drawn."""

    title: str
    x_label: str
    y_label: str
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    lines: tuple[Line, ...]
    diagonal: str
    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    top: int = _TOP
    bottom: int = HEIGHT - _BOTTOM


def line_chart(
    title: str,
    series: Sequence[Series],
    *,
    x_label: str,
    y_label: str,
    square: tuple[float, float] | None = None,
    whole_x: bool = False,
    logarithmic: bool = False,
) -> Chart | None:
    """Lays out a chart.

    Args:
        title: Above it.
        series: The lines, the most important first; points that are not finite are left out.
        x_label: Below it.
        y_label: Beside it.
        square: One range for both axes, with the diagonal drawn; left out, the range follows from the points.
        whole_x: Whether x counts whole things (epochs).
        logarithmic: Whether both axes are; the points are positive.

    Returns:
        The chart, or None if there is nothing to draw.
    """
    kept = [
        Series(one.name, [point for point in one.points if all(math.isfinite(part) for part in point)], one.marked, one.dots)
        for one in series
    ]
    kept = [one for one in kept if one.points]
    if not kept:
        return None
    if logarithmic:
        kept = [Series(one.name, [(math.log10(x), math.log10(y)) for x, y in one.points], dots=one.dots) for one in kept]
    xs = [x for one in kept for x, _ in one.points]
    ys = [y for one in kept for _, y in one.points]
    x_range = square or (min(xs), max(xs))
    y_range = square or _padded(min(ys), max(ys))
    if x_range[0] == x_range[1]:
        x_range = (x_range[0] - 0.5, x_range[1] + 0.5)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (min(max(x, x_range[0]), x_range[1]) - x_range[0]) / (x_range[1] - x_range[0])
        up = (min(max(y, y_range[0]), y_range[1]) - y_range[0]) / (y_range[1] - y_range[0])
        return (
            round(_LEFT + across * (WIDTH - _LEFT - _RIGHT), 1),
            round(HEIGHT - _BOTTOM - up * (HEIGHT - _TOP - _BOTTOM), 1),
        )

    marks = _powers if logarithmic else ticks
    whole_x = whole_x or logarithmic
    lines = []
    for one in reversed(kept):
        placed = [place(*point) for point in _thinned(one.points)]
        mark = next(((*place(x, y), f"{one.name}, epoch {x:g}: {y:.4f}") for x, y in one.points if x == one.marked), None)
        path = "M" + "L".join(f"{x:g},{y:g}" for x, y in placed)
        lines.append(Line(one.name, path, tuple(placed) if one.dots or len(placed) == 1 else (), mark))
    corners = place(x_range[0], x_range[0]), place(x_range[1], x_range[1])
    return Chart(
        title=title,
        x_label=x_label,
        y_label=y_label,
        x_ticks=tuple(Tick(place(value, y_range[0])[0], label) for value, label in marks(*x_range, whole=whole_x)),
        y_ticks=tuple(Tick(place(x_range[0], value)[1], label) for value, label in marks(*y_range)),
        lines=tuple(lines),
        diagonal="M{:g},{:g}L{:g},{:g}".format(*corners[0], *corners[1]) if square else "",
    )


def ticks(low: float, high: float, *, whole: bool = False, about: int = 5) -> list[tuple[float, str]]:
    """Round values between two bounds, with labels of one length.

    Args:
        low: The lower bound.
        high: The upper bound, above `low`.
        whole: Whether only whole numbers make sense.
        about: How many, roughly.
    """
    rough = (high - low) / about
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    if whole:
        step = max(1.0, round(step))
    digits = max(0, -math.floor(math.log10(step) + 1e-9))
    first = math.ceil(low / step - 1e-9)
    last = math.floor(high / step + 1e-9)
    return [(number * step, f"{number * step:.{digits}f}") for number in range(first, last + 1)]


def _powers(low: float, high: float, *, whole: bool = True) -> list[tuple[float, str]]:
    """Ticks of a logarithmic axis: powers of ten, whole ones, between two exponents."""
    return [(at, compact(10.0**at)) for at, _ in ticks(low, high, whole=whole)]


def _padded(low: float, high: float) -> tuple[float, float]:
    room = (high - low) * 0.06 or abs(high) * 0.05 or 0.5
    return low - room, high + room


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """At most a few hundred points; first and last stay."""
    stride = max(1, math.ceil(len(points) / _MOST_POINTS))
    return [*points[:-1:stride], points[-1]]
