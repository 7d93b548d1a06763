"""A segment: what was read and checked of one file.

It does not depend on `as_of`: it holds every row of its file, and the window is applied when segments are put together.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from elec.ingest.batches import Int64
from elec.ingest.sources import SourceFile
from elec.spec import Entity

META = "segment.json"
ROWS = "rows.parquet"
REFUSED_ROWS = "refused.parquet"
DROPPED = "dropped.bin"
IDENTITY = "identity.bin"
REPEATED = "repeated.bin"

_PIECE = 262_144


def firsts_name(entity: Entity) -> str:
    """The file that says when each user or item was first seen; there for those of which only the key is known."""
    return f"{entity}s.parquet"


class Meta(BaseModel):
    """What `segment.json` says.

    Attributes:
        base: The `row_id` of the file's first row.
        read: Rows of the file.
        kept: Of them, right ones.
        refused: Of them, wrong ones.
        dropped: Of them, left out by rule.
        repeated: Of the right ones, those that are equal to an earlier one of the file.
        low: Earliest time of the right ones.
        high: Latest time of the right ones.
        first: Earliest known time.
        last: Latest known time not in the future of the run that read the file.
        future: Earliest time in the future of that run; such rows are among the refused ones.
        ways_out: Of the reasons of refused rows.
        clicks: Labels that are 1, of each row group of the kept rows.
        seen: Keys that JSON lines have.
        sizes: Bytes of the segment's files.
    """

    model_config = ConfigDict(frozen=True)

    base: int
    read: int
    kept: int
    refused: int
    dropped: int
    repeated: int
    low: int | None
    high: int | None
    first: int | None
    last: int | None
    future: int | None
    ways_out: dict[str, str]
    clicks: tuple[int, ...]
    seen: tuple[str, ...]
    sizes: dict[str, int]


@dataclass(frozen=True)
class Segment:
    """One file's rows.

    Attributes:
        file: The file.
        folder: Where the segment is.
        meta: Its counts.
    """

    file: SourceFile
    folder: Path
    meta: Meta

    @property
    def rows(self) -> Path:
        """The kept rows."""
        return self.folder / ROWS

    def identity(self, begin: int, count: int) -> npt.NDArray[np.uint64]:
        """A hash of each of `count` kept rows from a position on."""
        return np.fromfile(self.folder / IDENTITY, dtype=np.uint64, count=count, offset=8 * begin)

    def dropped(self) -> Int64:
        """The times of the rows left out by rule."""
        return np.fromfile(self.folder / DROPPED, dtype=np.int64)

    def repeated(self) -> Iterator[tuple[Int64, Int64]]:
        """The rows that are equal to an earlier one of the file, a batch at a time: their numbers in it, and their times."""
        path, rows = self.folder / REPEATED, self.meta.repeated
        for begin in range(0, rows, _PIECE):
            count = min(_PIECE, rows - begin)
            numbers = np.fromfile(path, dtype=np.int64, count=count, offset=8 * begin)
            yield numbers, np.fromfile(path, dtype=np.int64, count=count, offset=8 * (rows + begin))

    def firsts(self, entity: Entity) -> Path:
        """When each user or item was first seen, a key more than once; not there without rows, or if they have fields."""
        return self.folder / firsts_name(entity)

    def refused(self) -> Iterator[pa.Table]:
        """The refused rows, a batch at a time."""
        if self.meta.refused:
            with pq.ParquetFile(self.folder / REFUSED_ROWS) as file:
                for batch in file.iter_batches():
                    yield pa.Table.from_batches([batch])

    def times(self) -> Iterator[Int64]:
        """The times of the kept rows, a batch at a time."""
        for (times,) in self.numbers("event_timestamp"):
            yield times

    def numbers(self, *names: str) -> Iterator[list[Int64]]:
        """Columns of whole numbers of the kept rows, a batch at a time."""
        with pq.ParquetFile(self.rows) as file:
            for batch in file.iter_batches(batch_size=_PIECE, columns=list(names)):
                yield [batch.column(name).to_numpy() for name in names]

    def numbers_at(self, positions: Int64, *names: str) -> list[Int64]:
        """Columns of whole numbers at ascending positions of the kept rows."""
        found = [[np.empty(0, np.int64)] for _ in names]
        begin = 0
        with pq.ParquetFile(self.rows) as file:
            for number in range(file.num_row_groups):
                end = begin + file.metadata.row_group(number).num_rows
                first, last = np.searchsorted(positions, [begin, end])
                if first < last:
                    columns = file.read_row_group(number, columns=list(names))
                    for values, column in zip(found, names, strict=True):
                        values.append(columns[column].to_numpy()[positions[first:last] - begin])
                begin = end
        return [np.concatenate(values) for values in found]
