"""The distinct texts of the items, numbered densely, and which of them each row and each item has."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from elec.errors import InputError
from elec.features.engine import duckdb_connection, quoted

Numbers = np.ndarray[Any, np.dtype[np.int32]]


@dataclass(frozen=True)
class ItemTexts:
    """The texts that items have in any row.

    Attributes:
        keys: Of their vectors, string [I].
        of_row: By split, int32 [N]: the text of each row's item, a number below I.
        items: The items' keys, string [M], sorted.
        of_item: int32 [M]: each item's text in its last row.
    """

    keys: pa.Array
    of_row: Mapping[str, Numbers]
    items: pa.Array
    of_item: Numbers

    @classmethod
    def read(cls, texts: Path, frames: Mapping[str, Path], item: str) -> "ItemTexts":
        """Reads which texts the items have.

        Args:
            texts: Folder of the texts, per entity.
            frames: Parquet files of the training frame by split, with the same rows.
            item: The item's key column.

        Raises:
            InputError: If the texts are not per entity.
        """
        rows = {split: texts / "rows" / f"{split}.parquet" for split in frames}
        for file in rows.values():
            if "item" not in pq.read_schema(file).names:
                raise InputError(
                    f"{file}: has no texts of items, since run.text.per is 'sample'; set run.text.per to 'entity' "
                    "for students that read text vectors"
                )
        for split, file in rows.items():
            _assert_same_rows(frames[split], file)
        number_of_row = {split: pq.read_table(file, columns=["item"])["item"].to_numpy() for split, file in rows.items()}
        keys = pq.read_table(texts / "texts.parquet", columns=["key"])["key"].combine_chunks()
        used = np.zeros(len(keys), bool)
        for numbers in number_of_row.values():
            used[numbers] = True
        dense = np.cumsum(used, dtype=np.int32) - 1
        items, last = _last_texts(list(frames.values()), list(rows.values()), item)
        return cls(
            keys.filter(pa.array(used)), {split: dense[numbers] for split, numbers in number_of_row.items()}, items, dense[last]
        )


def _assert_same_rows(frame: Path, rows: Path) -> None:
    one, other = (pq.read_table(file, columns=["row_id"])["row_id"] for file in (frame, rows))
    if not one.equals(other):
        raise AssertionError(f"{frame} and {rows} are not of the same rows in the same order")


def _last_texts(frames: list[Path], rows: list[Path], item: str) -> tuple[pa.Array, Numbers]:
    """Every item, and the number of the text that it had in its last row."""
    with duckdb_connection() as connection:
        found = connection.sql(
            f"""
            SELECT frame.{quoted(item)} AS key, arg_max(texts.item, (frame.event_timestamp, frame.row_id)) AS last
            FROM read_parquet($frames) frame JOIN read_parquet($rows) texts USING (row_id) GROUP BY 1 ORDER BY 1
            """,  # noqa: S608 - the one inserted name is quoted
            params={"frames": [str(file) for file in frames], "rows": [str(file) for file in rows]},
        ).to_arrow_table()
    return found["key"].combine_chunks().cast(pa.string()), found["last"].to_numpy().astype(np.int32)
