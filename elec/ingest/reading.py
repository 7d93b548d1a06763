"""Reads a source, whatever its format, as one stream of raw batches."""

from collections.abc import Callable, Generator, Iterator, Sequence

from elec.ingest.batches import Needed, RawBatch, check_columns
from elec.ingest.delimited import read_delimited
from elec.ingest.jsonlines import JsonLines
from elec.ingest.parquet import read_parquet
from elec.ingest.partitions import with_partition
from elec.ingest.sources import SourceFile
from elec.ingest.sql import Sql
from elec.progress import Progress
from elec.spec import Source


def read(database: Sql, files: Sequence[SourceFile], source: Source, needed: Sequence[Needed], what: str) -> Iterator[RawBatch]:
    """Reads files one after the other, and shows how far it is.

    Args:
        database: For the readers that need one.
        files: The source's files, from `find_files`.
        source: How to read them.
        needed: The columns that the spec names.
        what: The work's name in the progress.

    Raises:
        InputError: If a file cannot be read as the spec says.
    """
    total = sum(file.size for file in files)
    stored = rows = 0
    seen: dict[str, None] = {}
    with Progress(what, unit="KB", total=total >> 10) as progress:

        def advance(size: int) -> None:
            nonlocal stored
            progress.advance(((stored + size) >> 10) - (stored >> 10), note=f"{rows:,} rows")
            stored += size

        for file in files:
            for batch in read_file(database, file, source, needed, advance, seen):
                rows += batch.rows
                yield batch
        if rows > 0:
            check_seen(files, needed, seen)


def read_file(
    database: Sql,
    file: SourceFile,
    source: Source,
    needed: Sequence[Needed],
    advance: Callable[[int], None],
    seen: dict[str, None],
) -> Generator[RawBatch, None, None]:
    """Reads one file.

    Args:
        database: For the readers that need one.
        file: The file.
        source: How to read it.
        needed: The columns that the spec names.
        advance: Called with the number of stored bytes read.
        seen: Takes the keys of JSON lines, where a line may lack one.

    Raises:
        InputError: If it cannot be read as the spec says.
    """
    folders = {column for column, _ in file.partition}
    own = [column for column in needed if column.column not in folders]
    if file.format == "jsonl":
        batches = JsonLines(database, source, own, advance, seen).read(file)
    elif file.format == "parquet":
        batches = read_parquet(database, file, source, own, advance)
    else:
        batches = read_delimited(file, source, own, advance)
    for batch in batches:
        yield with_partition(batch, file.partition)


def check_seen(files: Sequence[SourceFile], needed: Sequence[Needed], seen: dict[str, None]) -> None:
    """Makes sure that every field occurred in some line of JSON lines; a key may be absent where it has no value.

    Args:
        files: All files that were read.
        needed: The columns that the spec names.
        seen: The keys that their lines have.

    Raises:
        InputError: If one never did.
    """
    if all(file.format == "jsonl" for file in files):
        folders = {column for file in files for column, _ in file.partition}
        check_columns(files[-1].uri, [*seen, *(folders - seen.keys())], needed)
