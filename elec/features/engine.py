"""DuckDB for work on rows: in memory, UTC, and spilling to disk before it takes the machine's memory."""

import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from elec.memory import share_arenas

if TYPE_CHECKING:
    import pyarrow as pa

_MEMORY_LIMIT = "2GB"


@contextmanager
def duckdb_connection(memory_limit: str = _MEMORY_LIMIT) -> Iterator[Any]:
    """A connection of one's own, closed at the end, its spilled files removed.

    Args:
        memory_limit: What DuckDB may hold before it spills, as it writes sizes.
    """
    import duckdb

    share_arenas()
    with (
        tempfile.TemporaryDirectory(prefix="elec-duckdb-") as spill,
        duckdb.connect(config={"memory_limit": memory_limit, "temp_directory": spill}) as connection,
    ):
        connection.execute("SET TimeZone = 'UTC'")
        yield connection


@contextmanager
def reading(connection: Any, name: str, schema: "pa.Schema", batches: "Iterator[pa.RecordBatch]") -> Iterator[None]:
    """Lets one query read batches, as they come, as a table.

    Args:
        connection: DuckDB.
        name: Of the table.
        schema: Of the batches.
        batches: Made in DuckDB's threads. What they raise is raised here; DuckDB would tell it in words of its own.
    """
    import pyarrow as pa

    raised: list[BaseException] = []

    def guarded() -> "Generator[pa.RecordBatch, None, None]":
        try:
            yield from batches
        except Exception as error:
            raised.append(error)
            raise

    stream = guarded()
    connection.register(name, pa.RecordBatchReader.from_batches(schema, stream))
    try:
        yield
    except Exception as error:
        raise (raised or [error])[0] from None
    finally:
        connection.unregister(name)
        stream.close()


def quoted(name: str) -> str:
    """A column's name inside SQL."""
    return '"' + name.replace('"', '""') + '"'
