"""One field at a time: how often it is there, its values and their click rates."""

# ruff: noqa: S608 - names and paths are quoted by elec.ingest.sql, everything else is a number of ours

from elec.describe.log import Log
from elec.describe.numbers import distribution
from elec.describe.summary import Counted, FieldSummary, Value
from elec.ingest.sql import Sql
from elec.spec import FieldSpec, Kind

#: The most frequent values that are shown.
TOP = 10
#: Characters of a value that are kept.
LONGEST = 120

_MEASURES = {Kind.NUMERIC: "value", Kind.TEXT: "len(regexp_extract_all(value, '\\S+'))", Kind.MULTIVALUED: "len(value)"}


def summarise_field(log: Log, field: FieldSpec, total: Counted) -> FieldSummary:
    """Summarises a field.

    Args:
        log: The rows.
        field: The field.
        total: The kept rows.
    """
    key = field.name in {log.spec.user, log.spec.item}
    return summarise_values(log.database, field, log.values(field), total, key=key)


def summarise_values(
    database: Sql, field: FieldSpec, values: str, total: Counted, *, key: bool = False, made_of: tuple[str, ...] = ()
) -> FieldSummary:
    """Summarises the values of a field.

    Args:
        database: Has the values.
        field: The field.
        values: A query with columns `value`, `rows` and `clicks`, one value in any number of them.
        total: The kept rows.
        key: Whether it is the user's or the item's key.
        made_of: What elec made it of.
    """
    counted = _counted("value", f"({values})")
    # Everything else is made of the distinct values, which are read once.
    database.run(f"CREATE OR REPLACE TABLE counted AS {counted}")
    distinct, there, clicked = database.one(
        "SELECT count(*), coalesce(sum(rows), 0)::BIGINT, coalesce(sum(clicks), 0)::BIGINT FROM counted"
    )
    numbers = None
    if field.kind in _MEASURES:
        measured = "counted"
        if field.kind is not Kind.NUMERIC:
            measure = f"(SELECT ({_MEASURES[field.kind]})::DOUBLE AS value, rows, clicks FROM counted)"
            database.run(f"CREATE OR REPLACE TABLE measured AS {_counted('value', measure)}")
            measured = "measured"
        numbers = distribution(database, measured)
    if field.kind is Kind.MULTIVALUED:
        # A value that a row has twice is one value of that row.
        single = "(SELECT unnest(list_distinct(value)) AS value, rows, clicks FROM counted)"
        database.run(f"CREATE OR REPLACE TABLE counted AS {_counted('value', single)}")
        (distinct,) = database.one("SELECT count(*) FROM counted")
    top = []
    if field.kind is not Kind.NUMERIC:
        top = database.query(
            f"""SELECT left(value, {LONGEST + 1}) AS value, rows, clicks FROM counted
                ORDER BY rows DESC, counted.value LIMIT {TOP}"""
        ).to_pylist()
    return FieldSummary(
        name=field.name,
        of=field.of,
        kind=field.kind,
        key=key,
        made_of=made_of,
        rows=total.rows,
        missing=Counted(rows=total.rows - there, clicks=total.clicks - clicked),
        distinct=distinct,
        top=tuple(Value(value=shortened(row["value"]), rows=row["rows"], clicks=row["clicks"]) for row in top),
        numbers=numbers,
    )


def _counted(column: str, source: str) -> str:
    return f"""SELECT {column} AS value, sum(rows)::BIGINT AS rows, sum(clicks)::BIGINT AS clicks
               FROM {source} WHERE {column} IS NOT NULL GROUP BY {column}"""


def shortened(value: str, longest: int = LONGEST) -> str:
    """A value's first characters."""
    return value if len(value) <= longest else f"{value[: longest - 1]}…"
