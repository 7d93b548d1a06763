"""A log as it lies in its file, where that is the order of row_id already: ingest leaves it so.

Text comes as dictionaries, as it lies in Parquet: then a key is looked up once for all rows of a batch that have it.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def in_order(rows: Path) -> bool:
    """Whether the rows of a Parquet file are in order of row_id."""
    last = None
    with pq.ParquetFile(rows) as file:
        for batch in file.iter_batches(columns=["row_id"]):
            ids_N = batch.column(0).to_numpy(zero_copy_only=False)
            if len(ids_N) and ((last is not None and ids_N[0] < last) or (ids_N[1:] < ids_N[:-1]).any()):
                return False
            last = ids_N[-1] if len(ids_N) else last
    return True


def batches(rows: Path, batch_rows: int) -> Iterator[pa.RecordBatch]:
    """The rows of a Parquet file as they lie there, at most so many at a time, text as dictionary arrays."""
    schema = pq.read_schema(rows)
    texts = [name for name in schema.names if pa.types.is_string(schema.field(name).type)]
    with pq.ParquetFile(rows, read_dictionary=texts) as file:
        # A dictionary is of one row group, so no batch is of two.
        for group in range(file.num_row_groups):
            yield from file.iter_batches(batch_rows, row_groups=[group])
