"""The folder of a prediction log: files that appear whole, and never more bytes than were allowed."""

import fcntl
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from elec.errors import InputError

#: What readers open; in the order of the names the files are in the order of time.
PATTERN = "predictions-*.parquet"

_FINAL = re.compile(r"predictions-\d{8}T\d{12}Z-[0-9a-f]{8}\.parquet")
_HIDDEN = ".predictions.part"
_LOCK = ".predictions.lock"
# Files of a few rows each are small, and a folder of a million of them is slow.
_MOST_FILES = 10_000


class PredictionFiles:
    """Adds files to a folder that several servers may write to, and removes the oldest.

    One writes at a time, by a lock that ends with its process; so a hidden file is a dead writer's, and may be written over.

    Args:
        folder: It is made.
        most_bytes: Of all files together.

    Raises:
        InputError: If the folder cannot be written to.
    """

    def __init__(self, folder: Path, most_bytes: int) -> None:
        self._folder = folder
        self._most_bytes = most_bytes
        try:
            with self._alone():
                (folder / _HIDDEN).unlink(missing_ok=True)
        except OSError as error:
            raise InputError(
                f"{folder}: predictions cannot be logged there ({error.strerror}); give another folder for the prediction log"
            ) from None

    def add(self, content: pa.Buffer) -> Path:
        """Writes a file: first there is room for it, then it is there, whole.

        Args:
            content: Of a Parquet file.

        Raises:
            OSError: If it cannot be written; then nothing of it is visible.
            ValueError: If it alone is larger than all files may be.
        """
        if content.size > self._most_bytes:
            raise ValueError(f"a file of {content.size:,} bytes, where all together may have {self._most_bytes:,}")
        hidden = self._folder / _HIDDEN
        with self._alone():
            self._make_room(content.size)
            try:
                with hidden.open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                final = self._folder / f"predictions-{datetime.now(UTC):%Y%m%dT%H%M%S%f}Z-{uuid.uuid4().hex[:8]}.parquet"
                hidden.rename(final)
            except BaseException:
                hidden.unlink(missing_ok=True)
                raise
            self._settle()
        return final

    def usage(self) -> tuple[int, int]:
        """How many files there are, and their bytes; none if the folder has gone, which is no reason to fail."""
        try:
            sizes = [size for _, size in self._files()]
        except OSError:
            return 0, 0
        return len(sizes), sum(sizes)

    def _files(self) -> list[tuple[str, int]]:
        """Names and bytes, the oldest first."""
        found = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                if _FINAL.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
                    # Another server may be making room.
                    try:
                        found.append((entry.name, entry.stat(follow_symlinks=False).st_size))
                    except FileNotFoundError:
                        continue
        return sorted(found)

    def _make_room(self, size: int) -> None:
        files = self._files()
        used, count = sum(size for _, size in files), len(files)
        for name, freed in files:
            if used + size <= self._most_bytes and count < _MOST_FILES:
                return
            (self._folder / name).unlink(missing_ok=True)
            used, count = used - freed, count - 1

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / _LOCK).open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _settle(self) -> None:
        """A name is on the disk once its folder is."""
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
