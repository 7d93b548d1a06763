"""Encoded Parquet files, read into arrays that are allocated once."""

from pathlib import Path
from typing import NamedTuple, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from elec.errors import InputError
from elec.training.order import BLOCK_ROWS

_NAMES = ("row_id", "user_index", "label", "slots")


class Columns(NamedTuple):
    """Rows of an encoded file."""

    row_id_N: npt.NDArray[np.int64]
    user_index_N: npt.NDArray[np.int64]
    label_N: npt.NDArray[np.float32]
    slots_NS: npt.NDArray[np.int64]

    def part(self, rows: slice) -> "Columns":
        """Some of the rows, as views."""
        return Columns(self.row_id_N[rows], self.user_index_N[rows], self.label_N[rows], self.slots_NS[rows])


class EncodedFile:
    """`encoded/<split>.parquet`, sorted by `row_id`.

    Args:
        path: The file.

    Raises:
        InputError: If the file is missing or empty.

    Attributes:
        path: The file.
        rows: N.
        width: S.
    """

    def __init__(self, path: Path) -> None:
        if not path.is_file():
            raise InputError(f"{path}: there is no such file; build the features first")
        self.path = path
        self._file = pq.ParquetFile(path)
        metadata = self._file.metadata
        self.rows: int = metadata.num_rows
        if self.rows == 0:
            raise InputError(f"{path}: holds no rows; give the split more data")
        kind = self._file.schema_arrow.field("slots").type
        if not pa.types.is_fixed_size_list(kind) or kind.value_type != pa.int64():
            raise ValueError(f"{path}: `slots` is {kind}, not a fixed-size list of int64")
        self.width: int = kind.list_size
        sizes = [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)]
        self._group_starts = np.concatenate([[0], np.cumsum(sizes)])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def columns(self, rows: int, *, slots: bool = True) -> Columns:
        """Room for some rows, uninitialised; without slots, they are not read either."""
        row_id, user = np.empty(rows, np.int64), np.empty(rows, np.int64)
        return Columns(row_id, user, np.empty(rows, np.float32), np.empty((rows, self.width if slots else 0), np.int64))

    def read_all(self, into: Columns) -> None:
        """Reads the whole file, a block at a time.

        Raises:
            ValueError: If the rows are not sorted by `row_id`.
        """
        start = 0
        names = _NAMES if into.slots_NS.shape[1] else _NAMES[:-1]
        for batch in self._file.iter_batches(BLOCK_ROWS, columns=list(names)):
            _fill(into.part(slice(start, start + len(batch))), batch)
            start += len(batch)
        self._check_sorted(into.row_id_N)

    def read(self, start: int, stop: int, into: Columns) -> None:
        """Reads the rows from `start` until before `stop`; only the row groups that hold them are decoded.

        Raises:
            ValueError: If they are not sorted by `row_id`.
        """
        first = int(np.searchsorted(self._group_starts, start, side="right")) - 1
        last = int(np.searchsorted(self._group_starts, stop, side="left"))
        position = int(self._group_starts[first])
        # One thread: the others are training.
        groups = range(first, last)
        for batch in self._file.iter_batches(BLOCK_ROWS, row_groups=groups, columns=list(_NAMES), use_threads=False):
            low, high = max(start, position), min(stop, position + len(batch))
            if low < high:
                _fill(into.part(slice(low - start, high - start)), batch.slice(low - position, high - low))
            position += len(batch)
        self._check_sorted(into.row_id_N[: stop - start])

    def _check_sorted(self, row_id_N: npt.NDArray[np.int64]) -> None:
        if not (np.diff(row_id_N) > 0).all():
            raise ValueError(f"{self.path} is not sorted by row_id, so its rows cannot be matched with what belongs to them")


def _fill(columns: Columns, batch: pa.RecordBatch) -> None:
    columns.row_id_N[:] = batch.column("row_id").to_numpy()
    columns.user_index_N[:] = batch.column("user_index").to_numpy()
    columns.label_N[:] = batch.column("label").to_numpy()
    if columns.slots_NS.shape[1]:
        columns.slots_NS[:] = batch.column("slots").flatten().to_numpy().reshape(columns.slots_NS.shape)
