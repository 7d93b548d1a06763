"""Segments made by the workers of an engine, a file a task, and kept where the run that asked for them finds them made."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from elec.engine import Engine
from elec.ingest.checked import Checker
from elec.ingest.segments import Segments
from elec.ingest.sources import SourceFile, open_raw
from elec.ingest.sql import Sql
from elec.progress import Progress


@dataclass(frozen=True)
class _Make:
    """What a worker does.

    Attributes:
        checker: What is right.
        now: Later times are in the future, microseconds since 1970.
        kept: Where segments are kept.
    """

    checker: Checker
    now: int
    kept: str

    def __call__(self, item: tuple[SourceFile, int]) -> int:
        file, base = item
        with tempfile.TemporaryDirectory(prefix="elec-segment-") as work:
            database = Sql(Path(work))
            try:
                Segments(database, self.checker, Path(work), self.kept).keep(file, base, self.now)
            finally:
                database.close()
        return file.size


def make_segments(engine: Engine, checker: Checker, files: Sequence[SourceFile], now: int, kept: str, what: str) -> None:
    """Reads and checks the files that have no segment yet.

    Args:
        engine: Where; in one process this does nothing, for the run makes its segments as it goes.
        checker: What is right.
        files: From `find_files`.
        now: Later times are in the future, microseconds since 1970.
        kept: Where segments are kept, a place that all workers reach.
        what: The work's name in the progress.

    Raises:
        InputError: If a file cannot be read as the spec says.
    """
    if engine.pieces == 1:
        return
    items = zip(files, _first_rows(files), strict=True)
    with Progress(what, unit="KB", total=sum(file.size for file in files) >> 10) as progress:
        for size in engine.map(_Make(checker, now, kept), items):
            progress.advance(size >> 10)


def _first_rows(files: Sequence[SourceFile]) -> Iterator[int]:
    """The number of each file's first row as far as Parquet's footers tell; a segment of another number is moved later."""
    base, known = 0, True
    for file in files:
        yield base if known else 0
        known = known and file.format == "parquet"
        if known:
            try:
                with open_raw(file) as stream, pq.ParquetFile(stream) as content:
                    base += content.metadata.num_rows
            except (OSError, pa.ArrowException):
                # What is wrong with it is for its reader to say.
                known = False
