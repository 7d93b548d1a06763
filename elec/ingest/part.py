"""One part of a data set (train, valid or test) while it is written."""

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from elec.ingest import fields
from elec.ingest.splice import Groups, SplicedWriter

#: Pieces of work that wait, some 10 MB each.
_AHEAD = 2


class Part:
    """Writes a part in a thread of its own, in the order of the calls. Use it as a context; its counts are right after it.

    Args:
        path: The Parquet file.
        schema: Its columns.

    Attributes:
        rows: Written so far.
        clicks: Among them.
        first: Their earliest time, microseconds since 1970.
        last: Their latest time.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._writer = SplicedWriter(path, schema)
        self._thread = ThreadPoolExecutor(1, f"write-{path.stem}")
        self._waiting: deque[Future[None]] = deque()
        self._opened = ExitStack()
        self._source: tuple[Path, Groups] | None = None
        self.rows = self.clicks = 0
        self.first, self.last = np.iinfo(np.int64).max, np.iinfo(np.int64).min

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            while self._waiting and error is None:
                self._waiting.popleft().result()
        finally:
            self._thread.shutdown(cancel_futures=True)
            self._opened.close()
        if error is None:
            self._writer.close()

    def write(self, rows: pa.Table) -> None:
        """Adds rows, their times as microseconds."""
        if len(rows):
            self._later(lambda: self._write(rows))

    def copy(self, path: Path, number: int, first: int, last: int, clicks: int, labels: pa.Table | None) -> None:
        """Adds a row group of a segment as it is, but for its labels if there are others.

        Args:
            path: The segment's rows.
            number: Of the group.
            first: Its earliest time.
            last: Its latest time.
            clicks: In it.
            labels: Instead of the segment's.
        """
        self._later(lambda: self._copy(path, number, first, last, clicks, labels))

    def _later(self, work: Callable[[], None]) -> None:
        if len(self._waiting) > _AHEAD:
            self._waiting.popleft().result()
        self._waiting.append(self._thread.submit(work))

    def _write(self, rows: pa.Table) -> None:
        times = rows["event_timestamp"].to_numpy()
        self._count(len(rows), int(times.min()), int(times.max()), pc.sum(rows["label"]).as_py())
        position = rows.column_names.index("event_timestamp")
        self._writer.write(rows.set_column(position, "event_timestamp", rows["event_timestamp"].cast(fields.TIME)))

    def _copy(self, path: Path, number: int, first: int, last: int, clicks: int, labels: pa.Table | None) -> None:
        if self._source is None or self._source[0] != path:
            self._opened.close()
            self._source = path, Groups(self._opened.enter_context(path.open("rb")))
        rows = self._writer.rows
        self._writer.copy(self._source[1], number, labels)
        self._count(self._writer.rows - rows, first, last, clicks)

    def _count(self, rows: int, first: int, last: int, clicks: int) -> None:
        self.first, self.last = min(self.first, first), max(self.last, last)
        self.rows += rows
        self.clicks += clicks
