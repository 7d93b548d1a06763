"""The semantic ids of the items: a table in the bundle, so that codes and the weights that learned them are one thing.

It is a file of `elec.features.lookup` with the item's keys as its values and a column of codes for every semantic id. Bundles
of the first two schema versions have a Parquet table instead, which is read into memory.
"""

from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from elec.errors import InputError
from elec.features.lookup import Lookup, one_array
from elec.features.raw import Columns, arrow_column, columns_of
from elec.spec.fields import Entity, FieldSpec


class SemanticIds:
    """Adds an item's semantic ids to its records.

    Args:
        path: The table: `.arrow`, which is mapped into memory, or `.parquet`.
        item: The item's key.
        names: The semantic ids.

    Raises:
        InputError: If the file cannot be read, or does not have the columns.
    """

    def __init__(self, path: Path, item: str, names: Sequence[str]) -> None:
        self._item = FieldSpec(name=item, of=Entity.ITEM)
        if path.suffix == ".parquet":
            self._lookup, self._codes = _read_parquet(path, item, names)
            return
        self._lookup, codes = Lookup.open(path)
        if codes.schema.names != list(names):
            held = ", ".join(codes.schema.names) or "none"
            raise InputError(f"{path}: its codes are {held}, not {', '.join(names)}; publish the bundle anew")
        self._codes = {name: codes.column(name) for name in names}

    def add(self, records: pa.Table | pa.RecordBatch | Columns) -> Columns:
        """The records' columns, and one for every semantic id; null for an item that the table does not have.

        Raises:
            InputError: If the records have no column of the item's key.
        """
        given = columns_of(records)
        if self._item.name not in given:
            raise InputError(f"field '{self._item.name}': the column is missing; send it, with null where the value is unknown")
        position_N = self._lookup.positions(arrow_column(self._item, given[self._item.name]))
        row_N = pa.array(position_N, mask=position_N < 0)
        codes = {name: pc.cast(of_items.take(row_N), pa.string()) for name, of_items in self._codes.items()}
        return {**given, **codes}


def write_semantic_ids(items: Path, target: Path, item: str, names: Sequence[str]) -> None:
    """Writes a bundle's table from the knowledge of a run.

    Args:
        items: `items.parquet` of the knowledge: the key, `code_1` ..., and more.
        target: The file to write.
        item: The item's key.
        names: What the codes are called as fields.
    """
    codes = {name: f"code_{level + 1}" for level, name in enumerate(names)}
    table = pq.read_table(items, columns=[item, *codes.values()])
    # Few distinct codes for many items: as a dictionary a code takes four bytes.
    columns = {name: one_array(table.column(code)).dictionary_encode() for name, code in codes.items()}
    Lookup(one_array(table.column(item))).save(target, columns)


def _read_parquet(path: Path, item: str, names: Sequence[str]) -> tuple[Lookup, dict[str, pa.ChunkedArray]]:
    try:
        table = pq.read_table(path, columns=[item, *names], read_dictionary=list(names))
    except (OSError, KeyError, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read ({str(error).splitlines()[0]}); publish the bundle anew") from None
    if table.column_names != [item, *names]:
        raise InputError(f"{path}: has not the columns {item}, {', '.join(names)}; publish the bundle anew")
    return Lookup(one_array(table.column(item))), {name: table.column(name) for name in names}
