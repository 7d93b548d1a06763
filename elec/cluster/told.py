"""How a process of another pod says what ended it, to the step that waits for it (`elec.cluster.jobs`)."""

from collections.abc import Iterator
from contextlib import contextmanager

import orjson

from elec import storage
from elec.errors import BlockedError, InputError


@contextmanager
def told(report: str | None) -> Iterator[None]:
    """Writes what ends the `with` block into the report, unless another process has: when one fails, the others lose it.

    Args:
        report: A file or an `s3://` URI; None for nobody who waits.
    """
    try:
        yield
    except Exception as error:
        if report and not (storage.exists(report) and b'"error"' in storage.read_bytes(report)):
            message = str(error) or type(error).__name__
            kinds = {"input": isinstance(error, InputError), "blocked": isinstance(error, BlockedError)}
            content = {"error": {"message": message, **kinds}}
            storage.write_bytes(report, orjson.dumps(content))
        raise
