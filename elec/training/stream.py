"""Rows that are larger than memory: read by blocks, in the background, while the last ones are trained on."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from elec.training.beside import Beside, Floats
from elec.training.data import WHOLE, Batch, Rows, Shard, load_rows
from elec.training.encoded import Columns, EncodedFile
from elec.training.order import BLOCK_ROWS, WINDOW_BLOCKS, Window, shuffled_windows

_UNITS = {"": 1, "K": 1000, "M": 1000**2, "G": 1000**3, "T": 1000**4, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
#: row_id and user_index (int64) and label (float32).
_BYTES_BESIDE_SLOTS = 20


def open_rows(
    path: Path, *, memory: str, llm_NL: Floats | Path | None = None, vectors_N2V: Floats | Path | None = None
) -> "Rows | StreamedRows":
    """Opens an encoded split: in memory where it fits, else streamed. Both give the same batches.

    Args:
        path: `encoded/<split>.parquet`.
        memory: Up to how many bytes, such as `2Gi`.
        llm_NL: The M-LLM's representations of the same rows in the same order, float16 or float32: an array or a .npy file.
        vectors_N2V: The text vectors of the same rows in the same order, likewise.

    Raises:
        InputError: If a file is missing or empty.
        ValueError: If there are not as many representations or vectors as rows, or the rows are not sorted by `row_id`.
    """
    streamed = StreamedRows(path, llm_NL, vectors_N2V)
    number = memory.rstrip("KMGTi")
    if streamed.bytes > int(number) * _UNITS[memory[len(number) :]]:
        return streamed
    return load_rows(path, llm_NL, vectors_N2V)


class _Buffer(NamedTuple):
    """Room for the rows of a window."""

    columns: Columns
    llm_NL: Floats | None
    vectors_N2V: Floats | None


class StreamedRows:
    """A split on disk, of which two windows are in memory: the one in training, and the next, which a thread reads.

    It gives the batches that `Rows` gives.

    Args:
        path: `encoded/<split>.parquet`. Row groups are decoded whole, so they should have about `BLOCK_ROWS` rows.
        llm_NL: The M-LLM's representations of the rows: an array or a .npy file, which is read by blocks too.
        vectors_N2V: The user's and the item's text vector, likewise.
        device: Where the batches are wanted.

    Raises:
        InputError: If a file is missing or empty.
        ValueError: If there are not as many representations or vectors as rows.
    """

    def __init__(
        self,
        path: Path,
        llm_NL: Floats | Path | None = None,
        vectors_N2V: Floats | Path | None = None,
        device: torch.device | None = None,
    ) -> None:
        self._path, self._sources = path, (llm_NL, vectors_N2V)
        self._device = device or torch.device("cpu")
        with EncodedFile(path) as file:
            self._rows, self._width = file.rows, file.width
        self._llm = Beside("representations", llm_NL, self._rows, path) if llm_NL is not None else None
        self._vectors = Beside("text vectors", vectors_N2V, self._rows, path) if vectors_N2V is not None else None

    def __len__(self) -> int:
        return self._rows

    @property
    def bytes(self) -> int:
        """What all rows would take in memory."""
        beside: int = sum(found.row_bytes for found in (self._llm, self._vectors) if found is not None)
        return self._rows * (8 * self._width + _BYTES_BESIDE_SLOTS + beside)

    @cached_property
    def _narrow(self) -> Columns:
        with EncodedFile(self._path) as file:
            columns = file.columns(self._rows, slots=False)
            file.read_all(columns)
        return columns

    @property
    def row_id_N(self) -> npt.NDArray[np.int64]:  # noqa: N802
        """int64, ascending; read whole when it is asked for."""
        return self._narrow.row_id_N

    @property
    def user_index_N(self) -> npt.NDArray[np.int64]:  # noqa: N802
        """int64; read whole when it is asked for."""
        return self._narrow.user_index_N

    @property
    def label_N(self) -> torch.Tensor:  # noqa: N802
        """float32, 0 or 1; read whole when it is asked for."""
        return torch.from_numpy(self._narrow.label_N)

    def to(self, device: torch.device) -> "StreamedRows":
        """The same rows, giving batches on a device."""
        return StreamedRows(self._path, *self._sources, device)

    def shuffled(self, size: int, seed: int, epoch: int, *, start: int = 0, shard: Shard = WHOLE) -> Iterator[Batch]:
        """See `RowSource.shuffled`."""
        windows = shuffled_windows(len(self), seed, epoch, skip=start * size)
        rest: list[Batch] = []
        for positions, order, rows in self._read(windows, BLOCK_ROWS * WINDOW_BLOCKS):
            # The last rows of a window and the first ones of the next make a batch together.
            missing = (size - sum(map(len, rest))) if rest else 0
            whole = missing + max(len(order) - missing, 0) // size * size
            if missing:
                rest.append(_taken(rows, order[:missing], positions))
            if sum(map(len, rest)) == size:
                yield _joined(rest, shard).to(self._device)
                rest = []
            for begin in range(missing, whole, size):
                yield _taken(rows, order[begin : begin + size][shard.of(size)], positions).to(self._device)
            if whole < len(order):
                rest.append(_taken(rows, order[whole:], positions))
        if rest:
            yield _joined(rest, shard).to(self._device)

    def in_order(self, size: int) -> Iterator[Batch]:
        """See `RowSource.in_order`."""
        # A whole number of batches a window, so that none lies across two.
        step = max(BLOCK_ROWS * WINDOW_BLOCKS // size, 1) * size
        starts = range(0, len(self), step)
        windows = (Window(((start, min(start + step, len(self))),)) for start in starts)
        for positions, order, rows in self._read(((window, torch.arange(len(window))) for window in windows), step):
            for part in torch.split(order, size):
                yield _taken(rows, part, positions).to(self._device)

    def _read(
        self, windows: Iterator[tuple[Window, torch.Tensor]], most: int
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor, Rows]]:
        """Reads one window after the other, each while the last one is in use.

        Args:
            windows: And the order of their rows.
            most: Rows of the largest one.

        Yields:
            The positions of a window's rows in the split, their order, and the rows, whose memory is used again.
        """
        current = next(windows, None)
        if current is None:
            return
        room = min(most, len(self))
        with EncodedFile(self._path) as file, ThreadPoolExecutor(1, "read-rows") as reader:
            buffers = [
                _Buffer(
                    file.columns(room),
                    self._llm.empty(room) if self._llm is not None else None,
                    self._vectors.empty(room) if self._vectors is not None else None,
                )
                for _ in range(2)
            ]
            coming = reader.submit(self._fill, file, current[0], buffers[0])
            while current is not None:
                rows = coming.result()
                following = next(windows, None)
                buffers.reverse()
                if following is not None:
                    # The other buffer's rows have been used up: the window after them has been asked for.
                    coming = reader.submit(self._fill, file, following[0], buffers[0])
                yield current[0].positions(), current[1], rows
                current = following

    def _fill(self, file: EncodedFile, window: Window, buffer: _Buffer) -> Rows:
        """Reads the rows of a window, block after block, into the first rows of a buffer."""
        filled = 0
        for start, stop in window.blocks:
            into = slice(filled, filled + stop - start)
            file.read(start, stop, buffer.columns.part(into))
            for beside, array in ((self._llm, buffer.llm_NL), (self._vectors, buffer.vectors_N2V)):
                if beside is not None and array is not None:
                    beside.read(start, stop, array[into])
            filled = into.stop
        columns = buffer.columns.part(slice(filled))
        return Rows(
            columns.row_id_N,
            columns.user_index_N,
            torch.from_numpy(columns.label_N),
            torch.from_numpy(columns.slots_NS),
            torch.from_numpy(buffer.llm_NL[:filled]) if buffer.llm_NL is not None else None,
            torch.from_numpy(buffer.vectors_N2V[:filled]) if buffer.vectors_N2V is not None else None,
        )


def _taken(rows: Rows, order: torch.Tensor, positions: torch.Tensor) -> Batch:
    """Copies some rows of a window; they know their positions in the split."""
    return replace(rows.take(order), index_B=positions.index_select(0, order))


def _joined(parts: Sequence[Batch], shard: Shard) -> Batch:
    """One batch of several, and of that the shard."""
    columns = zip(*(part.tensors() for part in parts), strict=True)
    whole = Batch(*(torch.cat(found) if found[0] is not None else None for found in columns))  # type: ignore[arg-type]
    return whole.part(shard.of(len(whole)))
