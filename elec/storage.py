"""One way to read, list, write and atomically publish, on a local path, `file://` or `s3://`.

Publishing never shows a half-written result. On disk a folder is written beside its final place and renamed; on S3, which
cannot rename, the file named last (`manifest.json`, say) goes up last, so a reader that asks for it first never sees a part.
Credentials come from the usual chain; an endpoint of one's own from `AWS_ENDPOINT_URL`.
"""

import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import unquote, urlparse

from elec.errors import InputError

#: How often a request to S3 is made before it counts as failed, and how long each may go without an answer.
_ATTEMPTS = 6
_CONNECT_SECONDS = 10
_READ_SECONDS = 60

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
    bucket, key = _bucket_and_key(uri)
    with _s3_errors(uri):
        try:
            _s3().head_object(Bucket=bucket, Key=key)
        except _s3().exceptions.ClientError as error:
            if error.response["Error"]["Code"] in {"404", "NoSuchKey", "NotFound"}:
                return False
            raise
    return True


def etag(uri: str) -> str:
    """What S3 calls the content of an object.

    Raises:
        InputError: If S3 refuses.
    """
    bucket, key = _bucket_and_key(uri)
    with _s3_errors(uri):
        return str(_s3().head_object(Bucket=bucket, Key=key)["ETag"])


def read_bytes(uri: str | Path) -> bytes:
    """Reads a file.

    Raises:
        FileNotFoundError: If there is none.
        InputError: If S3 refuses.
    """
    if not is_s3(uri):
        return local_path(uri).read_bytes()
    bucket, key = _bucket_and_key(uri)
    with _s3_errors(uri):
        try:
            return _body(bucket, key)
        except _s3().exceptions.ClientError as error:
            # The code stands in the answer's body, which a cut connection may take away.
            if error.response["Error"]["Code"] in {"404", "NoSuchKey"}:
                raise FileNotFoundError(str(uri)) from None
            raise


def write_bytes(uri: str | Path, content: bytes) -> None:
    """Writes a file in one step: a reader sees the old content or the new one, never a part."""
    if is_s3(uri):
        bucket, key = _bucket_and_key(uri)
        with _s3_errors(uri):
            _s3().put_object(Bucket=bucket, Key=key, Body=content)
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
    bucket, key = _bucket_and_key(uri)
    prefix = key.rstrip("/") + "/" if key else ""
    with _s3_errors(uri):
        pages = _s3().get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
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
            bucket, key = _bucket_and_key(join(uri, name))
            with _s3_errors(uri):
                if name == last:
                    _put_if_absent(bucket, key, (folder / name).read_bytes(), str(uri))
                else:
                    _s3().upload_file(str(folder / name), bucket, key)
        return
    target = local_path(uri)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=target.parent))
    try:
        shutil.copytree(folder, temporary, dirs_exist_ok=True)
        temporary.chmod(0o755)
        # A rename onto a folder that is not empty fails, so of two publishers one wins.
        temporary.rename(target)
    except OSError as error:
        if target.exists():
            raise FileExistsError(str(uri)) from None
        raise error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


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
            bucket, key = _bucket_and_key(uri)
            with _s3_errors(uri):
                _s3().upload_file(str(path), bucket, key)
        return
    target = local_path(uri)
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(target)
        _sync_folder(target.parent)
    finally:
        temporary.unlink(missing_ok=True)


def remove_folder(uri: str | Path) -> None:
    """Removes all files below a URI; there may be none."""
    if not is_s3(uri):
        shutil.rmtree(local_path(uri), ignore_errors=True)
        return
    bucket, _ = _bucket_and_key(uri)
    names = list_files(uri)
    for start in range(0, len(names), _KEYS_DELETED_AT_ONCE):
        keys = [{"Key": _bucket_and_key(join(uri, name))[1]} for name in names[start : start + _KEYS_DELETED_AT_ONCE]]
        with _s3_errors(uri):
            _s3().delete_objects(Bucket=bucket, Delete={"Objects": keys, "Quiet": True})


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
        bucket, key = _bucket_and_key(join(uri, name))
        with _s3_errors(uri):
            _s3().download_file(bucket, key, str(target))
    return folder


def s3_filesystem() -> Any:
    """The pyarrow file system for `s3://`, with the same credentials and endpoint as boto3."""
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

    settings: dict[str, Any] = {
        # Arrow's own three attempts are too few for a server that asks to slow down.
        "retry_strategy": AwsStandardS3RetryStrategy(max_attempts=_ATTEMPTS),
        "connect_timeout": _CONNECT_SECONDS,
        "request_timeout": _READ_SECONDS,
    }
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not endpoint:
        return S3FileSystem(**settings)
    parsed = urlparse(endpoint)
    return S3FileSystem(endpoint_override=parsed.netloc, scheme=parsed.scheme, allow_bucket_creation=False, **settings)


def is_s3_failure(error: BaseException) -> bool:
    """Whether an OSError is what Arrow says about S3, and not about the content of a file."""
    return isinstance(error, OSError) and "AWS Error" in str(error)


def _bucket_and_key(uri: str | Path) -> tuple[str, str]:
    bucket, _, key = str(uri).removeprefix("s3://").partition("/")
    if not bucket:
        raise InputError(f"{uri}: names no bucket; write s3://bucket/path")
    return bucket, key


def _sync_folder(folder: Path) -> None:
    """Makes a rename in a folder outlive a power cut."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _body(bucket: str, key: str) -> bytes:
    """An object's content. boto3 asks again for an answer that fails, but not for one that is cut off in its middle."""
    from botocore.exceptions import IncompleteReadError, ReadTimeoutError, ResponseStreamingError

    for number in range(_ATTEMPTS):
        try:
            body: bytes = _s3().get_object(Bucket=bucket, Key=key)["Body"].read()
        except (IncompleteReadError, ReadTimeoutError, ResponseStreamingError):
            if number + 1 == _ATTEMPTS:
                raise
        else:
            return body
    raise AssertionError("unreachable")


def _put_if_absent(bucket: str, key: str, content: bytes, uri: str) -> None:
    try:
        _s3().put_object(Bucket=bucket, Key=key, Body=content, IfNoneMatch="*")
    except _s3().exceptions.ClientError as error:
        if error.response["Error"]["Code"] in {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}:
            raise FileExistsError(uri) from None
        raise


def _s3() -> Any:
    return _s3_at(os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"))


@lru_cache(maxsize=4)
def _s3_at(endpoint: str | None) -> Any:
    """The client of an endpoint; a client costs 0.3 s to make."""
    import boto3
    from botocore.config import Config

    # A session of its own: boto3's default one remembers credentials for the life of the process.
    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint,
        config=Config(
            retries={"mode": "standard", "total_max_attempts": _ATTEMPTS},
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
        ),
    )


class _s3_errors:  # noqa: N801 - reads as a statement
    """Turns what S3 refuses into one sentence."""

    def __init__(self, uri: str | Path) -> None:
        self.uri = uri

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        if isinstance(error, ClientError):
            detail = error.response.get("Error", {})
            raise InputError(
                f"{self.uri}: S3 refused with {detail.get('Code', 'an error')} ({detail.get('Message') or 'no reason given'}); "
                "check the bucket, the credentials and AWS_ENDPOINT_URL"
            ) from error
        if isinstance(error, BotoCoreError | Boto3Error):
            raise InputError(
                f"{self.uri}: S3 cannot be reached ({error}); check the credentials and AWS_ENDPOINT_URL"
            ) from error
