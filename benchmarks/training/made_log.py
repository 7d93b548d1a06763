"""An encoded log of any size, made in chunks: ids with a long tail, and clicks that a factorisation model explains.

The same rows go to elec (Parquet, as the features step writes it) and to FuxiCTR (npz, its default format).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

#: Ids 0, 1 and 2 are padding, missing and out of vocabulary, as in every field of elec.
FIRST_VALUE = 3

_ROWS_AT_ONCE = 131_072
_FACTORS = 4
_TAIL = 1.05


@dataclass(frozen=True)
class MadeField:
    """One categorical field: `size` ids, the three special ones included."""

    name: str
    size: int
    width: int = 1
    kind: str = "categorical"


def fields_of(count: int, table_rows: int) -> tuple[MadeField, ...]:
    """Fields like a log's: two keys take most of the table, the others have a few to a few thousand values.

    Args:
        count: How many fields, four at least.
        table_rows: Rows of all fields' embeddings together, about.
    """
    small = [10 ** (1 + index % 4) + FIRST_VALUE for index in range(count - 2)]
    left = max(table_rows - sum(small), 2_000)
    return tuple(MadeField(f"field_{index}", size) for index, size in enumerate([2 * left // 3, left // 3, *small]))


class MadeLog:
    """Draws rows; the truth behind the clicks comes from the seed, so that train and valid share it.

    Args:
        fields: Of the rows.
        seed: Of truth and rows.
    """

    def __init__(self, fields: Sequence[MadeField], seed: int) -> None:
        self.fields = tuple(fields)
        self._seed = seed
        truth = np.random.default_rng(seed)
        self._bias = [truth.normal(0, 0.4, field.size).astype(np.float32) for field in fields]
        self._factors = [truth.normal(0, 0.7, (field.size, _FACTORS)).astype(np.float32) for field in fields[:2]]

    def chunks(self, rows: int, part: int) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int8]]]:
        """Rows in chunks: slots int64 [n, F] and labels int8 [n].

        Args:
            rows: How many.
            part: 0 for train, 1 for valid: other draws of the same truth.
        """
        draw = np.random.default_rng((self._seed, part))
        for start in range(0, rows, _ROWS_AT_ONCE):
            count = min(_ROWS_AT_ONCE, rows - start)
            slots = np.empty((count, len(self.fields)), np.int64)
            logit = np.full(count, -1.2, np.float32)
            for column, field in enumerate(self.fields):
                # A bounded power law by inversion: few values are frequent, most are rare.
                values = field.size - FIRST_VALUE
                share = draw.random(count)
                slots[:, column] = FIRST_VALUE + ((values**share) ** _TAIL).astype(np.int64) % values
                logit += self._bias[column][slots[:, column]] / np.sqrt(len(self.fields) / 4)
            logit += np.einsum("nk,nk->n", self._factors[0][slots[:, 0]], self._factors[1][slots[:, 1]])
            yield slots, (draw.random(count) < 1 / (1 + np.exp(-logit))).astype(np.int8)

    def write_parquet(self, path: Path, rows: int, part: int) -> None:
        """Writes rows as the features step does: `row_id`, `label`, `user_index`, `slots`."""
        width = len(self.fields)
        schema = pa.schema(
            [
                ("row_id", pa.int64()),
                ("label", pa.int8()),
                ("user_index", pa.int64()),
                pa.field("slots", pa.list_(pa.int64(), width)),
            ]
        )
        start = 0
        with pq.ParquetWriter(path, schema) as writer:
            for slots, label in self.chunks(rows, part):
                row_id = np.arange(start, start + len(label))
                cells = pa.FixedSizeListArray.from_arrays(pa.array(slots.reshape(-1)), width)
                batch = pa.record_batch([pa.array(row_id), pa.array(label), pa.array(slots[:, 0]), cells], schema=schema)
                writer.write_batch(batch, row_group_size=_ROWS_AT_ONCE)
                start += len(label)

    def write_npz(self, path: Path, rows: int, part: int) -> None:
        """Writes the same rows column by column, as FuxiCTR reads them."""
        parts = list(self.chunks(rows, part))
        slots = np.concatenate([found for found, _ in parts])
        columns = {field.name: slots[:, column] for column, field in enumerate(self.fields)}
        np.savez(path, **columns, label=np.concatenate([label for _, label in parts]))
