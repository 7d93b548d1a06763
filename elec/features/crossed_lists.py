"""Crosses of lists: the hashes of their values in a matrix, and all combinations of one value of each.

A row of a matrix has the hashes of a list's different values in the list's order, then `NOTHING`. A single value is a matrix of
one column.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elec.features.hashed import NOTHING, few_hashes_of, hashes_at
from elec.features.lists import first_in_rows, rows_of_parts
from elec.features.lookup_hash import Hashes


def list_hashes(lists: pa.Array, width: int) -> Hashes:
    """The hashes of N lists' values, uint64 [N, width]; empty values are left out, and each counts once per row.

    Args:
        lists: Of text, or of dictionary arrays of text, of which each value is hashed once.
        width: Of more values the first ones are taken.
    """
    parts = lists.flatten()
    if not isinstance(parts, pa.DictionaryArray):
        parts = pc.dictionary_encode(parts)
    texts = pc.if_else(pc.equal(parts.dictionary, ""), pa.scalar(None, pa.string()), parts.dictionary)
    hash_P = hashes_at(texts, parts.indices)
    code_P = pc.fill_null(pc.cast(parts.indices, pa.int64()), len(texts)).to_numpy(zero_copy_only=False)
    row_P, longest = rows_of_parts(lists)
    there_P = hash_P != NOTHING
    if not there_P.all():
        row_P, code_P, hash_P = row_P[there_P], code_P[there_P], hash_P[there_P]
    kept_K, slot_K, _ = first_in_rows(row_P, code_P, len(texts), longest, len(lists), width)
    hash_NW = np.full((len(lists), width), NOTHING)
    hash_NW[row_P[kept_K], slot_K] = hash_P[kept_K]
    return hash_NW


def few_list_hashes(lists: Sequence[Sequence[str | None] | None], width: int) -> Hashes:
    """What `list_hashes` gives, for lists that are not worth an Arrow array."""
    rows = [[text for text in dict.fromkeys(texts or ()) if text][:width] for texts in lists]
    hashed = iter(few_hashes_of([text for texts in rows for text in texts]).tolist())
    hash_NW = np.full((len(rows), width), NOTHING)
    for row, texts in enumerate(rows):
        for slot in range(len(texts)):
            hash_NW[row, slot] = next(hashed)
    return hash_NW


def combinations(parts: Sequence[Hashes], most: int) -> tuple[npt.NDArray[np.int64], list[Hashes]]:
    """All combinations of one value of each list, row by row; the last list's values change fastest.

    Args:
        parts: A matrix of each list, uint64 [N, W], or [1, W] where all rows share one.
        most: Of a row; the first ones are taken.

    Returns:
        The rows of the P combinations, which rise, and of each list the hashes that they take, uint64 [P].
    """
    rows = max(len(part_NW) for part_NW in parts)
    lengths = [np.broadcast_to(np.count_nonzero(part_NW != NOTHING, axis=1), rows) for part_NW in parts]
    count_N = np.minimum(np.prod(lengths, axis=0, dtype=np.int64), most)
    row_P: npt.NDArray[np.int64] = np.repeat(np.arange(rows), count_N)
    number_P: npt.NDArray[Any] = np.arange(len(row_P)) - np.repeat(np.cumsum(count_N) - count_N, count_N)
    taken: list[Hashes] = []
    for part_NW, length_N in zip(reversed(parts), reversed(lengths), strict=True):
        number_P, slot_P = np.divmod(number_P, length_N[row_P])
        taken.append(part_NW[row_P if len(part_NW) == rows else 0, slot_P])
    return row_P, taken[::-1]
