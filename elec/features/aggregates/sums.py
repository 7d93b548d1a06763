"""The rows of an aggregate's view for a range of keys, from the counts of their impressions.

An impression enters the numbers at the first tick after its label is known, and leaves them one window later, so a number is a
running sum of what enters and what leaves, in whole numbers.
"""

# ruff: noqa: S608 - names are quoted, numbers are ours

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from elec.engine.exchange import Shared, put
from elec.features.aggregates.impressions import MEMORY_LIMIT, Key, key_columns, micros
from elec.features.aggregates.ranges import KeyRange
from elec.features.engine import duckdb_connection, quoted, reading
from elec.spec import DatasetSpec
from elec.spec.aggregates import Aggregate, microseconds

#: Rows of a row group, as ingest writes them.
_GROUP_ROWS = 131_072


@dataclass(frozen=True)
class SumUp:
    """Sums up ranges of keys.

    Attributes:
        dataset: The spec.
        as_of: Later ticks have no rows.
    """

    dataset: DatasetSpec
    as_of: datetime

    def __call__(self, item: tuple[Aggregate, KeyRange, Shared, str]) -> str:
        """Writes the rows of a range's keys, in order of key and time, and gives their URI.

        Args:
            item: The aggregate, the range, the shares of clicks by tick, and the URI.
        """
        aggregate, keys, rates, uri = item
        until = micros(self.as_of)
        view = aggregate.view(self.dataset.user, self.dataset.item)
        with tempfile.TemporaryDirectory(prefix="elec-sums-") as scratch, duckdb_connection(MEMORY_LIMIT) as connection:
            names = key_columns(aggregate)
            asked, parameters = _asked(names, keys)
            with reading(connection, "counted", _schema(len(names)), keys.read()):
                connection.execute(
                    f"""CREATE TEMP TABLE impressions AS
                    SELECT {", ".join(names)}, tick, sum(shown)::BIGINT AS shown, sum(clicked)::BIGINT AS clicked
                    FROM counted WHERE {asked} GROUP BY {", ".join(names)}, tick""",
                    parameters,
                )
            rows = connection.sql(_rows(aggregate, view.join_keys, until), params={"rates": str(rates.here())})
            target = Path(scratch, "rows.parquet")
            reader = rows.to_arrow_reader(_GROUP_ROWS)
            with pq.ParquetWriter(target, view_schema(view.join_keys, view.features)) as writer:
                for batch in reader:
                    writer.write_batch(batch.cast(writer.schema), _GROUP_ROWS)
            put(target, uri)
        return uri


def view_schema(keys: Sequence[str], features: Sequence[str]) -> pa.Schema:
    """The columns of a view's rows."""
    moment = ("event_timestamp", pa.timestamp("us", tz="UTC"))
    return pa.schema([*((key, pa.string()) for key in keys), moment, *((name, pa.float64()) for name in features)])


def _schema(keys: int) -> pa.Schema:
    numbers = [(name, pa.int64()) for name in ("tick", "shown", "clicked")]
    return pa.schema([*((f"key_{place}", pa.string()) for place in range(keys)), *numbers])


def _asked(names: Sequence[str], keys: KeyRange) -> tuple[str, dict[str, str]]:
    """The SQL that says whether a key is in a range, and its parameters."""
    conditions: list[str] = []
    parameters: dict[str, str] = {}
    bounds: list[tuple[str, str, Key | None]] = [("least", ">=", keys.least), ("end", "<", keys.end)]
    for word, last_sign, bound in bounds:
        if bound is not None:
            condition = ""
            # From the last column of the key to the first: it decides where all before it are equal.
            for place, name in reversed(list(enumerate(names))):
                value = f"${word}_{place}"
                more = f" OR ({name} = {value} AND ({condition}))" if condition else ""
                condition = f"{name} {last_sign if not condition else last_sign[0]} {value}{more}"
            conditions.append(f"({condition})")
            parameters |= {f"{word}_{place}": value for place, value in enumerate(bound)}
    return " AND ".join(conditions) or "true", parameters


def _rows(aggregate: Aggregate, join_keys: Sequence[str], until: int) -> str:
    """The SQL of the view's rows, from `impressions` and the file of rates."""
    all_keys = ", ".join(key_columns(aggregate))
    numbers = [f"{number}_{place}" for place in range(len(aggregate.windows)) for number in ("shown", "clicked")]
    enters = ", ".join(f"{name.partition('_')[0]} AS {name}" for name in numbers)
    changes = [f"SELECT {all_keys}, tick, {enters} FROM impressions"]
    for place, window in enumerate(aggregate.windows):
        leaves = ", ".join(f"-{name.partition('_')[0]}" if name.endswith(f"_{place}") else "0" for name in numbers)
        later = f"tick + {microseconds(window)}"
        changes.append(f"SELECT {all_keys}, {later}, {leaves} FROM impressions WHERE {later} <= {until}")
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
    named = ", ".join(f"{key} AS {quoted(name)}" for key, name in zip(key_columns(aggregate), join_keys, strict=True))
    return f"""
        WITH changes AS (SELECT {all_keys}, tick, {summed} FROM ({" UNION ALL ".join(changes)}) GROUP BY {all_keys}, tick),
        running AS (
            SELECT {all_keys}, tick, {running} FROM changes WINDOW past AS (PARTITION BY {all_keys} ORDER BY tick)
        )
        SELECT {named}, make_timestamp(running.tick)::TIMESTAMPTZ AS event_timestamp, {", ".join(features)}
        FROM running ASOF JOIN read_parquet($rates) AS rates ON running.tick >= rates.tick
        ORDER BY {all_keys}, running.tick
    """
