"""Crossed fields: how many combinations the kept rows have, which are frequent, and their click rates.

A combination counts as the encoder would count it: a number by its bucket, of lists the first pairs of their values.
"""

# ruff: noqa: S608 - names and paths are quoted by elec.ingest.sql, everything else is a number of ours

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import pairwise

from elec.describe.fields import LONGEST, TOP, shortened
from elec.describe.log import Log
from elec.describe.numbers import distribution
from elec.describe.summary import Counted, FieldSummary, Value
from elec.describe.words import figure
from elec.features.buckets import Buckets
from elec.features.order_statistics import SortedRuns
from elec.ingest.sql import Sql
from elec.spec import CrossedField, FieldSpec, Kind

#: Between the values of a combination.
BETWEEN = " \u00d7 "

# Numbers that are read at once to place the edges of buckets.
_NUMBERS = 131_072
# Of a list so many values are looked at: finding those that come twice takes the square of it.
_LOOKED_AT = 1000


def summarise_crossed(log: Log, total: Counted) -> Iterator[FieldSummary]:
    """Summarises all crossed fields of a log, one after the other.

    Args:
        log: The rows.
        total: The kept rows.
    """
    fields = log.spec.crossed_fields
    if not fields:
        return
    known = {field.name: field for field in log.spec.all_fields}
    names = dict.fromkeys(name for field in fields for name in field.parents)
    parents = {name: (known[name], f"c{place}") for place, name in enumerate(names)}
    # All of them are made of this table, so the side tables are joined once.
    log.database.run(f"CREATE TABLE together AS {log.together([field for field, _ in parents.values()])}")
    edges = _edges(log.database, parents)
    for field in fields:
        yield _summary(log.database, field, parents, edges, total)


def bucket_names(edges: tuple[float, ...] | None) -> list[str]:
    """What the buckets between edges are called, from low to high."""
    if not edges:
        return ["any"]
    between = [f"{figure(low)} to {figure(high)}" for low, high in pairwise(edges)]
    return [f"below {figure(edges[0])}", *between, f"{figure(edges[-1])} and more"]


def _edges(database: Sql, parents: Mapping[str, tuple[FieldSpec, str]]) -> dict[str, tuple[float, ...] | None]:
    """Where the buckets of the numeric parents end, as training would place them."""
    found = {}
    with ExitStack() as stack:
        for name, (field, column) in parents.items():
            if field.kind is not Kind.NUMERIC:
                continue
            runs = stack.enter_context(SortedRuns())
            numbers = f"""SELECT {column} AS value, count(*) AS rows FROM together
                          WHERE split = 0 AND {column} IS NOT NULL GROUP BY value ORDER BY value"""
            for batch in database.stream(numbers, _NUMBERS):
                runs.add(name, batch.column("value").to_numpy(), batch.column("rows").to_numpy())
            found[name] = Buckets.fit(field, runs.of(name)).edges
    return found


def _summary(
    database: Sql,
    field: CrossedField,
    parents: Mapping[str, tuple[FieldSpec, str]],
    edges: Mapping[str, tuple[float, ...] | None],
    total: Counted,
) -> FieldSummary:
    parts = [_part(*parents[name], edges.get(name)) for name in field.parents]
    named = [f"p{place}" for place in range(len(parts))]
    rows = f"SELECT label, {', '.join(f'{part} AS {name}' for part, name in zip(parts, named, strict=True))} FROM together"
    numbers = None
    if field.kind is Kind.MULTIVALUED:
        lists = [parents[name][0].kind is Kind.MULTIVALUED for name in field.parents]
        rows = _sized(rows, named, lists, field.width)
        sizes = f"SELECT many::DOUBLE AS value, 1 AS rows, label AS clicks FROM ({rows}) WHERE many IS NOT NULL"
        database.run(f"CREATE OR REPLACE TABLE sized AS {_counted(['value'], sizes)}")
        numbers = distribution(database, "sized")
        having, clicked = database.one("SELECT coalesce(sum(rows), 0)::BIGINT, coalesce(sum(clicks), 0)::BIGINT FROM sized")
        rows = _taken(rows, named, lists)
    there = " AND ".join(f"{name} IS NOT NULL" for name in named)
    each = f"SELECT {', '.join(named)}, 1 AS rows, label AS clicks FROM ({rows}) WHERE {there}"
    database.run(f"CREATE OR REPLACE TABLE combined AS {_counted(named, each)}")
    (distinct,) = database.one("SELECT count(*) FROM combined")
    if field.kind is not Kind.MULTIVALUED:
        having, clicked = database.one("SELECT coalesce(sum(rows), 0)::BIGINT, coalesce(sum(clicks), 0)::BIGINT FROM combined")
    found = database.query(
        f"""SELECT {", ".join(f"left({name}::VARCHAR, {LONGEST + 1}) AS {name}" for name in named)}, rows, clicks
            FROM combined ORDER BY rows DESC, {", ".join(f"combined.{name}" for name in named)} LIMIT {TOP}"""
    ).to_pylist()
    named_parts = [bucket_names(edges[name]) if name in edges else None for name in field.parents]
    top = []
    for row in found:
        texts = [row[name] if names is None else names[int(row[name])] for name, names in zip(named, named_parts, strict=True)]
        value = BETWEEN.join(shortened(text, LONGEST // len(texts)) for text in texts)
        top.append(Value(value=value, rows=row["rows"], clicks=row["clicks"]))
    return FieldSummary(
        name=field.name,
        of=field.of,
        kind=field.kind,
        key=False,
        made_of=field.parents,
        rows=total.rows,
        missing=Counted(rows=total.rows - having, clicks=total.clicks - clicked),
        distinct=distinct,
        top=tuple(top),
        numbers=numbers,
    )


def _part(field: FieldSpec, column: str, edges: tuple[float, ...] | None) -> str:
    """The SQL of what a parent gives to a combination; null where it is missing, and for a list without a value."""
    if field.kind is Kind.NUMERIC:
        return f"CASE WHEN {column} IS NOT NULL THEN {_bucket(column, edges or (), 0)} END"
    if field.kind is Kind.MULTIVALUED:
        first = f"list_filter({column}[:{_LOOKED_AT}], lambda x, i: x <> '' AND list_position({column}, x) = i)"
        return f"nullif({first}[:{field.width}], [])"
    return f"nullif({column}, '')"


def _bucket(column: str, edges: tuple[float, ...], first: int) -> str:
    """The SQL of the bucket of a number: halves, and halves of them."""
    if not edges:
        return str(first)
    middle = len(edges) // 2
    low, high = _bucket(column, edges[:middle], first), _bucket(column, edges[middle + 1 :], first + middle + 1)
    return f"CASE WHEN {column} < {edges[middle]!r}::DOUBLE THEN {low} ELSE {high} END"


def _sized(rows: str, named: list[str], lists: list[bool], most: int) -> str:
    """The SQL of rows with the number of their combinations, `many`; null where a part is missing."""
    many = " * ".join(f"len({name})" for name, listed in zip(named, lists, strict=True) if listed)
    there = " AND ".join(f"{name} IS NOT NULL" for name in named)
    return f"SELECT *, CASE WHEN {there} THEN least({many}, {most}) END AS many FROM ({rows})"


def _taken(rows: str, named: list[str], lists: list[bool]) -> str:
    """The SQL of a row for each combination: the last list's values change fastest."""
    numbered = f"SELECT *, unnest(range(many)) AS number FROM ({rows}) WHERE many IS NOT NULL"
    columns, step = [], "1"
    for name, listed in zip(reversed(named), reversed(lists), strict=True):
        columns.append(f"{name}[1 + (number // ({step})) % len({name})] AS {name}" if listed else name)
        step = f"{step} * len({name})" if listed else step
    return f"SELECT label, {', '.join(columns[::-1])} FROM ({numbered})"


def _counted(columns: list[str], source: str) -> str:
    keys = ", ".join(columns)
    return f"SELECT {keys}, sum(rows)::BIGINT AS rows, sum(clicks)::BIGINT AS clicks FROM ({source}) GROUP BY {keys}"
