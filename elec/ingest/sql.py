"""DuckDB beside Arrow: for what Arrow's kernels lack (JSON, ISO 8601, hashes) and for sorts larger than memory."""

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

from elec.memory import share_arenas

_MEMORY = "700MB"


class Sql:
    """One in-memory database that spills to a folder. Threads may share it: each has a cursor of its own.

    Args:
        spill: An existing folder for what does not fit into memory.
    """

    def __init__(self, spill: Path) -> None:
        import duckdb

        share_arenas()
        self._database: Any = duckdb.connect(
            config={"memory_limit": _MEMORY, "temp_directory": str(spill / "spill"), "enable_external_access": "true"}
        )
        self._cursors = threading.local()

    @property
    def _connection(self) -> Any:
        return self._cursor("mine")

    def _cursor(self, name: str) -> Any:
        if not hasattr(self._cursors, name):
            setattr(self._cursors, name, self._database.cursor())
        return getattr(self._cursors, name)

    def query(self, sql: str, **tables: pa.Table) -> pa.Table:
        """Runs a query on Arrow tables, which it names by keyword, or on tables of the database."""
        # Of a result that is streamed meanwhile the same cursor would lose the rest.
        cursor = self._cursor("arrow") if tables else self._connection
        for name, table in tables.items():
            cursor.register(name, table)
        try:
            return cursor.sql(sql).to_arrow_table()
        finally:
            for name in tables:
                cursor.unregister(name)

    def takes(self, schema: pa.Schema) -> bool:
        """Whether queries can read tables of a schema."""
        import duckdb

        try:
            self.query("SELECT * FROM asked", asked=schema.empty_table())
        except duckdb.NotImplementedException:
            return False
        return True

    def run(self, sql: str) -> None:
        """Runs a statement without a result."""
        self._connection.sql(sql)

    def stream(self, sql: str, rows: int) -> Iterator[pa.RecordBatch]:
        """Runs a query and gives its result in batches; Arrow tables may be queried meanwhile."""
        yield from self._connection.sql(sql).to_arrow_reader(rows)

    def one(self, sql: str) -> tuple[Any, ...]:
        """The only row of a query's result."""
        (row,) = self._connection.sql(sql).fetchall()
        return tuple(row)

    def close(self) -> None:
        """Ends the database."""
        self._database.close()


def text(value: str) -> str:
    """A string literal of SQL."""
    return "'" + value.replace("'", "''") + "'"


def texts(values: Iterable[str]) -> str:
    """A list of string literals of SQL."""
    return f"[{', '.join(text(value) for value in values)}]"


def name(column: str) -> str:
    """A quoted name of SQL."""
    return '"' + column.replace('"', '""') + '"'


def hashed(column: str, kind: pa.DataType) -> str:
    """DuckDB's hash of a column.

    Args:
        column: As SQL names it.
        kind: Of its values: as a list, `NULL`, `[]` and `[NULL]` have one hash; as text they have three.
    """
    return f"hash({column}::VARCHAR)" if pa.types.is_nested(kind) else f"hash({column})"


def numbered(table: pa.Table) -> pa.Table:
    """The table with columns `c0`, `c1`, ...: DuckDB takes `a` and `A` for the same name."""
    return table.rename_columns([f"c{position}" for position in range(table.num_columns)])
