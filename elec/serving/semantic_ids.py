"""The semantic ids of the items: a table in the bundle, so that codes and the weights that learned them are one thing."""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from elec.errors import InputError
from elec.features.raw import raw_column
from elec.spec.dataset import Entity, FieldSpec

_ROWS = 65_536


class SemanticIds:
    """Adds an item's semantic ids to its records.

    Args:
        path: Parquet: the item's key, and a column of text for every semantic id.
        item: The item's key.
        names: The semantic ids.

    Raises:
        InputError: If the file cannot be read, or does not have the columns.
    """

    def __init__(self, path: Path, item: str, names: Sequence[str]) -> None:
        self._item = FieldSpec(name=item, of=Entity.ITEM)
        try:
            # Few distinct codes for many items: as a dictionary a code takes four bytes.
            table = pq.read_table(path, columns=[item, *names], read_dictionary=list(names))
        except (OSError, KeyError, pa.ArrowException) as error:
            raise InputError(f"{path}: cannot be read ({str(error).splitlines()[0]}); publish the bundle anew") from None
        if table.column_names != [item, *names]:
            raise InputError(f"{path}: has not the columns {item}, {', '.join(names)}; publish the bundle anew")
        self._keys: pa.Array = pc.cast(table.column(item), pa.string()).combine_chunks()
        self._codes = {name: table.column(name) for name in names}

    def add(self, table: pa.Table | pa.RecordBatch) -> pa.Table:
        """The records with a column for every semantic id; null for an item that the table does not have.

        Raises:
            InputError: If the records have no column of the item's key.
        """
        if self._item.name not in table.schema.names:
            raise InputError(f"field '{self._item.name}': the column is missing; send it, with null where the value is unknown")
        row_N = pc.index_in(raw_column(self._item, table.column(self._item.name)), value_set=self._keys)
        columns = {name: table.column(name) for name in table.schema.names if name not in self._codes}
        for name, codes in self._codes.items():
            columns[name] = pc.cast(codes.take(row_N), pa.string())
        return pa.table(columns)


def write_semantic_ids(items: Path, target: Path, item: str, names: Sequence[str]) -> None:
    """Writes a bundle's table from the knowledge of a run.

    Args:
        items: `items.parquet` of the knowledge: the key, `code_1` ..., and more.
        target: The Parquet file to write.
        item: The item's key.
        names: What the codes are called as fields.
    """
    codes = [f"code_{level + 1}" for level in range(len(names))]
    schema = pa.schema([(name, pa.string()) for name in (item, *names)])
    with pq.ParquetFile(items) as source, pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for batch in source.iter_batches(_ROWS, columns=[item, *codes]):
            columns = [pc.cast(batch.column(name), pa.string()) for name in (item, *codes)]
            writer.write_batch(pa.record_batch(columns, schema))
