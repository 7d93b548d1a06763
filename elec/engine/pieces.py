"""A function of a whole Parquet file, computed piece by piece: row groups go out, and what comes back is put together."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Generic, TypeVar, cast

import pyarrow.parquet as pq

from elec import storage
from elec.engine.engine import Engine
from elec.engine.exchange import Shared, fetch, put
from elec.ingest.remote import RemoteFile
from elec.ingest.splice import Groups, SplicedWriter

Result = TypeVar("Result")

#: Rows of a piece at the most, so that a worker's memory and time do not grow with the file.
_MOST_ROWS = 4_000_000


@dataclass(frozen=True)
class Piece:
    """Row groups of a Parquet file that follow each other.

    Attributes:
        source: The file.
        first: The first of them.
        count: How many.
    """

    source: Shared
    first: int
    count: int

    @contextmanager
    def here(self) -> Iterator[Path]:
        """A file of these row groups on this machine."""
        with tempfile.TemporaryDirectory(prefix="elec-piece-") as scratch:
            piece = Path(scratch, "piece.parquet")
            splice([(self.source.uri, range(self.first, self.first + self.count))], piece)
            yield piece


@dataclass(frozen=True)
class _OfPiece(Generic[Result]):
    """The function, as workers call it."""

    function: Callable[[Path, Path], Result]
    place: str

    def __call__(self, item: tuple[int, Piece]) -> tuple[str, Result]:
        number, piece = item
        target = f"{self.place}/{number:06d}.parquet"
        with piece.here() as source, tempfile.TemporaryDirectory(prefix="elec-piece-") as scratch:
            made = Path(scratch, "made.parquet")
            result = self.function(source, made)
            put(made, target)
        return target, result


def map_file(engine: Engine, function: Callable[[Path, Path], Result], source: Path, target: Path) -> list[Result]:
    """Applies a function that makes a Parquet file of a Parquet file, row by row, so that it can be done by pieces.

    Args:
        engine: Where.
        function: Takes the file to read and the file to write.
        source: What is read; pieces are some of its row groups.
        target: What is written: what the pieces gave, in their order.

    Returns:
        What the function returned for each piece.
    """
    results, made = [], []
    with map_pieces(engine, function, source, target.parent) as pieces:
        for path, result in pieces:
            made.append((str(path), None))
            results.append(result)
        splice(made, target)
    return results


@contextmanager
def map_pieces(
    engine: Engine, function: Callable[[Path, Path], Result], source: Path, scratch: Path
) -> Iterator[Iterator[tuple[Path, Result]]]:
    """Applies a function to the pieces of a Parquet file.

    Args:
        engine: Where.
        function: Takes the file to read and the file to write.
        source: What is read; pieces are some of its row groups, and one without rows is one piece.
        scratch: A folder for what they give.

    Yields:
        For each piece in order the file that the function wrote, here until the `with` block ends, and what it returned.
    """
    with engine.exchange() as exchange, tempfile.TemporaryDirectory(prefix=".pieces-", dir=scratch) as here:
        shared = exchange.share(source, source.name)
        work = [(number, Piece(shared, first, count)) for number, (first, count) in enumerate(cut(source, engine.pieces))]

        def fetched() -> Iterator[tuple[Path, Result]]:
            for number, (uri, result) in enumerate(engine.map(_OfPiece(function, exchange.uri), work)):
                path = Path(here, f"{number:06d}.parquet")
                fetch(uri, path)
                yield path, result

        yield fetched()


def cut(source: Path, pieces: int, most_rows: int | None = None) -> list[tuple[int, int]]:
    """Cuts a Parquet file into pieces of about equal length.

    Args:
        source: The file.
        pieces: How many, if it has as many row groups; more if they would be too long.
        most_rows: Of a piece, if fewer than usual; a row group may have more.

    Returns:
        The first row group and the number of row groups of each; one for a file without rows.
    """
    with pq.ParquetFile(source) as file:
        sizes = [file.metadata.row_group(number).num_rows for number in range(file.num_row_groups)]
    wanted = min(max(1, -(-sum(sizes) // pieces)), most_rows or _MOST_ROWS)
    found: list[tuple[int, int]] = []
    first = rows = 0
    for number, size in enumerate(sizes):
        rows += size
        if rows >= wanted or number == len(sizes) - 1:
            found.append((first, number + 1 - first))
            first, rows = number + 1, 0
    return found or [(0, 0)]


def splice(parts: Iterable[tuple[str, range | None]], target: Path) -> None:
    """Writes a Parquet file of row groups of others, which are copied and not decoded.

    Args:
        parts: Paths or `s3://` URIs of files of equal columns, of which only what is copied is read; and which of their row
            groups, None for all.
        target: The file to write.
    """
    writer: SplicedWriter | None = None
    for uri, groups in parts:
        with opened(uri) as stream, pq.ParquetFile(stream) as file:
            writer = writer or SplicedWriter(target, file.schema_arrow)
            source = Groups(stream)
            for number in groups if groups is not None else range(file.num_row_groups):
                writer.copy(source, number)
    assert writer is not None, "there is a part"
    writer.close()


def opened(uri: str) -> IO[bytes]:
    """A file that other machines wrote, open for reading at any position."""
    return cast(IO[bytes], RemoteFile(uri)) if storage.is_s3(uri) else storage.local_path(uri).open("rb")
