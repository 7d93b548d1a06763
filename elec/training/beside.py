"""Numbers beside each row of an encoded file: an array in memory, or a .npy file that is read by blocks."""

from math import prod
from pathlib import Path

import numpy as np
import numpy.typing as npt

from elec.errors import InputError

Floats = npt.NDArray[np.floating]


class Beside:
    """The M-LLM's representations or the text vectors of all rows.

    Args:
        what: Their name in messages.
        source: float16 or float32 [N, ...]; as a .npy file, only the rows asked for are read.
        rows: N of the encoded file.
        path: The encoded file.

    Raises:
        InputError: If the .npy file is missing or is none.
        ValueError: If there are not as many as rows.

    Attributes:
        row_bytes: Of a row.
    """

    def __init__(self, what: str, source: Floats | Path, rows: int, path: Path) -> None:
        self._source = source
        if isinstance(source, Path):
            try:
                mapped = np.load(source, mmap_mode="r")
            except (OSError, ValueError) as error:
                raise InputError(f"{source}: the {what} cannot be read ({error}); build them again") from None
            self._offset, found = mapped.offset, mapped
        else:
            self._offset, found = 0, source
        self._rows = rows
        self._shape: tuple[int, ...] = found.shape[1:]
        self._dtype = found.dtype
        self.row_bytes = prod(self._shape) * found.dtype.itemsize
        if len(found) != rows:
            raise ValueError(f"{path} has {rows:,} rows, but there are {len(found):,} {what}")

    def empty(self, rows: int) -> Floats:
        """Room for some rows, uninitialised."""
        return np.empty((rows, *self._shape), self._dtype)

    def read(self, start: int, stop: int, into: Floats) -> None:
        """Copies the rows from `start` until before `stop`."""
        if isinstance(self._source, Path):
            # Read, not mapped: pages of a map would stay in this process's memory.
            with self._source.open("rb") as file:
                file.seek(self._offset + start * self.row_bytes)
                file.readinto(into[: stop - start].data.cast("B"))
        else:
            into[: stop - start] = self._source[start:stop]

    def whole(self) -> Floats:
        """All rows, in an array of their own or the one that was given."""
        if not isinstance(self._source, Path):
            return np.ascontiguousarray(self._source)
        found = self.empty(self._rows)
        self.read(0, self._rows, found)
        return found
