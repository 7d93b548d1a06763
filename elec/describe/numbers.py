"""How numbers are distributed, and the click rate along them."""

# ruff: noqa: S608 - the query is our own, everything else is a number of ours

import math
from itertools import pairwise

from elec.describe.summary import Bin, Numbers, Scale
from elec.ingest.sql import Sql
from elec.runs.page.charts import ticks

#: Up to so many different numbers have a bin each.
MOST_VALUES = 24
#: About so many bins are made of more.
BINS = 24

_PERCENTILES = {"p1": 0.01, "p25": 0.25, "median": 0.5, "p75": 0.75, "p99": 0.99}
_AXES = {"linear": "value", "log": "ln(greatest({low}, value))", "log1p": "ln(1 + value)"}


def distribution(database: Sql, table: str) -> Numbers | None:
    """Summarises numbers.

    Args:
        database: Has the table.
        table: With columns `value`, `rows` and `clicks`, one row a value, none of them null.

    Returns:
        The summary, or None if the table is empty.
    """
    distinct, rows = database.one(f"SELECT count(*), sum(rows)::BIGINT FROM {table}")
    if not distinct:
        return None
    # Shares, not a sum over all rows: that may be beyond the largest double.
    mean, least, most, whole = database.one(
        f"SELECT sum(value * (rows / {rows})), min(value), max(value), bool_and(value = floor(value)) FROM {table}"
    )
    asked = ", ".join(f"min(value) FILTER (below >= {share} * {rows})" for share in _PERCENTILES.values())
    found = database.one(f"SELECT {asked} FROM (SELECT value, sum(rows) OVER (ORDER BY value) AS below FROM {table})")
    percentiles = {name: float(value) for name, value in zip(_PERCENTILES, found, strict=True)}
    scale: Scale = "values" if distinct <= MOST_VALUES else scale_of(least, percentiles)
    if scale == "values":
        one_each = database.query(f"SELECT value, rows::BIGINT AS rows, clicks::BIGINT AS clicks FROM {table} ORDER BY value")
        bins = tuple(
            Bin(low=float(row["value"]), high=float(row["value"]), rows=row["rows"], clicks=row["clicks"])
            for row in one_each.to_pylist()
        )
    else:
        bins = _bins(database, table, scale, edges(scale, percentiles["p1"], percentiles["p99"], whole=whole))
    return Numbers(distinct=distinct, mean=mean, least=least, most=most, scale=scale, bins=bins, **percentiles)


def scale_of(least: float, percentiles: dict[str, float]) -> Scale:
    """A logarithm where most numbers are small and some are large."""
    low, median, high = (percentiles[name] for name in ("p1", "median", "p99"))
    if high - median <= 8 * (median - low) and (low <= 0 or high <= 100 * low):
        return "linear"
    if low > 0 and high > 10 * low:
        return "log"
    return "log1p" if least >= 0 and high > 10 else "linear"


def edges(scale: Scale, low: float, high: float, *, whole: bool) -> list[float]:
    """The edges of the bins between two percentiles: round ones, or equally far apart on the logarithm.

    Args:
        scale: How the range is cut.
        low: The lower percentile.
        high: The upper one.
        whole: Whether every number is a whole one.
    """
    if scale != "linear":
        into, back = (math.log, math.exp) if scale == "log" else (math.log1p, math.expm1)
        start, end = into(low), into(high)
        return [back(start + (end - start) * step / BINS) for step in range(BINS + 1)]
    if not high - low > max(abs(low), abs(high), 1e-280) * 1e-9:
        high = low + max(1.0, abs(low) * 1e-9)
    if math.isinf(high - low):
        return [low / 2, 0.0, high / 2]
    round_ones = [at for at, _ in ticks(low, high, whole=whole, about=BINS)]
    step = round_ones[1] - round_ones[0] if len(round_ones) > 1 else high - low
    start = math.floor(low / step) * step
    count = max(1, math.floor((high - start) / step + 1e-9) + 1)
    return [start + number * step for number in range(count + 1)]


def _bins(database: Sql, table: str, scale: Scale, limits: list[float]) -> tuple[Bin, ...]:
    count = len(limits) - 1
    axis = _AXES[scale].format(low=repr(limits[0]))
    start, end = (
        math.log(limit) if scale == "log" else math.log1p(limit) if scale == "log1p" else limit
        for limit in (limits[0], limits[-1])
    )
    place = f"greatest(0, least({count - 1}, floor(({axis} - {start!r}) / {(end - start) / count!r})))::INTEGER"
    found = database.query(
        f"SELECT {place} AS bin, sum(rows)::BIGINT AS rows, sum(clicks)::BIGINT AS clicks FROM {table} GROUP BY bin"
    ).to_pylist()
    counts = {row["bin"]: (row["rows"], row["clicks"]) for row in found}
    return tuple(
        Bin(low=low, high=high, rows=rows, clicks=clicks)
        for number, (low, high) in enumerate(pairwise(limits))
        for rows, clicks in [counts.get(number, (0, 0))]
    )
