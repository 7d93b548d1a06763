"""Finds the files of a source (a path, a glob, a folder, `s3://`) and opens them as streams of plain bytes."""

import errno
import glob
import hashlib
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, cast

from elec import s3, storage
from elec.errors import InputError, RunFailedError
from elec.ingest.compressed import ENDINGS, unpacked
from elec.ingest.partitions import partition_of
from elec.ingest.remote import RemoteFile
from elec.spec import Source

_FORMATS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
#: Bytes of a file's beginning and end that tell it from another.
_ENDS = 65_536
_WILDCARD = re.compile(r"[*?\[]")


@dataclass(frozen=True)
class SourceFile:
    """One file of a source.

    Attributes:
        uri: A path or an `s3://` URI.
        format: `csv`, `tsv`, `jsonl` or `parquet`.
        size: Bytes as stored.
        partition: Columns that its folders stand for (`dt=2026-01-01`), and their values.
    """

    uri: str
    format: str
    size: int
    partition: tuple[tuple[str, str | None], ...] = ()


def find_files(source: Source) -> list[SourceFile]:
    """The files of a source, in the order in which they are read (by name).

    Raises:
        InputError: If there is no such file, the glob matches nothing, the folder holds nothing that can be read, S3 refuses,
            every file is empty, or the format cannot be told.
    """
    with readable(source.path):
        uris = _list_s3(source) if storage.is_s3(source.path) else _list_local(source)
    root = _root(source.path)
    files = [SourceFile(uri, _format_of(uri, source), _size_of(uri), partition_of(uri, root)) for uri in uris]
    # Writers of many parts leave empty ones; a source of nothing but empty files is a mistake.
    filled = [file for file in files if file.size > 0]
    if not filled:
        what = f"{files[0].uri} is empty (0 bytes)" if len(files) == 1 else f"all {len(files)} files of {source.path} are empty"
        raise InputError(f"{what}; export the data again, or give another `path`")
    return filled


def file_identity(file: SourceFile) -> str:
    """What tells whether a file is still the one that was read: its place, size and time, and its first and last bytes.

    On S3 the ETag stands for the content.

    Raises:
        InputError: If the file cannot be read.
    """
    parts: list[object] = [file.uri, file.format, file.partition]
    if storage.is_s3(file.uri):
        parts += [file.size, storage.etag(file.uri)]
    else:
        with open_raw(file) as stream:
            status = storage.local_path(file.uri).stat()
            parts += [status.st_size, status.st_mtime_ns, hashlib.sha256(stream.read(_ENDS)).hexdigest()]
            stream.seek(max(status.st_size - _ENDS, 0))
            parts.append(hashlib.sha256(stream.read(_ENDS)).hexdigest())
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:32]


def open_raw(file: SourceFile) -> IO[bytes]:
    """Opens a file as it is stored; it can be read at any position.

    Raises:
        InputError: If the file cannot be read.
    """
    with readable(file.uri):
        if storage.is_s3(file.uri):
            return cast(IO[bytes], RemoteFile(file.uri))
        return storage.local_path(file.uri).open("rb")


@contextmanager
def open_text(file: SourceFile) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """Opens a file of text, unpacked if it is gzip, zstd or bzip2 (told by its first bytes, not by its name).

    Yields:
        The stream of plain bytes, and the stored stream below it, whose position tells how much was read.

    Raises:
        InputError: If the file cannot be read, or is something else than text.
    """
    with readable(file.uri), open_raw(file) as raw:
        head = raw.read(4)
        raw.seek(0)
        _refuse_binary(file, head)
        with unpacked(file.uri, raw) as plain:
            yield plain, raw


@contextmanager
def readable(uri: str) -> Iterator[None]:
    """Turns what the system says about a file that cannot be read into one sentence."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{uri}: no such file; check `path`") from None
    except PermissionError:
        raise InputError(f"{uri}: may not be read (permission denied); change its permissions or give another `path`") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise InputError(f"{uri[:80]}...: the name is too long for a file; check `path`") from None
        if storage.is_s3(uri):
            raise InputError(
                f"{uri}: S3 refused or cannot be reached ({first_line(error)}); "
                "check the bucket, the credentials, AWS_REGION and AWS_ENDPOINT_URL"
            ) from error
        raise


@contextmanager
def room_on_disk(folder: Path) -> Iterator[None]:
    """Turns a disk that is full, and memory that is, into one sentence.

    Raises:
        RunFailedError: If there is no space or no memory left.
    """
    try:
        yield
    except Exception as error:
        # DuckDB has exceptions of its own for what its spill files meet, and stops before they fill the disk.
        said = str(error).lower()
        if getattr(error, "errno", None) == errno.ENOSPC or "no space left" in said or "max_temp_directory_size" in said:
            raise RunFailedError(
                f"{folder}: the disk is full; nothing was left there, make room or write somewhere else"
            ) from error
        # DuckDB's exception is none of Python's, and where Arrow reads its result no more than an OSError that says so.
        if isinstance(error, MemoryError) or "out of memory" in said:
            raise RunFailedError(
                f"{folder}: the memory does not suffice; nothing was left there, give the machine more, or read fewer rows "
                "with `window.days`"
            ) from error
        raise


def _list_local(source: Source) -> list[str]:
    path = storage.local_path(source.path)
    if path.is_dir():
        below = [found for found in sorted(path.rglob("*")) if found.is_file() and _is_data(found.relative_to(path).as_posix())]
        return _some([str(found) for found in below], source)
    if path.exists():
        return [str(path)]
    if _WILDCARD.search(str(path)):
        found_files = sorted(found for found in glob.glob(str(path), recursive=True) if Path(found).is_file())  # noqa: PTH207
        if not found_files:
            raise InputError(f"{source.path}: the pattern matches no file; check `path`")
        return found_files
    raise InputError(f"{source.path}: no such file; check `path`{_similar(path)}")


def _list_s3(source: Source) -> list[str]:
    uri = source.path
    if _WILDCARD.search(uri):
        fixed = uri[: cast(re.Match[str], _WILDCARD.search(uri)).start()].rpartition("/")[0]
        pattern = re.compile(_glob_pattern(uri[len(fixed) + 1 :]))
        found = [name for name in storage.list_files(fixed) if pattern.fullmatch(name)]
        if not found:
            raise InputError(f"{uri}: the pattern matches no object; check `path`")
        return [storage.join(fixed, name) for name in found]
    if not uri.endswith("/") and uri.count("/") > 2 and storage.exists(uri):
        return [uri]
    below = [name for name in storage.list_files(uri) if _is_data(name)]
    if not below:
        raise InputError(f"{uri}: no such object, and none below it; check `path`")
    return _some([storage.join(uri, name) for name in below], source)


def _some(uris: list[str], source: Source) -> list[str]:
    """The files of a folder that are data: all with a known ending, or all if the spec gives the format."""
    known = [uri for uri in uris if source.format is not None or _ending(uri) in _FORMATS]
    if known:
        return known
    if uris:
        raise InputError(
            f"{source.path}: none of its files ends in {', '.join(_FORMATS)} "
            f"(first: {PurePosixPath(uris[0]).name}); set `format`"
        )
    raise InputError(f"{source.path}: the folder holds no files; check `path`")


def _format_of(uri: str, source: Source) -> str:
    if source.format is not None:
        return source.format
    known = _FORMATS.get(_ending(uri))
    if known is not None:
        return known
    if source.delimiter is not None:
        return "csv"
    raise InputError(f"{uri}: the name does not tell the format; set `format` (csv, tsv, jsonl or parquet) beside `path`")


def _ending(uri: str) -> str:
    name = PurePosixPath(uri).name.lower()
    packed = next((ending for ending in ENDINGS if name.endswith(ending)), "")
    return PurePosixPath(name.removesuffix(packed)).suffix


def _root(path: str) -> str:
    """The folder where a source starts: itself, or what is before a pattern."""
    text = path if storage.is_s3(path) else str(storage.local_path(path))
    wildcard = _WILDCARD.search(text)
    return (
        text
        if wildcard is None or (not storage.is_s3(path) and Path(text).exists())
        else text[: wildcard.start()].rpartition("/")[0]
    )


def _is_data(name: str) -> bool:
    """Whether a file below a folder is data: `_SUCCESS`, `.crc` and the like are not."""
    return not any(part.startswith(("_", ".")) for part in PurePosixPath(name).parts)


def _size_of(uri: str) -> int:
    with readable(uri):
        if storage.is_s3(uri):
            return int(s3.filesystem().get_file_info(uri.removeprefix("s3://")).size or 0)
        return storage.local_path(uri).stat().st_size


def _refuse_binary(file: SourceFile, head: bytes) -> None:
    if head == b"PAR1":
        raise InputError(f"{file.uri}: is Parquet, not {file.format}; set `format: parquet`")
    if head == b"PK\x03\x04":
        raise InputError(f"{file.uri}: is a zip archive (or a spreadsheet), not {file.format}; unpack or export it first")


def _glob_pattern(pattern: str) -> str:
    """A glob as a regular expression: `*` stays within a folder, `**/` crosses folders."""
    parts = re.split(r"(\*\*/|\*\*|\*|\?|\[[^\]]+\])", pattern)
    known = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    return "".join(known.get(part) or (part.replace("[!", "[^") if part.startswith("[") else re.escape(part)) for part in parts)


def _similar(path: Path) -> str:
    """Names a file of the folder that the user may have meant."""
    import difflib

    if not path.parent.is_dir():
        return f" (there is no folder {path.parent} either)"
    close = difflib.get_close_matches(path.name, [found.name for found in path.parent.iterdir()], n=1)
    return f" (is it {close[0]}?)" if close else ""


def first_line(error: BaseException) -> str:
    """What an error says, short enough for a sentence."""
    return (str(error).splitlines() or [type(error).__name__])[0].rstrip(". ")
