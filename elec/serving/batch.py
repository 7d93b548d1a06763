"""Batch scoring: a file of records in, the same records with their scores out, a batch of rows at a time."""

import uuid
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.json
import pyarrow.parquet as pq

from elec import storage
from elec.errors import InputError
from elec.ingest.sources import SourceFile, find_files, open_raw, open_text, readable, room_on_disk
from elec.progress import Progress
from elec.serving.predictor import Predictor
from elec.spec import FieldSpec, Kind, Source

#: The column that is added.
SCORE = "score"

_ROWS = 65_536
_BLOCK = 16 * 2**20
_DELIMITERS = {"csv": ",", "tsv": "\t"}


def score_file(predictor: Predictor, source: str, output: Path) -> int:
    """Scores every record of a file.

    Args:
        predictor: Of the bundle.
        source: CSV, TSV, JSON lines or Parquet (a path, a glob or `s3://`; text also as gzip), with a column for every field.
        output: Parquet or CSV, by its ending; the input's columns and `score`. It is there whole, or not at all.

    Returns:
        The number of records.

    Raises:
        InputError: If the input cannot be read, lacks a field, or the output cannot be written.
        RunFailedError: If the disk is full.
    """
    fields = predictor.manifest.fields
    rows = 0
    with Progress("score", unit="rows") as progress, _Output(output, fields) as target:
        for file in find_files(Source(path=source)):
            with _refusals(file.uri), _records(file, fields) as (names, batches):
                _check_columns(file.uri, names, fields)
                for batch in batches:
                    scores = pa.array(predictor.score(batch), pa.float32())
                    target.write(pa.table(batch).append_column(SCORE, scores), file.uri)
                    rows += batch.num_rows
                    progress.advance(batch.num_rows)
        target.finish()
    return rows


class _Output:
    """Writes beside the output's place and takes the place at the end."""

    def __init__(self, path: Path, fields: Sequence[FieldSpec]) -> None:
        if storage.is_s3(str(path)) or "://" in str(path) or str(path).startswith("s3:/"):
            raise InputError(f"{path}: scores are written to a file on disk; give a path, and copy the file from there")
        if path.suffix not in {".parquet", ".csv"}:
            raise InputError(f"{path}: cannot tell how to write this; give an output that ends in .parquet or .csv")
        if path.is_dir():
            raise InputError(f"{path}: is a folder; give the name of a file in it")
        self._path = path
        self._temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
        self._lists = {field.name: field.separator for field in fields if field.kind is Kind.MULTIVALUED}
        self._writer: Any = None
        self._stack = ExitStack()

    def __enter__(self) -> "_Output":
        self._stack.callback(self._temporary.unlink, missing_ok=True)
        self._stack.enter_context(room_on_disk(self._path))
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._temporary.touch()
        except OSError as error:
            raise InputError(f"{self._path}: cannot be written ({error.strerror}); give another output") from None
        return self

    def __exit__(self, *error: Any) -> bool | None:
        if self._writer is not None:
            self._stack.callback(self._writer.close)
        return self._stack.__exit__(*error)

    def write(self, table: pa.Table, origin: str) -> None:
        """Writes rows; the first ones say which columns there are."""
        if self._path.suffix == ".csv":
            table = self._flat(table)
        if self._writer is None:
            make = pa.csv.CSVWriter if self._path.suffix == ".csv" else pq.ParquetWriter
            self._writer = make(str(self._temporary), table.schema)
        elif table.schema != self._writer.schema if isinstance(self._writer, pq.ParquetWriter) else False:
            raise InputError(f"{origin}: its columns are not those of the files before it; score the files one by one")
        self._writer.write_table(table)

    def finish(self) -> None:
        """Gives the file its place."""
        self._writer.close()
        self._writer = None
        self._temporary.replace(self._path)

    def _flat(self, table: pa.Table) -> pa.Table:
        """The table with lists joined by their field's separator: CSV has no lists."""
        for index, column in enumerate(table.schema):
            if pa.types.is_list(column.type) and pa.types.is_string(column.type.value_type):
                joined = pc.binary_join(table.column(index), self._lists.get(column.name, "|"))
                table = table.set_column(index, column.name, joined)
            elif pa.types.is_nested(column.type):
                raise InputError(f"{self._path}: CSV cannot hold the column '{column.name}' ({column.type}); write .parquet")
        return table


@contextmanager
def _records(file: SourceFile, fields: Sequence[FieldSpec]) -> Iterator[tuple[list[str], Iterator[pa.RecordBatch]]]:
    """The columns of a file, and its rows in batches."""
    if file.format == "parquet":
        with open_raw(file) as stream:
            parquet = pq.ParquetFile(stream)
            yield parquet.schema_arrow.names, _never_none(parquet.schema_arrow, parquet.iter_batches(batch_size=_ROWS))
    elif file.format == "jsonl":
        with open_text(file) as (text, _):
            reader = pa.json.open_json(text, read_options=pa.json.ReadOptions(block_size=_BLOCK))
            yield reader.schema.names, _never_none(reader.schema, reader)
    else:
        with open_text(file) as (text, _):
            names = _header(text, _DELIMITERS[file.format])
        with open_text(file) as (text, _):
            reader = _open_csv(text, _DELIMITERS[file.format], names, fields)
            yield names, _never_none(reader.schema, reader)


def _never_none(schema: pa.Schema, batches: Any) -> Iterator[pa.RecordBatch]:
    """The batches, and an empty one first, from which an output of no rows gets its columns."""
    yield pa.RecordBatch.from_pylist([], schema=schema)
    yield from batches


def _header(stream: IO[bytes], delimiter: str) -> list[str]:
    options = pa.csv.ParseOptions(delimiter=delimiter)
    names: list[str] = pa.csv.open_csv(stream, parse_options=options).schema.names
    return names


def _open_csv(stream: IO[bytes], delimiter: str, names: list[str], fields: Sequence[FieldSpec]) -> Any:
    """A reader that guesses no types: what is no number of ours stays the text that it is."""
    numbers = {field.name for field in fields if field.kind is Kind.NUMERIC}
    types = {name: pa.float64() if name in numbers else pa.string() for name in names}
    return pa.csv.open_csv(
        stream,
        read_options=pa.csv.ReadOptions(block_size=_BLOCK),
        parse_options=pa.csv.ParseOptions(delimiter=delimiter),
        convert_options=pa.csv.ConvertOptions(column_types=types, null_values=[""], strings_can_be_null=True),
    )


def _check_columns(origin: str, names: Sequence[str], fields: Sequence[FieldSpec]) -> None:
    missing = [field.name for field in fields if field.name not in names]
    if missing:
        raise InputError(
            f"{origin}: has no column '{missing[0]}'; the model reads {', '.join(field.name for field in fields)}, "
            "add the column, empty where the value is unknown"
        )
    if SCORE in names:
        raise InputError(f"{origin}: has a column '{SCORE}' already, which is the one to add; rename it")


@contextmanager
def _refusals(uri: str) -> Iterator[None]:
    """Turns what cannot be read into one sentence."""
    try:
        with readable(uri):
            yield
    except pa.ArrowInvalid as error:
        reason = str(error).splitlines()[0].rstrip(". ")
        raise InputError(f"{uri}: cannot be read ({reason}); check the file's format and delimiter") from None
    except InputError as error:
        raise InputError(str(error) if str(error).startswith(uri) else f"{uri}: {error}") from None
