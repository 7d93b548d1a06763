"""A cumulative histogram in the form that Prometheus scrapes, cheap enough to be fed on every request."""

from bisect import bisect_left
from collections.abc import Sequence

import numpy as np

# Up to so many values are counted faster so.
_ONE_BY_ONE = 16


class Histogram:
    """Counts of values in fixed bins. It has no lock of its own.

    Args:
        edges: Upper edges of the bins, ascending; a value on an edge is below it. The last bin is open.
    """

    def __init__(self, edges: Sequence[float]) -> None:
        self._edges = tuple(edges)
        self._edges_E = np.array(self._edges, dtype=np.float64)
        self._counts_B = np.zeros(len(self._edges) + 1, dtype=np.int64)
        self._sum = 0.0

    def add(self, value: float) -> None:
        """Counts one value."""
        self._counts_B[bisect_left(self._edges, value)] += 1
        self._sum += value

    def add_all(self, values_N: np.ndarray) -> None:
        """Counts N finite values at once."""
        if len(values_N) <= _ONE_BY_ONE:
            for value in values_N.tolist():
                self.add(value)
            return
        bins_N = np.searchsorted(self._edges_E, values_N)
        self._counts_B += np.bincount(bins_N, minlength=len(self._counts_B))
        self._sum += float(values_N.sum(dtype=np.float64))

    def cumulative(self) -> tuple[list[tuple[str, float]], float]:
        """The number of values up to each edge, `+Inf` last, and the sum of all values."""
        names = [*map(str, self._edges), "+Inf"]
        return list(zip(names, np.cumsum(self._counts_B).astype(float).tolist(), strict=True)), self._sum
