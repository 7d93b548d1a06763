"""DuckDB for work on rows: in memory, UTC, and spilling to disk before it takes the machine's memory."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_MEMORY_LIMIT = "2GB"


@contextmanager
def duckdb_connection() -> Iterator[Any]:
    """A connection of one's own, closed at the end, its spilled files removed."""
    import duckdb

    with (
        tempfile.TemporaryDirectory(prefix="elec-duckdb-") as spill,
        duckdb.connect(config={"memory_limit": _MEMORY_LIMIT, "temp_directory": spill}) as connection,
    ):
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


def quoted(name: str) -> str:
    """A column's name inside SQL."""
    return '"' + name.replace('"', '""') + '"'
