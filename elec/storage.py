"""One way to read, list, write and atomically publish, on a local path, `file://` or `s3://`.

Publishing never shows a half-written result. On disk a folder is written beside its final place and renamed; on S3, which
cannot rename, the file named last (`manifest.json`, say) goes up last, so a reader that asks for it first never sees a part.
"""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlparse

from elec import s3
from elec.errors import InputError

#: What S3 takes in one request.
_KEYS_DELETED_AT_ONCE = 1000


def is_s3(uri: str | Path) -> bool:
    """Whether the URI names S3."""
    return str(uri).startswith("s3://")


def local_path(uri: str | Path) -> Path:
    """The path of a local URI.

    Raises:
        InputError: If the scheme is neither `file://` nor none.
    """
    text = str(uri)
    if "://" not in text:
        return Path(text)
    parsed = urlparse(text)
    if parsed.scheme != "file" or parsed.netloc not in {"", "localhost"}:
        raise InputError(f"{text}: this kind of address is not supported; use a path, file:///... or s3://bucket/...")
    return Path(unquote(parsed.path))


def join(uri: str | Path, *parts: str) -> str:
    """A URI below another one.

    Raises:
        InputError: If a part climbs out.
    """
    for part in parts:
        if part.startswith("/") or ".." in PurePosixPath(part).parts:
            raise InputError(f"'{part}' leads out of {uri}; only paths below it are allowed")
    if "://" in str(uri):
        return "/".join([str(uri).rstrip("/"), *parts])
    return str(Path(uri, *parts))


def exists(uri: str | Path) -> bool:
    """Whether there is a file (or, on disk, a folder) at the URI."""
    if not is_s3(uri):
        return local_path(uri).exists()
    bucket, key = s3.bucket_and_key(uri)
    with s3.errors(uri):
        try:
            s3.client().head_object(Bucket=bucket, Key=key)
        except s3.client().exceptions.ClientError as error:
            if error.response["Error"]["Code"] in {"404", "NoSuchKey", "NotFound"}:
                return False
            raise
    return True


def etag(uri: str) -> str:
    """What S3 calls the content of an object.

    Raises:
        InputError: If S3 refuses.
    """
    bucket, key = s3.bucket_and_key(uri)
    with s3.errors(uri):
        return str(s3.client().head_object(Bucket=bucket, Key=key)["ETag"])


def read_bytes(uri: str | Path) -> bytes:
    """Reads a file.

    Raises:
        FileNotFoundError: If there is none.
        InputError: If S3 refuses.
    """
    if not is_s3(uri):
        return local_path(uri).read_bytes()
    bucket, key = s3.bucket_and_key(uri)
    with s3.errors(uri):
        try:
            return s3.body(bucket, key)
        except s3.client().exceptions.ClientError as error:
            # The code stands in the answer's body, which a cut connection may take away.
            if error.response["Error"]["Code"] in {"404", "NoSuchKey"}:
                raise FileNotFoundError(str(uri)) from None
            raise


def write_bytes(uri: str | Path, content: bytes) -> None:
    """Writes a file in one step: a reader sees the old content or the new one, never a part."""
    if is_s3(uri):
        bucket, key = s3.bucket_and_key(uri)
        with s3.errors(uri):
            s3.client().put_object(Bucket=bucket, Key=key, Body=content)
        return
    path = local_path(uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def list_files(uri: str | Path) -> list[str]:
    """All files below a URI, as paths relative to it, sorted; none if there is nothing."""
    if not is_s3(uri):
        root = local_path(uri)
        return sorted(
            path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file() and not path.name.endswith(".tmp")
        )
    bucket, key = s3.bucket_and_key(uri)
    prefix = key.rstrip("/") + "/" if key else ""
    with s3.errors(uri):
        pages = s3.client().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        keys = [entry["Key"][len(prefix) :] for page in pages for entry in page.get("Contents", ())]
    # A key that ends in a slash is how consoles draw an empty folder.
    return sorted(key for key in keys if key and not key.endswith("/"))


def publish_folder(folder: Path, uri: str | Path, *, last: str) -> None:
    """Publishes a folder, once: what is published is never overwritten.

    Args:
        folder: What to publish.
        uri: Where.
        last: The file, relative to the folder, whose presence makes the result complete.

    Raises:
        FileExistsError: If something is published there already.
        FileNotFoundError: If the folder lacks its last file; nothing is published then.
    """
    if not (folder / last).is_file():
        raise FileNotFoundError(str(folder / last))
    if exists(join(uri, last)):
        raise FileExistsError(str(uri))
    if is_s3(uri):
        names = [path.relative_to(folder).as_posix() for path in sorted(folder.rglob("*")) if path.is_file()]
        for name in sorted(names, key=lambda name: name == last):
            bucket, key = s3.bucket_and_key(join(uri, name))
            with s3.errors(uri):
                if name == last:
                    s3.put_if_absent(bucket, key, (folder / name).read_bytes(), str(uri))
                else:
                    s3.client().upload_file(str(folder / name), bucket, key)
        return
    # A rename onto a folder that is not empty fails, so of two publishers one wins.
    with whole_folder(local_path(uri)) as temporary:
        shutil.copytree(folder, temporary, dirs_exist_ok=True)
        for path in temporary.rglob("*"):
            _sync(path)


@contextmanager
def whole_folder(folder: Path) -> Iterator[Path]:
    """Gives an empty folder to fill, and renames it to its place when the `with` block ends well: complete or absent.

    Args:
        folder: The place; nothing, or an empty folder, may be there.

    Raises:
        FileExistsError: If something is there already; it stays as it is.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        try:
            temporary.rename(folder)
        except OSError as error:
            if folder.exists():
                raise FileExistsError(str(folder)) from None
            raise error
        _sync(folder.parent)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def whole_file(uri: str | Path) -> Iterator[Path]:
    """Gives a path to write a large file at, and puts the file in its place when the `with` block ends well.

    A reader sees the old file or the new one, never a part, even if the machine goes down in the middle.

    Args:
        uri: The place; a file that is there is replaced.
    """
    if is_s3(uri):
        with tempfile.TemporaryDirectory(prefix="elec-") as scratch:
            path = Path(scratch, "file")
            yield path
            bucket, key = s3.bucket_and_key(uri)
            with s3.errors(uri):
                s3.client().upload_file(str(path), bucket, key)
        return
    target = local_path(uri)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(target)
        _sync(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def remove_folder(uri: str | Path) -> None:
    """Removes all files below a URI; there may be none."""
    if not is_s3(uri):
        shutil.rmtree(local_path(uri), ignore_errors=True)
        return
    bucket, _ = s3.bucket_and_key(uri)
    names = list_files(uri)
    for start in range(0, len(names), _KEYS_DELETED_AT_ONCE):
        keys = [{"Key": s3.bucket_and_key(join(uri, name))[1]} for name in names[start : start + _KEYS_DELETED_AT_ONCE]]
        with s3.errors(uri):
            s3.client().delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})


def fetch_folder(uri: str | Path, folder: Path) -> Path:
    """Gives a local folder with the files of a URI: the folder itself when it is local, else a copy.

    Args:
        uri: Where the files are.
        folder: Where a copy may go.
    """
    if not is_s3(uri):
        return local_path(uri)
    for name in list_files(uri):
        target = folder / name
        if not target.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{uri}: the key '{name}' leads out of its folder; refused")
        target.parent.mkdir(parents=True, exist_ok=True)
        bucket, key = s3.bucket_and_key(join(uri, name))
        with s3.errors(uri):
            s3.client().download_file(bucket, key, str(target))
    return folder


def _sync(path: Path) -> None:
    """Makes a file's content, or the renames in a folder, outlive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
