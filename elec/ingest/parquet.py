"""Reads Parquet in batches, with the file's own types."""

import struct
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import IO

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from elec import s3
from elec.errors import InputError
from elec.ingest.batches import Needed, RawBatch, check_columns, listed
from elec.ingest.sources import SourceFile, first_line, open_raw, readable
from elec.ingest.splice import Groups
from elec.ingest.sql import Sql
from elec.spec import Source

_BATCH_ROWS = 131_072
#: Bytes of a row, on average, above which a column of text is not taken for a dictionary.
_MOST_BYTES = 8


def read_parquet(
    database: Sql, file: SourceFile, source: Source, needed: Sequence[Needed], advance: Callable[[int], None]
) -> Iterator[RawBatch]:
    """Reads a Parquet file.

    Args:
        database: Writes refused rows as text.
        file: The file.
        source: Its `columns`, if any, rename the file's.
        needed: The columns that the spec names.
        advance: Called with the share of the file's bytes that a batch stands for.

    Raises:
        InputError: If it is not Parquet, or a column is missing.
    """
    with readable(file.uri), open_raw(file) as stream:
        with _whole(file):
            parquet = pq.ParquetFile(stream)
            parquet = pq.ParquetFile(stream, metadata=parquet.metadata, read_dictionary=_dictionaries(parquet, stream))
        names = _names(file, source, parquet.schema_arrow.names)
        check_columns(file.uri, names, needed)
        _check_types(database, file, parquet.schema_arrow)
        total = max(parquet.metadata.num_rows, 1)
        done = 0
        batches = parquet.iter_batches(batch_size=_BATCH_ROWS)
        while True:
            with _whole(file):
                batch = next(batches, None)
                if batch is None:
                    break
                # Arrow takes text as it is; what is not UTF-8 would stop the database later, with no word of the file.
                batch.validate(full=True)
            table = pa.Table.from_batches([batch])
            yield _batch(database, file.uri, table, names, done)
            advance(file.size * (done + len(table)) // total - file.size * done // total)
            done += len(table)


def _dictionaries(parquet: pq.ParquetFile, stream: IO[bytes]) -> list[str]:
    """The columns of text that are stored as dictionaries, whose values need not be made once a row."""
    schema = parquet.schema_arrow
    text = {name for name in schema.names if schema.names.count(name) == 1 and schema.field(name).type == pa.string()}
    try:
        # Not by Arrow, which ends the process over some damaged metadata of columns.
        return sorted(text - Groups(stream).spelled_out(_MOST_BYTES))
    except (LookupError, TypeError, ValueError, AttributeError, RecursionError, struct.error):
        # Arrow says what is wrong when it reads the rows.
        return []


@contextmanager
def _whole(file: SourceFile) -> Iterator[None]:
    """Turns what Arrow says about bytes that are not Parquet into one sentence; it has OSErrors without a number for some."""
    try:
        yield
    except (pa.lib.ArrowException, UnicodeDecodeError, OverflowError, MemoryError, OSError) as error:
        if isinstance(error, OSError) and (error.errno is not None or s3.is_failure(error)):
            raise
        raise InputError(
            f"{file.uri}: is not Parquet, or damaged ({first_line(error)}); check `format`, or export the file again"
        ) from error


def _check_types(database: Sql, file: SourceFile, schema: pa.Schema) -> None:
    """Makes sure that DuckDB, which hashes all of a row, knows the types of all columns."""
    for column in schema:
        if not database.takes(pa.schema([column.with_name("c")])):
            raise InputError(
                f"{file.uri}, column '{listed([column.name])}': holds {column.type}, which is not supported; "
                "export it as another type, or leave the column out"
            )


def _names(file: SourceFile, source: Source, found: list[str]) -> list[str]:
    if source.columns is None:
        return found
    if len(source.columns) != len(found):
        raise InputError(
            f"{file.uri}: `columns` names {len(source.columns)} columns, the file has {len(found)} ({', '.join(found)}); "
            "name each of them, or leave `columns` out"
        )
    return list(source.columns)


def _batch(database: Sql, file: str, table: pa.Table, names: list[str], done: int) -> RawBatch:
    def raw(positions: np.ndarray) -> list[str]:
        asked = table.take(pa.array(positions))
        texts: list[str] = database.query("SELECT to_json(asked)::VARCHAR AS raw FROM asked", asked=asked)["raw"].to_pylist()
        return texts

    rows = len(table)
    return RawBatch(
        file=file,
        table=pa.table(dict(zip(names, table.columns, strict=True))),
        identity=table.rename_columns([str(position) for position in range(table.num_columns)]),
        lines=np.arange(done + 1, done + rows + 1, dtype=np.int64),
        index=np.arange(rows, dtype=np.int64),
        rows=rows,
        raw=raw,
    )
