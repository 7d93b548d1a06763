"""DuckDB beside Arrow: for what Arrow's kernels lack (JSON, ISO 8601, hashes) and for sorts larger than memory."""

import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa

_MEMORY = "700MB"


class Sql:
    """One in-memory database that spills to a folder. Threads may share it: each has a cursor of its own.

    Args:
        spill: An existing folder for what does not fit into memory.
    """

    def __init__(self, spill: Path) -> None:
        import duckdb

        self._database: Any = duckdb.connect(
            config={"memory_limit": _MEMORY, "temp_directory": str(spill / "spill"), "enable_external_access": "true"}
        )
        self._cursors = threading.local()

    @property
    def _connection(self) -> Any:
        if not hasattr(self._cursors, "mine"):
            self._cursors.mine = self._database.cursor()
        return self._cursors.mine

    def query(self, sql: str, **tables: pa.Table) -> pa.Table:
        """Runs a query on Arrow tables, which it names by keyword."""
        for name, table in tables.items():
            self._connection.register(name, table)
        try:
            return self._connection.sql(sql).to_arrow_table()
        finally:
            for name in tables:
                self._connection.unregister(name)

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
        """Runs a query and gives its result in batches."""
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


def numbered(table: pa.Table) -> pa.Table:
    """The table with columns `c0`, `c1`, ...: DuckDB takes `a` and `A` for the same name."""
    return table.rename_columns([f"c{position}" for position in range(table.num_columns)])
