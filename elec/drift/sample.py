"""A sample of the training window, for Evidently's picture: small, and the same rows every time."""

# ruff: noqa: S608 - what goes into the SQL is names of the spec's pattern, numbers, and escaped paths

from pathlib import Path
from typing import TYPE_CHECKING

from elec.drift.window import connection, window_query
from elec.spec import DatasetSpec

if TYPE_CHECKING:
    from elec.ingest import Ingested


def sample(ingested: "Ingested", spec: DatasetSpec, folder: Path, rows: int, seed: int) -> Path:
    """Writes `sample.parquet`: rows of the training window with all fields of their user and item as of the event.

    Args:
        ingested: The ingested folder.
        spec: The data set.
        folder: Where to write.
        rows: At most this many rows.
        seed: Chooses them, together with their `row_id`.

    Returns:
        The file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / "sample.parquet"
    with connection() as duck:
        # Ordering by a hash of the row is a fair draw, and holds only the chosen ones.
        duck.execute(
            "CREATE TEMP TABLE chosen AS SELECT row_id FROM read_parquet(?) "
            f"ORDER BY md5_number_lower({int(seed)} || '-' || row_id), row_id LIMIT {int(rows)}",
            [str(ingested.train)],
        )
        query = window_query(ingested, spec, rows="row_id IN (SELECT row_id FROM chosen)")
        escaped = str(file).replace("'", "''")
        duck.execute(f"COPY (SELECT * FROM ({query}) ORDER BY row_id) TO '{escaped}' (FORMAT parquet, COMPRESSION zstd)")
    return file
