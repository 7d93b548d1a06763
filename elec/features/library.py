"""Feast, imported late (it takes seconds) and quietly, with its telemetry off."""

import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from typing import Any


def feast() -> Any:
    """The `feast` module."""
    # Read once, when Feast is first imported.
    os.environ["FEAST_USAGE"] = "False"
    os.environ["DO_NOT_TRACK"] = "1"
    with warnings.catch_warnings(), _without_torch():
        warnings.simplefilter("ignore")
        import feast

    return feast


@contextlib.contextmanager
def _without_torch() -> Iterator[None]:
    """Feast imports torch where it is installed, for tensors that nobody asks it for: half of its import time."""
    if "torch" in sys.modules:
        yield
        return
    modules: dict[str, Any] = sys.modules
    modules["torch"] = None
    try:
        yield
    finally:
        del modules["torch"]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps what Feast prints, logs below an error and warns of away from the user; what it raises still comes through."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with (
            warnings.catch_warnings(),
            contextlib.redirect_stdout(io.StringIO()),
            contextlib.redirect_stderr(io.StringIO()),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def own_tables() -> Iterator[None]:
    """Lets go of what Feast's DuckDB store was given: Ibis, under it, keeps every frame until the process ends.

    What the store finds has to be fetched before the `with` block ends.
    """
    import ibis  # type: ignore[import-untyped, unused-ignore]

    before = ibis.options.default_backend
    connection = ibis.duckdb.connect()
    ibis.set_backend(connection)
    try:
        yield
    finally:
        ibis.options.default_backend = before
        connection.disconnect()
