"""Bars of rows above, their click rate below, on one axis: positions are computed here, `parts/panels.html` draws them.

Across the drawing everything is in percent and down it in pixels, so that it fills any width with text of one size.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from elec.runs.page.charts import Tick, ticks
from elec.runs.page.numbers import compact, count, percent

#: Down the drawing: the bars' panel, the rates' panel, the labels of the axis, in pixels.
HEIGHT = 262
_BARS = (24, 118)
_RATES = (158, 228)
#: A rate's interval is on the axis if it has so many rows, the rate itself if it has so many, unless none has.
_ENOUGH, _SOME = 50, 10
#: So many labels have room in a narrow window.
_NARROW = 4
#: Of a normal distribution, 95%.
_Z = 1.959964


@dataclass(frozen=True)
class Slot:
    """A place on the axis.

    Attributes:
        label: What it stands for.
        rows: By part; the parts lie on one another.
        clicks: Of all of them.
    """

    label: str
    rows: tuple[int, ...]
    clicks: int


@dataclass(frozen=True)
class Bar:
    """A part of a bar, in percent across and pixels down."""

    part: str
    at: float
    width: float
    top: float
    height: float


@dataclass(frozen=True)
class Rate:
    """A click rate and its interval; one that is beyond the axis is drawn at its edge."""

    at: float
    y: float
    low: float
    high: float
    beyond: bool


@dataclass(frozen=True)
class Touch:
    """Where a pointer finds what a slot holds."""

    at: float
    width: float
    text: str


@dataclass(frozen=True)
class Label:
    """A label of the axis; minor ones go first where there is little room."""

    at: float
    text: str
    anchor: str
    minor: bool


@dataclass(frozen=True)
class Panels:
    """A drawing, and the table that says the same.

    Attributes:
        title: Above it.
        about: What it shows, in a sentence.
        unit: What a slot is, for the table.
        parts: The names of the bars' parts; one if they have none.
        note: What has to be known to read it.
        table: Slot, rows of each part, clicks, click rate.
    """

    title: str
    about: str
    unit: str
    parts: tuple[str, ...]
    note: str
    bars: tuple[Bar, ...]
    rates: tuple[Rate, ...]
    links: tuple[tuple[Rate, Rate], ...]
    touches: tuple[Touch, ...]
    labels: tuple[Label, ...]
    row_ticks: tuple[Tick, ...]
    rate_ticks: tuple[Tick, ...]
    overall: float
    table: tuple[tuple[str, ...], ...]
    height: int = HEIGHT
    bars_end: int = _BARS[1]
    rates_end: int = _RATES[1]


def panels(
    title: str,
    slots: Sequence[Slot],
    labels: Sequence[tuple[float, str]],
    *,
    unit: str,
    parts: tuple[str, ...] = ("rows",),
    linked: bool = False,
    note: str = "",
) -> Panels:
    """Lays out a drawing.

    Args:
        title: Above it.
        slots: From left to right, equally wide; at least one, and not all of them empty.
        labels: Of the axis: (slot, text), where 0.5 is the middle of the first slot.
        unit: What a slot is.
        parts: The names of the bars' parts.
        linked: Whether the rates of neighbours are joined by a line.
        note: What has to be known to read it.
    """
    width = 100 / len(slots)
    totals = [sum(slot.rows) for slot in slots]
    scale = ticks(0, max(totals), whole=True, about=5)
    top = max(max(totals), scale[-1][0])
    bars = []
    for number, slot in enumerate(slots):
        below = 0
        for part, rows in zip(parts, slot.rows, strict=True):
            if rows:
                high, low = (_down(_BARS, value / top) for value in (below + rows, below))
                # A row is a row: it shows.
                height = max(low - high, 1.0)
                bars.append(Bar(part, _r(number * width + width * 0.08), _r(width * 0.84), _r(low - height), _r(height)))
                below += rows
    overall = sum(slot.clicks for slot in slots) / sum(totals)
    intervals = [(slot, total, interval(slot.clicks, total)) for slot, total in zip(slots, totals, strict=True)]
    low, high = _range([(slot.clicks / total, ends, total) for slot, total, ends in intervals if total], overall)

    def down(rate: float) -> float:
        return _r(_down(_RATES, (rate - low) / (high - low)))

    rates: list[Rate | None] = [
        Rate(
            at=_r((number + 0.5) * width),
            y=down(slot.clicks / total),
            low=down(ends[0]),
            high=down(ends[1]),
            beyond=not low <= slot.clicks / total <= high,
        )
        if total
        else None
        for number, (slot, total, ends) in enumerate(intervals)
    ]
    rate_ticks = ticks(100 * low, 100 * high, about=4)
    beyond = "A hollow dot lies beyond the axis." if any(rate and rate.beyond for rate in rates) else ""
    texts = [_text(slot, total) for slot, total in zip(slots, totals, strict=True)]
    return Panels(
        title=title,
        about=f"Rows and click rate by {unit}, from {slots[0].label} to {slots[-1].label}; "
        f"most rows: {slots[totals.index(max(totals))].label}, {count(max(totals))}; click rate of all: {percent(overall, 2)}.",
        unit=unit,
        parts=parts,
        note=f"{note} {beyond}".strip(),
        bars=tuple(bars),
        rates=tuple(rate for rate in rates if rate is not None),
        links=tuple((one, other) for one, other in pairwise(rates) if linked and one is not None and other is not None),
        touches=tuple(Touch(_r(number * width), _r(width), text) for number, text in enumerate(texts)),
        labels=_labels(labels, width),
        row_ticks=tuple(Tick(_r(_down(_BARS, value / top)), compact(value)) for value, _ in scale),
        rate_ticks=tuple(Tick(down(value / 100), f"{text}%") for value, text in rate_ticks),
        overall=down(overall),
        table=tuple(
            (slot.label, *(count(rows) for rows in slot.rows), count(slot.clicks), percent(_share(slot.clicks, total), 2))
            for slot, total in zip(slots, totals, strict=True)
        ),
    )


def interval(clicks: int, rows: int) -> tuple[float, float]:
    """Wilson's 95% interval of a click rate (Wilson, JASA 1927); everything if there are no rows."""
    if not rows:
        return 0.0, 1.0
    rate = clicks / rows
    middle = rate + _Z**2 / (2 * rows)
    reach = _Z * math.sqrt(rate * (1 - rate) / rows + _Z**2 / (4 * rows**2))
    shrink = 1 + _Z**2 / rows
    return max(0.0, (middle - reach) / shrink), min(1.0, (middle + reach) / shrink)


def _range(rates: Sequence[tuple[float, tuple[float, float], int]], overall: float) -> tuple[float, float]:
    """The axis of the rates: what is known well enough is on it."""
    enough = min(_ENOUGH, max(rows for *_, rows in rates) / 2)
    known = [overall, *(end for _, ends, rows in rates for end in ends if rows >= enough)]
    known += [rate for rate, _, rows in rates if rows >= min(_SOME, enough)]
    low, high = min(known), max(known)
    room = max(0.08 * (high - low), 0.02 * overall, 1e-6)
    return max(0.0, low - room), min(1.0, high + room)


def _labels(labels: Sequence[tuple[float, str]], width: float) -> tuple[Label, ...]:
    made = []
    for number, (slot, text) in enumerate(labels):
        at = _r(slot * width)
        anchor = "start" if at < 5 else "end" if at > 93 else "middle"
        made.append(Label(at, text, anchor, minor=number % 2 == 1 and len(labels) > _NARROW))
    return tuple(made)


def _text(slot: Slot, total: int) -> str:
    return f"{slot.label}: {count(total)} rows, {percent(_share(slot.clicks, total), 2)} clicks"


def _share(clicks: int, rows: int) -> float | None:
    return clicks / rows if rows else None


def _down(panel: tuple[int, int], share: float) -> float:
    """How far down a share of a panel's height is; what is beyond stays at its edge."""
    top, bottom = panel
    return bottom - min(max(share, 0.0), 1.0) * (bottom - top)


def _r(value: float) -> float:
    return round(value, 2)
