"""A small file that several change at once: none of their changes is lost."""

import fcntl
import random
import time
from collections.abc import Callable
from pathlib import Path

from elec import s3, storage
from elec.errors import InputError

# How often a file is read and written anew because others were faster.
_UPDATES = 20


def update(uri: str | Path, change: Callable[[bytes | None], bytes]) -> bytes:
    """Reads a small file, and writes what follows from it: of several that do so at once, each sees the one before.

    On disk they wait for each other, by a lock that ends with its process; on S3 the later ones begin anew.

    Args:
        uri: The file.
        change: Gives the new content from the old one, None if there is none. It may be called more than once.

    Returns:
        The new content.

    Raises:
        InputError: If S3 refuses, or somebody else changes the file all the time.
    """
    if storage.is_s3(uri):
        return _update_on_s3(uri, change)
    path = storage.local_path(uri)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f".{path.name}.lock").open("wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        content = change(path.read_bytes() if path.exists() else None)
        storage.write_bytes(uri, content)
    return content


def _update_on_s3(uri: str | Path, change: Callable[[bytes | None], bytes]) -> bytes:
    bucket, key = s3.bucket_and_key(uri)
    written: bytes | None = None
    for _ in range(_UPDATES):
        with s3.errors(uri):
            old, tag = None, None
            try:
                old, tag = s3.body_and_tag(bucket, key)
            except s3.client().exceptions.ClientError as error:
                if error.response["Error"]["Code"] not in {"404", "NoSuchKey"}:
                    raise
        if written is not None and old == written:
            # It was written; the answer that said so was lost, and boto3 had asked again.
            return written
        written = change(old)
        with s3.errors(uri):
            if s3.put_if(bucket, key, written, tag=tag):
                return written
        # Not all at the same moment again.
        time.sleep(random.uniform(0.0, 0.2))  # noqa: S311
    raise InputError(f"{uri}: was changed by others {_UPDATES} times while it was to be changed; try again")
