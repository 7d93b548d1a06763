"""Files that travel between the machines of an engine: through S3, or a folder that all of them see."""

import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Self

from elec import storage

_FETCHING = threading.Lock()


@dataclass(frozen=True)
class Shared:
    """A file or a folder that every worker reads, such as a view's rows or a vocabulary.

    Attributes:
        uri: Where it is.
        folder: Whether it is a folder.
    """

    uri: str
    folder: bool = False

    def here(self) -> Path:
        """It on this machine: itself, or a copy that this process fetches once."""
        if not storage.is_s3(self.uri):
            return storage.local_path(self.uri)
        copy = Path(tempfile.gettempdir(), f"elec-shared-{sha256(self.uri.encode()).hexdigest()[:24]}")
        with _FETCHING:
            if not copy.exists():
                # Several workers of a machine may fetch it at the same time: the first one's stays.
                try:
                    with storage.whole_folder(copy) as content:
                        if self.folder:
                            storage.fetch_folder(self.uri, content)
                        else:
                            fetch(self.uri, content / "file")
                except FileExistsError:
                    pass
        return copy if self.folder else copy / "file"


class Exchange:
    """A place for files that all workers reach.

    Args:
        uri: A folder or an `s3://` URI.
        one_machine: Whether all workers are on this machine, so that nothing has to be copied.
    """

    def __init__(self, uri: str, *, one_machine: bool) -> None:
        self.uri = uri
        self._one_machine = one_machine

    @classmethod
    @contextmanager
    def below(cls, place: str) -> Iterator[Self]:
        """A place of its own, which is removed at the end.

        Args:
            place: A folder or an `s3://` URI that all workers reach; empty for this machine's temporary folder, which reaches
                the workers of this machine only.
        """
        with tempfile.TemporaryDirectory(prefix="elec-exchange-") as own:
            uri = storage.join(place, Path(own).name) if place else own
            if place and not storage.is_s3(uri):
                storage.local_path(uri).mkdir(parents=True)
            try:
                yield cls(uri, one_machine=not place)
            finally:
                if place:
                    storage.remove_folder(uri)

    def at(self, name: str) -> str:
        """The URI of a file."""
        return storage.join(self.uri, name)

    def share(self, path: Path, name: str) -> Shared:
        """Makes a file or a folder of this machine known to all workers.

        Args:
            path: Where it is; it must not change any more.
            name: Of its copy, where one is needed.
        """
        if self._one_machine:
            return Shared(str(path.resolve()), path.is_dir())
        if path.is_dir():
            for file in sorted(found for found in path.rglob("*") if found.is_file()):
                put(file, self.at(f"{name}/{file.relative_to(path).as_posix()}"))
        else:
            put(path, self.at(name))
        return Shared(self.at(name), path.is_dir())


def fetch(uri: str, path: Path) -> None:
    """Copies a file to this machine."""
    if storage.is_s3(uri):
        from pyarrow import fs

        from elec import s3

        fs.copy_files(uri.removeprefix("s3://"), str(path), source_filesystem=s3.filesystem())
    else:
        shutil.copyfile(storage.local_path(uri), path)


def put(path: Path, uri: str) -> None:
    """Copies a file of this machine to where others read it, in one step."""
    with storage.whole_file(uri) as target:
        shutil.copyfile(path, target)
