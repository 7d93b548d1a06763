"""What S3 is asked, by boto3 and by Arrow, with the same patience, credentials and endpoint.

Credentials come from the usual chain; an endpoint of one's own from `AWS_ENDPOINT_URL`.
"""

import os
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

from elec.errors import InputError

#: How often a request to S3 is made before it counts as failed, and how long each may go without an answer.
ATTEMPTS = 6
_CONNECT_SECONDS = 10
_READ_SECONDS = 60

# What S3 says when a condition does not hold, and when there is nothing.
_CHANGED = {"PreconditionFailed", "ConditionalRequestConflict", "412", "409"}
_GONE = {"NoSuchKey", "404"}


def bucket_and_key(uri: str | Path) -> tuple[str, str]:
    """The bucket and the key of a URI.

    Raises:
        InputError: If it names no bucket.
    """
    bucket, _, key = str(uri).removeprefix("s3://").partition("/")
    if not bucket:
        raise InputError(f"{uri}: names no bucket; write s3://bucket/path")
    return bucket, key


def client() -> Any:
    """The client of the endpoint that the environment names now."""
    return client_at(os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"))


@lru_cache(maxsize=4)
def client_at(endpoint: str | None) -> Any:
    """The client of an endpoint; a client costs 0.3 s to make."""
    import boto3
    from botocore.config import Config

    # A session of its own: boto3's default one remembers credentials for the life of the process.
    return boto3.session.Session().client(
        "s3",
        endpoint_url=endpoint,
        config=Config(
            retries={"mode": "standard", "total_max_attempts": ATTEMPTS},
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=_READ_SECONDS,
        ),
    )


def body(bucket: str, key: str) -> bytes:
    """An object's content."""
    return body_and_tag(bucket, key)[0]


def body_and_tag(bucket: str, key: str) -> tuple[bytes, str]:
    """An object's content, and S3's name for it.

    boto3 asks again for an answer that fails, but not for one that is cut off in its middle.
    """
    from botocore.exceptions import IncompleteReadError, ReadTimeoutError, ResponseStreamingError

    for number in range(ATTEMPTS):
        try:
            answer = client().get_object(Bucket=bucket, Key=key)
            body: bytes = answer["Body"].read()
        except (IncompleteReadError, ReadTimeoutError, ResponseStreamingError):
            if number + 1 == ATTEMPTS:
                raise
        else:
            return body, str(answer["ETag"])
    raise AssertionError("unreachable")


def put_if_absent(bucket: str, key: str, content: bytes, uri: str) -> None:
    """Writes an object, if there is none: of two writers one wins.

    Raises:
        FileExistsError: If there is one.
    """
    if not put_if(bucket, key, content, tag=None):
        raise FileExistsError(uri)


def put_if(bucket: str, key: str, content: bytes, *, tag: str | None) -> bool:
    """Writes an object, if nobody else has in between: of two writers one wins.

    Args:
        bucket: Where.
        key: Where.
        content: The new one.
        tag: Of the content that is replaced; None if there has to be none.

    Returns:
        False if another object is there, or none any more.
    """
    condition = {"IfNoneMatch": "*"} if tag is None else {"IfMatch": tag}
    try:
        client().put_object(Bucket=bucket, Key=key, Body=content, **condition)
    except client().exceptions.ClientError as error:
        code = error.response["Error"]["Code"]
        if code in _CHANGED or (tag is not None and code in _GONE):
            return False
        raise
    return True


def filesystem() -> Any:
    """The pyarrow file system for `s3://`, with the same credentials and endpoint as boto3."""
    from pyarrow.fs import AwsStandardS3RetryStrategy, S3FileSystem

    settings: dict[str, Any] = {
        # Arrow's own three attempts are too few for a server that asks to slow down.
        "retry_strategy": AwsStandardS3RetryStrategy(max_attempts=ATTEMPTS),
        "connect_timeout": _CONNECT_SECONDS,
        "request_timeout": _READ_SECONDS,
    }
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if not endpoint:
        return S3FileSystem(**settings)
    parsed = urlparse(endpoint)
    return S3FileSystem(endpoint_override=parsed.netloc, scheme=parsed.scheme, allow_bucket_creation=False, **settings)


def is_failure(error: BaseException) -> bool:
    """Whether an OSError is what Arrow says about S3, and not about the content of a file."""
    return isinstance(error, OSError) and "AWS Error" in str(error)


class errors:  # noqa: N801 - reads as a statement
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
