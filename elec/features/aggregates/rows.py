"""The rows of an aggregate's view: of each of its keys what the numbers became at every tick at which they changed.

A tick stands at each whole multiple of `every` since 1970. An impression enters the numbers at the first tick after its label
is known, and leaves them one window later, so a number is a running sum of what enters and what leaves: DuckDB computes all of
them in whole numbers, from the log's rows counted by key and tick. A key that falls silent gets its last row when its last
impression leaves; what the online store answers then decays as the training frame does.

The prior of a rate is the share of clicks among all impressions, whoever's, that had entered by the tick of the row: nothing
later is in it, and it does not change until the key's own numbers do.
"""

# ruff: noqa: S608 - names are quoted, numbers are ours

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from elec.features.engine import duckdb_connection, quoted
from elec.ingest.report import NEGATIVES, SPLITS
from elec.progress import Progress
from elec.spec import DatasetSpec, Entity
from elec.spec.aggregates import Aggregate, AggregateView, microseconds

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def aggregate_rows(dataset: DatasetSpec, ingested: Path, folder: Path, as_of: datetime) -> dict[str, Path]:
    """Writes the rows of all views of a data set's aggregates.

    Args:
        dataset: The spec.
        ingested: The folder that ingest wrote.
        folder: Gets a file for each view, in a folder `aggregates`.
        as_of: Later ticks have no rows.

    Returns:
        The files, by view.
    """
    written: dict[str, Path] = {}
    if not dataset.aggregates:
        return written
    described = {Entity.USER: ingested / "users.parquet", Entity.ITEM: ingested / "items.parquet"}
    with Progress("count aggregates", unit="views", total=len(dataset.aggregates)) as progress:
        for aggregate, view in zip(dataset.aggregates, dataset.aggregate_views, strict=True):
            written[view.name] = folder / "aggregates" / f"{view.name}.parquet"
            written[view.name].parent.mkdir(exist_ok=True)
            write_rows(dataset, aggregate, ingested, described, written[view.name], as_of)
            progress.advance(1, note=aggregate.title)
    return written


def write_rows(
    dataset: DatasetSpec,
    aggregate: Aggregate,
    ingested: Path,
    described: Mapping[Entity, Path],
    target: Path,
    as_of: datetime,
) -> None:
    """Writes the rows of one view: its join keys, `event_timestamp` and its features, one a key and tick, in any order.

    Args:
        dataset: The spec.
        aggregate: One of its aggregates.
        ingested: The folder that ingest wrote.
        described: The rows of users and items as ingest wrote them, for aggregates by their fields.
        target: The Parquet file to write.
        as_of: Later ticks have no rows.
    """
    view = aggregate.view(dataset.user, dataset.item)
    files = [str(file) for name in (*SPLITS, NEGATIVES) if (file := ingested / f"{name}.parquet").exists()]
    parameters: dict[str, object] = {"files": files}
    joins, columns = [], []
    of_column = {field.name: field.of for field in dataset.all_fields}
    for column in view.columns:
        source, entity = "log", of_column[column]
        if column not in {dataset.user, dataset.item} and entity is not Entity.CONTEXT:
            source = entity.value
            if source not in parameters:
                parameters[source] = str(described[entity])
                key = quoted(dataset.key_of(entity))
                joins.append(
                    f"ASOF LEFT JOIN read_parquet(${source}) AS {quoted(source)} ON log.{key} = {quoted(source)}.{key} "
                    f"AND log.event_timestamp >= {quoted(source)}.event_timestamp"
                )
        columns.append(f"{quoted(source)}.{quoted(column)}")
    known = "epoch_us(log.event_timestamp)"
    if dataset.label.clicks is not None:
        known += f" + {dataset.label.clicks.within_us}"
    impressions = f"""
        CREATE TEMP TABLE impressions AS
        SELECT {", ".join(f"{column} AS {_key(place)}" for place, column in enumerate(columns))},
            {_next_tick(known, microseconds(aggregate.every))} AS tick,
            count(*) AS shown, sum(label)::BIGINT AS clicked
        FROM read_parquet($files) AS log {" ".join(joins)} GROUP BY ALL HAVING tick <= {_micros(as_of)}
    """
    with duckdb_connection() as connection:
        connection.execute(impressions, parameters)
        connection.execute(_RATES)
        connection.execute(f"COPY ({_rows(aggregate, view, _micros(as_of))}) TO '{target}' (FORMAT parquet)")


# The share of clicks among all impressions that had entered by a tick, those without a key included.
_RATES = """
    CREATE TEMP TABLE rates AS
    SELECT tick, (sum(sum(clicked)) OVER past)::DOUBLE / (sum(sum(shown)) OVER past)::DOUBLE AS rate
    FROM impressions GROUP BY tick WINDOW past AS (ORDER BY tick)
"""


def _rows(aggregate: Aggregate, view: AggregateView, until: int) -> str:
    """The SQL of the view's rows, from `impressions` and `rates`."""
    keys = [_key(place) for place in range(len(view.columns))]
    all_keys = ", ".join(keys)
    numbers = [f"{number}_{place}" for place in range(len(aggregate.windows)) for number in ("shown", "clicked")]
    there = " AND ".join(f"{key} IS NOT NULL" for key in keys)
    enters = ", ".join(f"{name.partition('_')[0]} AS {name}" for name in numbers)
    changes = [f"SELECT {all_keys}, tick, {enters} FROM impressions WHERE {there}"]
    for place, window in enumerate(aggregate.windows):
        leaves = ", ".join(f"-{name.partition('_')[0]}" if name.endswith(f"_{place}") else "0" for name in numbers)
        later = f"tick + {microseconds(window)}"
        changes.append(f"SELECT {all_keys}, {later}, {leaves} FROM impressions WHERE {there} AND {later} <= {until}")
    summed = ", ".join(f"sum({name})::BIGINT AS {name}" for name in numbers)
    running = ", ".join(f"sum({name}) OVER past AS {name}" for name in numbers)
    features = []
    for what in aggregate.what:
        for place, window in enumerate(aggregate.windows):
            shown, clicked = f"shown_{place}::DOUBLE", f"clicked_{place}::DOUBLE"
            number = shown
            if what == "ctr":
                weight = f"({shown} + {aggregate.smoothing!r}::DOUBLE)"
                number = f"CASE WHEN {weight} > 0 THEN ({clicked} + {aggregate.smoothing!r}::DOUBLE * rate) / {weight} END"
            features.append(f"{number} AS {quoted(aggregate.feature(what, window))}")
    named = ", ".join(f"{key} AS {quoted(name)}" for key, name in zip(keys, view.join_keys, strict=True))
    return f"""
        WITH changes AS (SELECT {all_keys}, tick, {summed} FROM ({" UNION ALL ".join(changes)}) GROUP BY {all_keys}, tick),
        running AS (
            SELECT {all_keys}, tick, {running} FROM changes WINDOW past AS (PARTITION BY {all_keys} ORDER BY tick)
        )
        SELECT {named}, make_timestamp(running.tick)::TIMESTAMPTZ AS event_timestamp, {", ".join(features)}
        FROM running ASOF JOIN rates ON running.tick >= rates.tick
    """


def _key(place: int) -> str:
    return f"key_{place}"


def _next_tick(moment: str, every: int) -> str:
    """The SQL of the first tick after a moment; in microseconds, also for moments before 1970."""
    return f"({moment} - (({moment}) % {every} + {every}) % {every} + {every})"


def _micros(moment: datetime) -> int:
    return (moment - _EPOCH) // timedelta(microseconds=1)
