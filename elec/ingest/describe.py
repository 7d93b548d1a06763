"""What is in an ingested data set, field by field: for people who look at their log before they train on it."""

# ruff: noqa: S608 - names and paths are quoted by elec.ingest.sql, everything else is a number of ours

import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from elec.ingest.report import SPLITS, Ingested
from elec.ingest.sql import Sql, name, text
from elec.spec import DatasetSpec, Entity, FieldSpec, Kind

_TOP = 3


@dataclass(frozen=True)
class FieldSummary:
    """One field.

    Attributes:
        spec: The field.
        rows: Rows it was counted over: the kept rows, or the users' or items' table.
        distinct: Distinct values; of a multi-valued field, distinct single values.
        missing: Share of rows without a value.
        top: The most frequent values and the share of rows (with a value) that have them; numbers have none.
        quantiles: Smallest, middle and largest: of numbers the value, of text its words, of multi-valued fields its values.
    """

    spec: FieldSpec
    rows: int
    distinct: int
    missing: float
    top: tuple[tuple[str, float], ...] = field(default=())
    quantiles: tuple[float, float, float] | None = None


def describe(ingested: Ingested, spec: DatasetSpec) -> list[FieldSummary]:
    """Summarises every field, keys first, in the spec's order.

    Args:
        ingested: The data set; memory stays bounded whatever its size.
        spec: What it is.
    """
    paths = {
        Entity.USER: [ingested.users],
        Entity.ITEM: [ingested.items],
        Entity.CONTEXT: [ingested.split(split) for split in SPLITS],
    }
    keys = {spec.user, spec.item}
    with tempfile.TemporaryDirectory() as spill:
        database = Sql(Path(spill))
        try:
            return [
                _summary(database, field, paths[Entity.CONTEXT if field.name in keys else field.of])
                for field in spec.all_fields
            ]
        finally:
            database.close()


def _summary(database: Sql, field: FieldSpec, paths: list[Path]) -> FieldSummary:
    files = ", ".join(text(str(path)) for path in paths)
    source = f"(SELECT {name(field.name)} AS value FROM read_parquet([{files}]))"
    rows, missing = database.one(f"SELECT count(*), count(*) FILTER (value IS NULL) FROM {source}")
    measure = {
        Kind.NUMERIC: "value",
        Kind.TEXT: "len(string_split_regex(trim(value), '\\s+'))",
        Kind.MULTIVALUED: "len(value)",
    }.get(field.kind)
    quantiles = None
    if measure is not None and rows > missing:
        low, middle, high = database.one(
            f"SELECT min(m), approx_quantile(m, 0.5), max(m) FROM (SELECT {measure} AS m FROM {source} WHERE value IS NOT NULL)"
        )
        quantiles = (float(low), float(middle), float(high))
    single = f"(SELECT unnest(value) AS value FROM {source})" if field.kind is Kind.MULTIVALUED else source
    (distinct,) = database.one(f"SELECT count(*) FROM (SELECT DISTINCT value FROM {single} WHERE value IS NOT NULL)")
    top: tuple[tuple[str, float], ...] = ()
    if field.kind in {Kind.CATEGORICAL, Kind.MULTIVALUED}:
        found = database.query(
            f"""SELECT value, count(*) AS rows FROM {single} WHERE value IS NOT NULL
                GROUP BY value ORDER BY rows DESC, value LIMIT {_TOP}"""
        ).to_pylist()
        top = tuple((row["value"], row["rows"] / (rows - missing)) for row in found)
    return FieldSummary(field, rows, distinct, missing / rows if rows else 0.0, top, quantiles)
