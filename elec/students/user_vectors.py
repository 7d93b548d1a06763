"""The mean vector of what a user clicked last: of every row at its own moment, and of every user after the last row."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from elec.progress import Progress
from elec.students.history import distinct_users, mean_vectors, moments, read_clicks, user_numbers
from elec.students.projection import Floats

# The means of these rows are in memory at once: 64 dimensions take 34 MB.
_ROWS_AT_ONCE = 131_072
_MOMENT = pa.timestamp("us", tz="UTC")


class UserVectors:
    """The users of a training frame and what they clicked.

    Args:
        frames: Parquet files by split.
        user: The user's key column.
        of_row: By split, int32 [N]: the number of each row's item text.
        vectors_IV: float32, the vectors of the items' texts.
        history: Clicks of a mean at most.
    """

    def __init__(
        self,
        frames: Mapping[str, Path],
        user: str,
        of_row: Mapping[str, np.ndarray[Any, Any]],
        vectors_IV: Floats,
        history: int,
    ) -> None:
        self._frames, self._user, self._of_row = frames, user, of_row
        self._vectors_IV, self._history = vectors_IV, history
        self._users = distinct_users(list(frames.values()), user)
        read = dict.fromkeys(frames, 0)

        def number(split: str, batch: pa.RecordBatch) -> np.ndarray[Any, Any]:
            read[split] += len(batch)
            return of_row[split][read[split] - len(batch) : read[split]]

        self._log = read_clicks(frames, user, self._users, [], number)

    def write_users(self, file: Path) -> int:
        """Writes key, time of the last click, and vector after it, sorted by key; users without a click are left out.

        Returns:
            How many users there are.
        """
        clicks = self._log.of(list(self._frames))
        order = np.argsort(self._users.to_numpy(zero_copy_only=False).astype(str), kind="stable").astype(np.int64)
        begin, end, last = clicks.latest(order, self._history)
        some = end > begin
        order, begin, end, last = order[some], begin[some], end[some], last[some]
        vector = pa.list_(pa.float32(), self._vectors_IV.shape[1])
        schema = pa.schema([(self._user, pa.string()), ("event_timestamp", _MOMENT), ("vector", vector)])
        with pq.ParquetWriter(file, schema) as writer:
            for start in range(0, len(order), _ROWS_AT_ONCE):
                part = slice(start, start + _ROWS_AT_ONCE)
                vectors = vector_column(mean_vectors(clicks, self._vectors_IV, begin[part], end[part]))
                columns = [self._users.take(pa.array(order[part])), pa.array(last[part]).cast(_MOMENT), vectors]
                writer.write_batch(pa.record_batch(columns, schema=schema))
        return len(order)

    def write_rows(self, folder: Path) -> dict[str, float]:
        """Writes `<split>.npy`: float16 [N, 2, V], the user's vector strictly before the row's moment and the item's.

        Returns:
            By split, the share of rows whose user has a vector.
        """
        folder.mkdir()
        total = sum(len(numbers) for numbers in self._of_row.values())
        with Progress("user vectors", unit="rows", total=total) as progress:
            return {split: self._write_split(folder / f"{split}.npy", split, progress) for split in self._frames}

    def _write_split(self, file: Path, split: str, progress: Progress) -> float:
        numbers, size = self._of_row[split], self._vectors_IV.shape[1]
        clicks = self._log.seen_by(split)
        columns = ["event_timestamp", self._user]
        start = with_history = 0
        with file.open("wb") as target:
            header = {"descr": "<f2", "fortran_order": False, "shape": (len(numbers), 2, size)}
            np.lib.format.write_array_header_1_0(target, header)
            for batch in pq.ParquetFile(self._frames[split]).iter_batches(_ROWS_AT_ONCE, columns=columns):
                part = slice(start, start + len(batch))
                who, when = user_numbers(self._users, batch.column(self._user)), moments(batch.column("event_timestamp"))
                begin, end = clicks.windows(who, when, self._history)
                rows_N2V = np.empty((len(batch), 2, size), "<f2")
                rows_N2V[:, 0] = mean_vectors(clicks, self._vectors_IV, begin, end)
                rows_N2V[:, 1] = self._vectors_IV[numbers[part]]
                target.write(rows_N2V.data)
                with_history += int((end > begin).sum())
                start = part.stop
                progress.advance(len(batch), note=split)
        if start != len(numbers):
            raise AssertionError(f"{self._frames[split]} has {start} rows, its texts {len(numbers)}")
        return with_history / max(start, 1)


def vector_column(vectors_NV: Floats) -> pa.FixedSizeListArray:
    """Vectors as a column of Arrow."""
    return pa.FixedSizeListArray.from_arrays(pa.array(vectors_NV.reshape(-1)), vectors_NV.shape[1])
