"""An object on S3 as a file that can be read at any position, and that waits for a server which fails for a while.

Arrow asks again by itself when a server is busy, but not where the server's answer is longer than what was asked for: it has
no room for the answer then, and gives up at once.
"""

import io
import time
from collections.abc import Callable
from typing import Any, TypeVar

from elec import s3

_TRIES = 4
_PAUSE_SECONDS = 0.2

Result = TypeVar("Result")


class RemoteFile(io.RawIOBase):
    """An object, open for reading.

    Args:
        uri: `s3://bucket/key`.

    Raises:
        OSError: If it cannot be opened, after some tries; so does reading.
    """

    def __init__(self, uri: str) -> None:
        super().__init__()
        path = uri.removeprefix("s3://")
        self._file: Any = _patiently(lambda: s3.filesystem().open_input_file(path))
        self._size: int = self._file.size()
        self._position = 0

    def readable(self) -> bool:
        """Yes."""
        return True

    def seekable(self) -> bool:
        """Yes."""
        return True

    def tell(self) -> int:
        """The position, in bytes from the start."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Goes to a position, which may be after the end."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(start + offset, 0)
        return self._position

    def read(self, size: int | None = -1) -> bytes:
        """Reads so many bytes in one request, fewer at the end; all that is left if no size is given."""
        left = max(self._size - self._position, 0)
        wanted = left if size is None or size < 0 else min(size, left)
        position = self._position
        content: bytes = _patiently(lambda: self._file.read_at(wanted, position)) if wanted else b""
        self._position += len(content)
        return content

    def readall(self) -> bytes:
        """Reads all that is left; io's own way would ask for 8 KB at a time."""
        return self.read()

    def readinto(self, buffer: Any) -> int:
        """Fills a buffer."""
        content = self.read(len(buffer))
        buffer[: len(content)] = content
        return len(content)

    def close(self) -> None:
        """Closes the object; it may be closed already."""
        if not self.closed:
            self._file.close()
        super().close()


def _patiently(work: Callable[[], Result]) -> Result:
    """Does what may fail for a while, again and again; what is refused or not there stays so."""
    for number in range(_TRIES):
        try:
            return work()
        except (FileNotFoundError, PermissionError):
            raise
        except OSError as error:
            if number + 1 == _TRIES or "ACCESS_DENIED" in str(error):
                raise
            time.sleep(_PAUSE_SECONDS * 2**number)
    raise AssertionError("unreachable")
