"""The combinations of a crossed field, counted exactly over the training rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from elec.engine import Engine
from elec.engine.pieces import map_pieces
from elec.features.counts import coded_batches
from elec.features.crossed import CrossedVocabulary, Crossing, Parent
from elec.features.engine import duckdb_connection
from elec.ingest.parallel import in_order
from elec.spec import CrossedField

_SCHEMA = pa.schema([("hash", pa.uint64())])
# What DuckDB may hold before it spills.
_MEMORY_LIMIT = "800MB"


def fit_crossed(
    field: CrossedField, parents: Mapping[str, Parent], train: Path, engine: Engine | None = None
) -> CrossedVocabulary:
    """Counts the combinations of a field.

    Args:
        field: Without `hash_buckets`.
        parents: Its parents, by name.
        train: The Parquet file of the training rows.
        engine: Whose workers count; this process when left out.

    Returns:
        Those in at least `min_count` rows, by falling count, equal counts by hash.
    """
    with duckdb_connection(_MEMORY_LIMIT) as connection:
        connection.execute("CREATE TABLE counted (hash UBIGINT, rows BIGINT)")
        if engine is None or engine.pieces == 1:
            _count(connection, field, parents, train)
        else:
            with map_pieces(engine, _Count(field, dict(parents)), train, train.parent) as pieces:
                for path, _ in pieces:
                    connection.execute("INSERT INTO counted SELECT hash, rows FROM read_parquet($path)", {"path": str(path)})
        found = connection.sql(
            "SELECT hash FROM counted GROUP BY hash HAVING sum(rows) >= $least ORDER BY sum(rows) DESC, hash",
            params={"least": field.min_count},
        ).to_arrow_table()
    return CrossedVocabulary.of(found["hash"].to_numpy())


@dataclass(frozen=True)
class _Count:
    """Counts the combinations of a piece of the rows."""

    field: CrossedField
    parents: dict[str, Parent]

    def __call__(self, frame: Path, target: Path) -> int:
        with duckdb_connection() as connection:
            connection.execute("CREATE TABLE counted (hash UBIGINT, rows BIGINT)")
            _count(connection, self.field, self.parents, frame)
            connection.execute(f"COPY counted TO '{target}' (FORMAT parquet)")
        return int(pq.read_metadata(frame).num_rows)


def _count(connection: Any, field: CrossedField, parents: Mapping[str, Parent], file: Path) -> None:
    """Adds the combinations of a file to the table `counted`."""
    crossing = Crossing([field], [], parents)

    def hashed(batch: pa.RecordBatch) -> pa.RecordBatch:
        columns = dict(zip(batch.schema.names, batch.columns, strict=True))
        hash_P = crossing.combined({name: parents[name].hashes(columns[name]) for name in field.parents}, 0)
        return pa.record_batch([pa.array(hash_P)], schema=_SCHEMA)

    combinations = pa.RecordBatchReader.from_batches(_SCHEMA, in_order(hashed, coded_batches(file, field.parents)))
    connection.register("combinations", combinations)
    connection.execute("INSERT INTO counted SELECT hash, count(*) FROM combinations GROUP BY hash")
    connection.unregister("combinations")
