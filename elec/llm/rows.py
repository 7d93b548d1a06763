"""Which texts a row of the training frame reads, and whether it was a click."""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq


class Rows(NamedTuple):
    """Rows of one split, in the order of their files.

    Attributes:
        roles: What a row's texts are of.
        texts: int32 [N, R], numbers of texts.
        label: float32 [N]; 1 is a click.
    """

    roles: tuple[str, ...]
    texts: np.ndarray
    label: np.ndarray


def read_texts(path: Path) -> tuple[tuple[str, ...], np.ndarray, np.ndarray]:
    """Reads which texts rows have.

    Args:
        path: `rows/<split>.parquet`.

    Returns:
        The roles; row_id int64 [N]; texts int32 [N, R].
    """
    table = pq.read_table(path)
    roles = tuple(name for name in table.column_names if name != "row_id")
    return roles, table["row_id"].to_numpy(), np.stack([table[role].to_numpy() for role in roles], axis=1)


def read_rows(texts: Path, features: Path, split: str) -> Rows:
    """Reads the texts and the labels of a split.

    Args:
        texts: Folder with `rows/<split>.parquet`.
        features: Folder with `encoded/<split>.parquet`.
        split: `train`, `valid` or `test`.
    """
    roles, row_id, numbers = read_texts(texts / "rows" / f"{split}.parquet")
    encoded = pq.read_table(features / "encoded" / f"{split}.parquet", columns=["row_id", "label"])
    if not np.array_equal(row_id, encoded["row_id"].to_numpy()):
        raise AssertionError(f"the texts and the encoded columns of {split} are not of the same rows in the same order")
    return Rows(roles, numbers, encoded["label"].to_numpy().astype(np.float32))
