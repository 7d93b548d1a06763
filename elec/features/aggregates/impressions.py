"""The impressions of a piece of the log, counted by key and tick: what is left of rows that are summed up elsewhere.

A run is an Arrow file of such counts in order of their keys, in batches that can be read one by one. Whoever sums up a range of
keys reads the batches that may hold some of them, of every run; see `elec.features.aggregates.ranges`.
"""

# ruff: noqa: S608 - names are quoted, numbers are ours

import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa

from elec.engine.exchange import Shared, put
from elec.engine.pieces import Piece
from elec.features.engine import duckdb_connection, quoted
from elec.spec import DatasetSpec, Entity
from elec.spec.aggregates import Aggregate, microseconds
from elec.storage import join

#: What DuckDB may hold before it spills, here and where the counts are summed up.
MEMORY_LIMIT = "600MB"
#: Counts of a batch: so many more than wanted may be read at each end of a range, of every run.
BATCH_ROWS = 8_192

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Key = tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """What a piece gave for one aggregate.

    Attributes:
        uri: The counts: the columns of the key, `tick`, `shown`, `clicked`; there if `firsts` are.
        firsts: The first key of each of its batches.
        rows: Of each of its batches.
        rates: Parquet: the counts of all keys together, those without a value among them, by tick.
    """

    uri: str
    firsts: tuple[Key, ...]
    rows: tuple[int, ...]
    rates: str


@dataclass(frozen=True)
class CountImpressions:
    """Counts a piece of the log for every aggregate of a data set.

    Attributes:
        dataset: The spec.
        described: The rows of users and items as ingest wrote them, for aggregates by their fields.
        as_of: Later ticks are left out.
        place: The URI below which the counts go.
    """

    dataset: DatasetSpec
    described: Mapping[Entity, Shared]
    as_of: datetime
    place: str

    def __call__(self, item: tuple[int, Piece]) -> list[Run]:
        """Counts one of the numbered pieces; gives a run for each aggregate."""
        number, piece = item
        with piece.here() as log, duckdb_connection(MEMORY_LIMIT) as connection:
            return [
                self._run(connection, aggregate, log, f"aggregate{place}-{number:06d}")
                for place, aggregate in enumerate(self.dataset.aggregates)
            ]

    def _run(self, connection: Any, aggregate: Aggregate, log: Path, name: str) -> Run:
        keys = key_columns(aggregate)
        there = " AND ".join(f"{key} IS NOT NULL" for key in keys)
        self._count(connection, aggregate, log)
        with tempfile.TemporaryDirectory(prefix="elec-counts-") as scratch:
            rates, counts = Path(scratch, "rates.parquet"), Path(scratch, "counts.arrow")
            connection.execute(
                f"""COPY (
                    SELECT tick, sum(shown)::BIGINT AS shown, sum(clicked)::BIGINT AS clicked FROM impressions GROUP BY tick
                ) TO '{rates}' (FORMAT parquet)"""
            )
            in_order = connection.sql(
                f"SELECT {', '.join(keys)}, tick, shown, clicked FROM impressions WHERE {there} ORDER BY {', '.join(keys)}"
            ).to_arrow_reader(BATCH_ROWS)
            firsts, rows = _write_counts(in_order, len(keys), counts)
            run = Run(join(self.place, f"{name}.arrow"), firsts, rows, join(self.place, f"{name}-rates.parquet"))
            put(rates, run.rates)
            if firsts:
                put(counts, run.uri)
        return run

    def _count(self, connection: Any, aggregate: Aggregate, log: Path) -> None:
        """Makes the table `impressions`."""
        dataset = self.dataset
        parameters: dict[str, object] = {"log": str(log)}
        joins, columns = [], []
        of_column = {field.name: field.of for field in dataset.all_fields}
        fields: dict[Entity, list[str]] = {}
        for column in aggregate.view(dataset.user, dataset.item).columns:
            entity = of_column[column]
            if column in {dataset.user, dataset.item} or entity is Entity.CONTEXT:
                columns.append(f"log.{quoted(column)}")
            else:
                columns.append(f"{quoted(entity.value)}.{quoted(column)}")
                fields.setdefault(entity, []).append(column)
        for entity, names in fields.items():
            parameters[entity.value] = str(self.described[entity].here())
            key, source = quoted(dataset.key_of(entity)), quoted(entity.value)
            # Only what is known of the piece's own users or items, and by then.
            joins.append(
                f"""ASOF LEFT JOIN (
                    SELECT {key}, event_timestamp, {", ".join(map(quoted, names))} FROM read_parquet(${entity.value})
                    WHERE {key} IN (SELECT {key} FROM read_parquet($log))
                    AND event_timestamp <= (SELECT max(event_timestamp) FROM read_parquet($log))
                ) AS {source} ON log.{key} = {source}.{key} AND log.event_timestamp >= {source}.event_timestamp"""
            )
        known = "epoch_us(log.event_timestamp)"
        if dataset.label.clicks is not None:
            known += f" + {dataset.label.clicks.within_us}"
        named = (f"{column} AS {key}" for column, key in zip(columns, key_columns(aggregate), strict=True))
        connection.execute(
            f"""
            CREATE OR REPLACE TEMP TABLE impressions AS
            SELECT {", ".join(named)}, {_next_tick(known, microseconds(aggregate.every))} AS tick,
                count(*) AS shown, sum(label)::BIGINT AS clicked
            FROM read_parquet($log) AS log {" ".join(joins)} GROUP BY ALL HAVING tick <= {micros(self.as_of)}
            """,
            parameters,
        )


def key_columns(aggregate: Aggregate) -> list[str]:
    """What the columns of an aggregate's key are called in its counts."""
    return [f"key_{place}" for place in range(len(aggregate.by))]


def micros(moment: datetime) -> int:
    """A moment in microseconds since 1970."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def _next_tick(moment: str, every: int) -> str:
    """The SQL of the first tick after a moment; in microseconds, also for moments before 1970."""
    return f"({moment} - (({moment}) % {every} + {every}) % {every} + {every})"


def _write_counts(batches: Iterator[pa.RecordBatch], keys: int, file: Path) -> tuple[tuple[Key, ...], tuple[int, ...]]:
    """Writes batches as they come; gives the first key and the rows of each."""
    firsts, rows = [], []
    writer: Any = None
    with pa.OSFile(str(file), "wb") as sink:
        for batch in batches:
            if not len(batch):
                continue
            writer = writer or pa.ipc.new_file(sink, batch.schema, options=pa.ipc.IpcWriteOptions(compression="lz4"))
            writer.write_batch(batch)
            firsts.append(tuple(batch.column(place)[0].as_py() for place in range(keys)))
            rows.append(len(batch))
        if writer is not None:
            writer.close()
    return tuple(firsts), tuple(rows)
