"""Hive partitions: folders named `dt=2026-01-01` say what a column holds for all rows below them."""

from dataclasses import replace
from pathlib import PurePosixPath
from urllib.parse import unquote

import pyarrow as pa

from elec.ingest.batches import RawBatch

#: What Hive and Spark call the folder of rows without a value.
_NONE = "__HIVE_DEFAULT_PARTITION__"


def partition_of(uri: str, root: str) -> tuple[tuple[str, str | None], ...]:
    """The columns that a file's folders stand for.

    Args:
        uri: The file.
        root: The folder where the source starts: names above it are no columns, unless they end it (`log/dt=2026-01-01`).

    Returns:
        Names and values, in the order of the folders; the value of a folder for missing values is None.
    """
    above = PurePosixPath(root).parts
    while above and "=" in above[-1]:
        above = above[:-1]
    found: dict[str, str | None] = {}
    for folder in PurePosixPath(uri).parts[len(above) : -1]:
        column, sign, value = folder.partition("=")
        if sign and column:
            found[unquote(column)] = None if value in {"", _NONE} else unquote(value)
    return tuple(found.items())


def with_partition(batch: RawBatch, partition: tuple[tuple[str, str | None], ...]) -> RawBatch:
    """The batch with a column of text for each partition; it replaces a column of the file, as in Spark."""
    if not partition:
        return batch
    rows = len(batch.table)
    table, identity = batch.table, batch.identity
    for column, value in partition:
        cells = pa.nulls(rows, pa.string()) if value is None else pa.repeat(pa.scalar(value, pa.string()), rows)
        if column in table.column_names:
            table = table.drop_columns(column)
        table = table.append_column(column, cells)
        # Equal rows of two partitions are different rows.
        identity = identity.append_column(str(identity.num_columns), cells)
    return replace(batch, table=table, identity=identity)
