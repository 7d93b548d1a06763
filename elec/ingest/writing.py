"""Writes Parquet whose bytes depend on the rows alone."""

from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyarrow as pa
import pyarrow.parquet as pq

_GROUP_ROWS = 131_072


def options(schema: pa.Schema) -> dict[str, Any]:
    """How Parquet is written: a dictionary for text, plain numbers, and statistics of the columns that are searched by."""
    text = [name for name in schema.names if pa.types.is_string(schema.field(name).type)]
    lists = [f"{name}.list.element" for name in schema.names if pa.types.is_list(schema.field(name).type)]
    searched = [name for name in ("row_id", "event_timestamp") if name in schema.names]
    return {"compression": "zstd", "use_dictionary": [*text, *lists], "write_statistics": searched}


class RowWriter:
    """Writes tables of any length as row groups of one length: how the rows were cut into batches leaves no trace.

    Args:
        path: The Parquet file.
        schema: Its columns.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.schema = schema
        self.rows = 0
        self._writer = pq.ParquetWriter(path, schema, **options(schema))
        self._waiting: list[pa.Table] = []
        self._rows_waiting = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.close()

    def write(self, table: pa.Table) -> None:
        """Adds rows."""
        self._waiting.append(table.select(self.schema.names).cast(self.schema))
        self._rows_waiting += len(table)
        self.rows += len(table)
        while self._rows_waiting >= _GROUP_ROWS:
            self._flush(_GROUP_ROWS)

    def close(self) -> None:
        """Writes what is left and completes the file."""
        if self._rows_waiting:
            self._flush(self._rows_waiting)
        self._writer.close()

    def _flush(self, rows: int) -> None:
        waiting = pa.concat_tables(self._waiting)
        self._writer.write_table(waiting.slice(0, rows).combine_chunks(), row_group_size=rows)
        self._waiting = [waiting.slice(rows)]
        self._rows_waiting -= rows
