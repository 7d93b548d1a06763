"""The values of a log and how often they occur, counted exactly in one pass over its files.

Text is counted batch by batch, and DuckDB adds up the batches' counts: it has to look at a batch's distinct values instead of
its rows, and spills to disk what does not fit. Parquet keeps text as numbers of a dictionary, and so it is read, so that a
text is not even made for each row. Numbers are sorted batch by batch; see `elec.features.order_statistics`.
"""

from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from elec.features.engine import duckdb_connection, reading
from elec.features.lookup import one_array
from elec.features.order_statistics import OrderStatistics, SortedRuns
from elec.features.raw import raw_column
from elec.ingest.parallel import in_order
from elec.progress import Progress
from elec.spec import FieldSpec, Kind

#: Rows that are worked on at once: a row group of ingest and, about, of the frame.
BATCH_ROWS = 131_072

# What DuckDB may hold before it spills.
_MEMORY_LIMIT = "800MB"
_SAVED = pa.schema([("field", pa.string()), ("value", pa.string()), ("number", pa.float64()), ("rows", pa.int64())])
_PARTIAL = pa.schema([("field", pa.int32()), ("value", pa.string()), ("rows", pa.int64())])


def coded_batches(file: Path, columns: Sequence[str]) -> Generator[pa.RecordBatch, None, None]:
    """The rows of a Parquet file, text as dictionary arrays.

    Args:
        file: The file.
        columns: Those to read; of the file's, in its order.

    Yields:
        At most `BATCH_ROWS` rows, all of one row group.
    """
    with pq.ParquetFile(file) as plain:
        metadata, schema = plain.metadata, plain.schema_arrow
    paths = {metadata.schema.column(number).path for number in range(metadata.num_columns)}
    coded = []
    for name in columns:
        kind = schema.field(name).type
        if pa.types.is_string(kind):
            coded.append(name)
        elif pa.types.is_list(kind) and pa.types.is_string(kind.value_type):
            coded += paths & {f"{name}.list.element", f"{name}.list.item"}
    with pq.ParquetFile(file, metadata=metadata, read_dictionary=coded) as source:
        for group in range(metadata.num_row_groups):
            yield from source.iter_batches(BATCH_ROWS, row_groups=[group], columns=list(columns), use_threads=False)


@dataclass(frozen=True)
class _Counted:
    """What a batch has: the distinct texts of each field with their rows; the distinct numbers of each, rising."""

    rows: int
    texts: pa.RecordBatch
    numbers: dict[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]]


class ValueCounts:
    """Counts the values of fields. Use it as a context; its files are removed at the end.

    Example:
        with ValueCounts() as counts:
            counts.add(train, fields)
            words = counts.frequent("word", least=2)
    """

    def __init__(self) -> None:
        self._names: dict[str, int] = {}
        self._stack = ExitStack()
        self._connection: Any = None
        self._runs: Any = None

    def __enter__(self) -> Self:
        self._connection = self._stack.enter_context(duckdb_connection(_MEMORY_LIMIT))
        self._connection.execute("CREATE TABLE counted (field INTEGER, value VARCHAR, rows BIGINT)")
        self._runs = self._stack.enter_context(SortedRuns())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stack.close()

    def add(
        self,
        file: Path,
        fields: Sequence[FieldSpec],
        *,
        seen_only: bool = False,
        progress: Progress | None = None,
    ) -> None:
        """Counts the values of a file.

        Args:
            file: Parquet.
            fields: Those to count; not text. Of a multi-valued field a value counts once a row.
            seen_only: Whether its values are only seen, by `distinct`, and no row of it counts.
            progress: Counts rows.
        """
        numbers = {field.name: self._names.setdefault(field.name, len(self._names)) for field in fields}

        def partial(batch: pa.RecordBatch) -> _Counted:
            return _count(batch, fields, numbers, 0 if seen_only else 1)

        def texts() -> Iterator[pa.RecordBatch]:
            for counted in in_order(partial, coded_batches(file, list(numbers))):
                for name, (values, rows) in counted.numbers.items():
                    self._runs.add(name, values, rows)
                if progress is not None:
                    progress.advance(counted.rows)
                yield counted.texts

        with reading(self._connection, "partial", _PARTIAL, texts()):
            self._connection.execute(
                "INSERT INTO counted SELECT field, value, sum(rows)::BIGINT FROM partial GROUP BY field, value"
            )

    def save(self, target: Path) -> None:
        """Writes all counts as a Parquet file that `add_saved` of another one adds to its own."""
        names = list(self._names)
        with pq.ParquetWriter(target, _SAVED) as writer:
            query = "SELECT field, value, sum(rows)::BIGINT AS rows FROM counted GROUP BY field, value"
            for batch in self._connection.execute(query).to_arrow_reader(BATCH_ROWS):
                field, value, rows = batch.columns
                coded = pa.DictionaryArray.from_arrays(field, pa.array(names, pa.string()))
                columns = [pc.cast(coded, pa.string()), value, pa.nulls(len(batch), pa.float64()), rows]
                writer.write_batch(pa.record_batch(columns, schema=_SAVED))
            for name in names:
                for values, upto in self.numbers(name).runs:
                    fixed = pa.repeat(name, len(values)), pa.nulls(len(values), pa.string())
                    columns = [*fixed, pa.array(values), pa.array(np.diff(upto, prepend=0))]
                    writer.write_table(pa.table(columns, schema=_SAVED))

    def add_saved(self, file: Path) -> None:
        """Adds the counts that another one has saved."""
        with pq.ParquetFile(file) as source:
            for group in range(source.num_row_groups):
                rows = source.read_row_group(group)
                fields = pc.unique(rows["field"]).to_pylist()
                if rows["number"].null_count == 0 and len(fields) == 1:
                    self._names.setdefault(fields[0], len(self._names))
                    self._runs.add(fields[0], rows["number"].to_numpy(), rows["rows"].to_numpy())
                    continue
                numbers = pa.array([self._names.setdefault(name, len(self._names)) for name in fields], pa.int32())
                which = numbers.take(pc.index_in(rows["field"].combine_chunks(), pa.array(fields, pa.string())))
                self._connection.register("saved", pa.table([which, rows["value"], rows["rows"]], schema=_PARTIAL))
                self._connection.execute("INSERT INTO counted SELECT * FROM saved")
                self._connection.unregister("saved")

    def frequent(self, name: str, least: int) -> pa.Array:
        """The texts of a field that at least so many rows have, by falling count, equal counts by value; no empty one."""
        return self._asked(
            """
            SELECT value FROM counted WHERE field = $field AND value <> ''
            GROUP BY value HAVING sum(rows) >= $least ORDER BY sum(rows) DESC, value
            """,
            # Of lists without any value pieces know nothing.
            {"field": self._names.get(name, -1), "least": least},
        )

    def distinct(self, name: str) -> pa.Array:
        """All texts of a field, sorted, the empty one among them, null last if it occurs."""
        return self._asked(
            "SELECT DISTINCT value FROM counted WHERE field = $field ORDER BY value NULLS LAST", {"field": self._names[name]}
        )

    def numbers(self, name: str) -> OrderStatistics:
        """What the finite numbers of a field are, in order."""
        found: OrderStatistics = self._runs.of(name)
        return found

    def _asked(self, query: str, params: dict[str, int]) -> pa.Array:
        return one_array(self._connection.sql(query, params=params).to_arrow_table()["value"])


def _count(batch: pa.RecordBatch, fields: Sequence[FieldSpec], numbers: dict[str, int], weight: int) -> _Counted:
    values: list[pa.Array] = []
    rows: list[npt.NDArray[np.int64]] = []
    names: list[npt.NDArray[np.int32]] = []
    sorted_numbers = {}
    for field in fields:
        column = batch.column(field.name)
        if field.kind is Kind.NUMERIC:
            finite = raw_column(field, column).drop_null().to_numpy()
            # Of two zeros one is enough.
            sorted_numbers[field.name] = np.unique(finite + 0.0, return_counts=True)
            continue
        found, count = _distinct_in_lists(field, column) if field.kind is Kind.MULTIVALUED else _distinct(field, column)
        values.append(found)
        rows.append(count * weight)
        names.append(np.full(len(found), numbers[field.name], dtype=np.int32))
    if not values:
        return _Counted(len(batch), pa.RecordBatch.from_pylist([], _PARTIAL), sorted_numbers)
    columns = [pa.array(np.concatenate(names)), pa.concat_arrays(values), pa.array(np.concatenate(rows))]
    return _Counted(len(batch), pa.record_batch(columns, schema=_PARTIAL), sorted_numbers)


def _distinct(field: FieldSpec, column: pa.Array) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """The distinct values of a column, null among them, and how many rows have each."""
    if not isinstance(column, pa.DictionaryArray):
        column = raw_column(field, column).dictionary_encode()
    rows_D = np.bincount(column.indices.drop_null().to_numpy(), minlength=len(column.dictionary))
    seen_V = np.flatnonzero(rows_D)
    values, rows_V = pc.cast(column.dictionary.take(pa.array(seen_V)), pa.string()), rows_D[seen_V]
    if not column.null_count:
        return values, rows_V
    return pa.concat_arrays([values, pa.nulls(1, pa.string())]), np.append(rows_V, column.null_count)


def _distinct_in_lists(field: FieldSpec, column: pa.Array) -> tuple[pa.Array, npt.NDArray[np.int64]]:
    """The distinct values in the lists of a column, and how many rows have each."""
    coded = pa.types.is_list(column.type) and pa.types.is_dictionary(column.type.value_type)
    lists = column if coded else raw_column(field, column)
    parts = lists.flatten() if coded else lists.flatten().dictionary_encode()
    row_P = np.repeat(np.arange(len(lists)), pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False))
    there_P = parts.is_valid().to_numpy(zero_copy_only=False)
    code_P = parts.indices.drop_null().to_numpy().astype(np.int64)
    codes = len(parts.dictionary)
    once = np.unique(row_P[there_P] * codes + code_P) % codes if codes else code_P
    rows_D = np.bincount(once, minlength=codes)
    seen_V = np.flatnonzero(rows_D)
    return pc.cast(parts.dictionary.take(pa.array(seen_V)), pa.string()), rows_D[seen_V]
