"""Which bucket a number falls into, faster than by binary search.

The first 20 bits of a float64 (sign, exponent, 8 bits of the fraction) cut the numbers into cells in their own order. Between
two edges lie whole cells, whose bucket a table knows; only in the cell of an edge the number has to be compared with it.
"""

from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

_SHIFT = 64 - 20
_NUMBER = np.int64(2**63 - 1)
# Up to so many numbers a binary search is as fast.
_FEW = 4_096
# Tables that are kept: one a numeric field, of a megabyte at most.
_TABLES = 256


def bucket_of(edges: tuple[float, ...], number_N: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """How many edges are not above each of N numbers, int64 [N].

    Args:
        edges: Strictly rising, of absolute values below infinity.
        number_N: Not NaN.
    """
    table = _table(edges) if len(number_N) > _FEW else None
    if table is None:
        return np.searchsorted(np.asarray(edges, dtype=np.float64), number_N, side="right")
    cell_N = _cell(number_N)
    cell_N -= table.first
    np.clip(cell_N, 0, len(table.before_C) - 1, out=cell_N)
    bucket_N: npt.NDArray[np.int64] = table.before_C.take(cell_N).astype(np.int64)
    # The next edge is in the number's own cell, or in a later one and above the number.
    bucket_N += number_N >= table.edge_E1.take(bucket_N)
    return bucket_N


class _Table(NamedTuple):
    """Where the cells of the edges lie.

    Attributes:
        first: The cell before that of the first edge: whatever is below the edges counts as in it.
        before_C: For it and all cells up to the one after the last edge's, how many edges are in cells before it.
        edge_E1: The edges, and NaN behind them.
    """

    first: int
    before_C: npt.NDArray[np.int16]
    edge_E1: npt.NDArray[np.float64]


@lru_cache(_TABLES)
def _table(edges: tuple[float, ...]) -> _Table | None:
    """None if two edges share a cell, or there are more than int16 counts."""
    cell_E = _cell(np.asarray(edges, dtype=np.float64))
    if not 0 < len(cell_E) < np.iinfo(np.int16).max or (np.diff(cell_E) == 0).any():
        return None
    first = int(cell_E[0]) - 1
    before_C = np.searchsorted(cell_E, np.arange(first, int(cell_E[-1]) + 2)).astype(np.int16)
    return _Table(first, before_C, np.append(np.asarray(edges, dtype=np.float64), np.nan))


def _cell(number_N: npt.NDArray[np.float64]) -> npt.NDArray[np.int64]:
    """The cells of numbers: integers in the order of the numbers, equal for both zeros."""
    bits_N = (number_N + 0.0).view(np.int64)
    cell_N: npt.NDArray[np.int64] = (bits_N ^ ((bits_N >> 63) & _NUMBER)) >> _SHIFT
    return cell_N
