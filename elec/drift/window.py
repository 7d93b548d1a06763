"""The training window as one table: the log's rows joined with their user's and item's fields as of each event."""

# ruff: noqa: S608 - what goes into the SQL is names of the spec's pattern, numbers, and escaped paths

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from elec.spec import DatasetSpec, Entity

if TYPE_CHECKING:
    from elec.ingest import Ingested


def quoted(name: str) -> str:
    """A column's name in SQL."""
    return '"' + name.replace('"', '""') + '"'


@contextmanager
def connection() -> Iterator[Any]:
    """A DuckDB connection of its own that spills to disk instead of growing."""
    import duckdb

    with TemporaryDirectory(prefix="elec-drift-") as folder:
        config = {"temp_directory": folder, "memory_limit": "2GB", "preserve_insertion_order": False}
        opened = duckdb.connect(":memory:", config=config)
        try:
            yield opened
        finally:
            opened.close()


def window_query(ingested: "Ingested", spec: DatasetSpec, rows: str = "") -> str:
    """The SQL of the joined training window.

    Each row has `row_id`, `label`, `event_timestamp` and all fields of the spec; those of a user or an item that is unknown at
    the event's time are null.

    Args:
        ingested: The ingested folder.
        spec: The data set.
        rows: A condition on the log's rows, in SQL.
    """
    log = f"(SELECT * FROM {_table(ingested.train)} {'WHERE ' + rows if rows else ''})"
    columns = [
        "log.row_id",
        "log.label",
        "log.event_timestamp",
        *(f"log.{quoted(field.name)}" for field in (*spec.key_fields, *spec.fields_of(Entity.CONTEXT))),
    ]
    joins = []
    for entity, path in ((Entity.USER, ingested.users), (Entity.ITEM, ingested.items)):
        fields = spec.fields_of(entity)
        if fields:
            side, key = f"of_{entity.value}", quoted(spec.key_of(entity))
            columns += [f"{side}.{quoted(field.name)}" for field in fields]
            joins.append(
                f"ASOF LEFT JOIN {_table(path)} {side} "
                f"ON log.{key} = {side}.{key} AND log.event_timestamp >= {side}.event_timestamp"
            )
    return f"SELECT {', '.join(columns)} FROM {log} log {' '.join(joins)}"


def _table(path: Path) -> str:
    escaped = str(path).replace("'", "''")
    return f"read_parquet('{escaped}')"
