"""The description's pictures: rows and click rate over time and along numbers, and the long tail of users and items."""

import math
from datetime import datetime, timedelta

from elec.describe.summary import Activity, Numbers, Timeline
from elec.ingest.report import SPLITS
from elec.runs.page.charts import Chart, Series, line_chart
from elec.runs.page.numbers import compact
from elec.runs.page.panels import Panels, Slot, panels

_DAY = 86_400
_UNITS = ((7 * _DAY, "week"), (_DAY, "day"), (3600, "hour"), (60, "minute"))
_LABELS = 7


def time_panels(timeline: Timeline) -> Panels:
    """Rows and click rate over time."""
    spans = timeline.spans
    slots = [
        Slot(
            _moment(span.start, timeline.seconds),
            tuple(part.rows for part in span.parts),
            sum(part.clicks for part in span.parts),
        )
        for span in spans
    ]
    step = max(1, math.ceil(len(spans) / _LABELS))
    labels = [
        (number + 0.5, _short(spans[number].start, spans[0].start, timeline.seconds)) for number in range(0, len(spans), step)
    ]
    size, name = next((size, name) for size, name in _UNITS if timeline.seconds % size == 0)
    times = timeline.seconds // size
    unit = name if times == 1 else f"{times} {name}s"
    return panels(f"By {unit}", slots, labels, unit=unit, parts=SPLITS, linked=True)


def number_panels(numbers: Numbers, unit: str) -> Panels:
    """Rows and click rate along a number."""
    bins = numbers.bins
    one_each = numbers.scale == "values"
    last = len(bins) - 1
    slots = [
        Slot(
            _number(one.low)
            if one_each
            else f"below {_number(one.high)}"
            if number == 0 and numbers.least < one.low
            else f"{_number(one.low)} and more"
            if number == last and numbers.most >= one.high
            else f"{_number(one.low)} to {_number(one.high)}",
            (one.rows,),
            one.clicks,
        )
        for number, one in enumerate(bins)
    ]
    if one_each:
        step = max(1, math.ceil(len(bins) / 12))
        labels = [(number + 0.5, _number(bins[number].low)) for number in range(0, len(bins), step)]
    elif numbers.scale == "linear":
        edges = [one.low for one in bins] + [bins[-1].high]
        step = max(1, math.ceil(len(edges) / 8))
        labels = [(float(number), _number(edges[number])) for number in range(0, len(edges), step)]
    else:
        labels = _powers(numbers)
    beyond = [
        *(["the first bar"] if numbers.least < bins[0].low else []),
        *(["the last bar"] if numbers.most >= bins[-1].high and not one_each else []),
    ]
    note = f"What is beyond is in {' and '.join(beyond)}." if beyond else ""
    return panels("Rows and click rate", slots, labels, unit=unit, note=note)


def tail_charts(users: Activity, items: Activity) -> tuple[Chart | None, Chart | None]:
    """Rows by rank, and the share of rows that the most active have."""
    sides = (("users", users), ("items", items))
    ranks = line_chart(
        "Rows of each, by rank",
        [Series(name, [(float(rank), float(rows)) for rank, rows in side.ranks]) for name, side in sides],
        x_label="rank, the most active first",
        y_label="rows",
        logarithmic=True,
    )
    shares = line_chart(
        "Share of rows that the most active have",
        [Series(name, side.shares) for name, side in sides],
        x_label="share of users, or of items",
        y_label="share of rows",
        square=(0.0, 1.0),
    )
    return ranks, shares


def _powers(numbers: Numbers) -> list[tuple[float, str]]:
    """Round numbers on a logarithmic axis, as places among the bins."""
    into = math.log if numbers.scale == "log" else math.log1p
    low, high = numbers.bins[0].low, numbers.bins[-1].high
    start, end = into(low), into(high)
    powers = range(math.floor(math.log10(max(low, 1e-300))), math.ceil(math.log10(high)) + 1)
    powers = powers if numbers.scale == "log" else range(math.ceil(math.log10(high)) + 1)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        found = [factor * 10.0**power for power in powers for factor in factors]
        found = [value for value in ([0.0, *found] if numbers.scale == "log1p" else found) if low <= value <= high]
        if len(found) <= 10:
            break
    step = max(1, math.ceil(len(found) / 10))
    return [((into(value) - start) / (end - start) * len(numbers.bins), _number(value)) for value in found[::step]]


def _number(value: float) -> str:
    return compact(value) if abs(value) >= 10_000 or value != round(value) else f"{value:.0f}"


def _moment(start: datetime, seconds: int) -> str:
    if seconds < _DAY:
        return f"{start:%Y-%m-%d %H:%M}"
    if seconds == _DAY:
        return f"{start:%Y-%m-%d}"
    return f"{start:%Y-%m-%d} to {start + timedelta(seconds=seconds - _DAY):%Y-%m-%d}"


def _short(start: datetime, first: datetime, seconds: int) -> str:
    if seconds >= _DAY:
        return f"{start:%Y-%m-%d}"
    return f"{start:%H:%M}" if start.date() == first.date() and start != first else f"{start:%m-%d %H:%M}"
