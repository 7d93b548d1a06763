"""Reads a source, whatever its format, as one stream of raw batches."""

from collections.abc import Iterator, Sequence

from elec.ingest.batches import Needed, RawBatch
from elec.ingest.delimited import read_delimited
from elec.ingest.jsonlines import JsonLines
from elec.ingest.parquet import read_parquet
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
    with Progress(what, unit="KB", total=total >> 10) as progress:

        def advance(size: int) -> None:
            nonlocal stored
            progress.advance(((stored + size) >> 10) - (stored >> 10), note=f"{rows:,} rows")
            stored += size

        json = JsonLines(database, source, needed, advance)
        for file in files:
            if file.format == "jsonl":
                batches = json.read(file)
            elif file.format == "parquet":
                batches = read_parquet(database, file, source, needed, advance)
            else:
                batches = read_delimited(file, source, needed, advance)
            for batch in batches:
                rows += batch.rows
                yield batch
        if rows > 0 and all(file.format == "jsonl" for file in files):
            json.finish()
