"""Writes Parquet whose bytes depend on the rows alone."""

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

_GROUP_ROWS = 131_072
#: A row group of fewer rows is made only where there are no more.
LEAST_ROWS = 32_768
#: Text as positions in a dictionary, which Parquet and Arrow share.
ENCODED = pa.dictionary(pa.int32(), pa.string())


def options(schema: pa.Schema) -> dict[str, Any]:
    """How Parquet is written: a dictionary for text, plain numbers, differences and statistics of what ascends."""
    lists = [f"{name}.list.element" for name in schema.names if pa.types.is_list(schema.field(name).type)]
    searched = [name for name in ("row_id", "event_timestamp") if name in schema.names]
    return {
        "compression": "zstd",
        "use_dictionary": [*text_columns(schema), *lists],
        "column_encoding": dict.fromkeys(searched, "DELTA_BINARY_PACKED"),
        "write_statistics": searched,
    }


def text_columns(schema: pa.Schema) -> list[str]:
    """The columns of text; read as dictionaries they need not be made into text before they are written again."""
    return [name for name in schema.names if schema.field(name).type in {pa.string(), ENCODED}]


class RowGroups:
    """Cuts tables of any length into row groups of one length; how the rows were cut before leaves no trace.

    Text goes as dictionaries that hold each value of the row group once, in the order in which they come up: from rows that are
    read that way no text is ever made.

    Args:
        schema: The rows' columns.
    """

    def __init__(self, schema: pa.Schema) -> None:
        self.schema = schema
        #: What the row groups have: the same columns, text as dictionaries.
        self.encoded = pa.schema([field.with_type(ENCODED) if pa.types.is_string(field.type) else field for field in schema])
        self._full: list[pa.Table] = []
        self._waiting: list[pa.Table] = []
        self._rows = 0

    @property
    def empty(self) -> bool:
        """Whether no row waits."""
        return not self._full and not self._waiting

    def add(self, table: pa.Table) -> Iterator[pa.Table]:
        """Adds rows; gives the row groups that they complete."""
        table = table.select(self.schema.names)
        begin = 0
        while begin < len(table):
            piece = table.slice(begin, _GROUP_ROWS - self._rows)
            begin += len(piece)
            self._rows += len(piece)
            columns = [_conformed(column, field.type) for column, field in zip(piece.columns, self.encoded, strict=True)]
            self._waiting.append(pa.table(columns, schema=self.encoded))
            if self._full and self._rows >= LEAST_ROWS:
                yield _joined(self._full)
                self._full = []
            if self._rows == _GROUP_ROWS:
                # The last rows of all go with it, if they are few.
                self._full, self._waiting, self._rows = self._waiting, [], 0

    def rest(self) -> pa.Table:
        """The rows that wait, as a row group."""
        waiting = [*self._full, *self._waiting]
        self._full, self._waiting, self._rows = [], [], 0
        return _joined(waiting)


def _joined(tables: list[pa.Table]) -> pa.Table:
    return pa.concat_tables(tables).unify_dictionaries().combine_chunks()


def _conformed(column: pa.ChunkedArray, kind: pa.DataType) -> pa.ChunkedArray:
    """A column as it is written."""
    if kind != ENCODED:
        return column if column.type == kind else column.cast(kind)
    if column.type != ENCODED:
        return column.cast(pa.string()).dictionary_encode()
    return pa.chunked_array([_used(chunk) for chunk in column.chunks], ENCODED)


def _used(column: pa.DictionaryArray) -> pa.DictionaryArray:
    """Text without the values of its dictionary that no row has; the others in the order in which they come up."""
    if column.null_count:
        again = column.indices.dictionary_encode()
        return pa.DictionaryArray.from_arrays(again.indices, column.dictionary.take(again.dictionary))
    codes, rows = column.indices.to_numpy(), len(column)
    first = np.full(len(column.dictionary), rows, dtype=np.int64)
    first[codes[::-1]] = np.arange(rows - 1, -1, -1)
    begins = np.zeros(rows, dtype=bool)
    begins[first[first < rows]] = True
    values = codes[begins]
    place = np.empty(len(first), dtype=np.int32)
    place[values] = np.arange(len(values), dtype=np.int32)
    return pa.DictionaryArray.from_arrays(pa.array(place[codes]), column.dictionary.take(pa.array(values)))


class RowWriter:
    """Writes tables of any length as row groups of one length.

    Args:
        path: The Parquet file.
        schema: Its columns.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.rows = 0
        self._groups = RowGroups(schema)
        # Without the types of Arrow: readers are to find text, not dictionaries.
        self._writer = pq.ParquetWriter(path, self._groups.encoded, store_schema=False, **options(schema))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is None:
            self.close()

    def write(self, table: pa.Table) -> None:
        """Adds rows."""
        self.rows += len(table)
        for group in self._groups.add(table):
            self._flush(group)

    def close(self) -> None:
        """Writes what is left and completes the file."""
        if not self._groups.empty:
            self._flush(self._groups.rest())
        self._writer.close()

    def _flush(self, group: pa.Table) -> None:
        self._writer.write_table(group, row_group_size=len(group))
