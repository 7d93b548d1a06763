"""Quantile buckets of a numeric field, fit on the training rows."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from elec.features.bucket_search import bucket_of
from elec.features.ids import FIRST_VALUE, MISSING, OUT_OF_VOCABULARY
from elec.spec import FieldSpec

if TYPE_CHECKING:
    from elec.features.order_statistics import OrderStatistics


@dataclass(frozen=True)
class Buckets:
    """Where one bucket ends and the next begins.

    Attributes:
        edges: Strictly rising; a bucket holds `edge <= value < next edge`, the first and the last are open. None if the
            training rows had no value at all: then every value is out of vocabulary.
    """

    edges: tuple[float, ...] | None

    @property
    def size(self) -> int:
        """How many ids there are, those of padding, missing and out of vocabulary included."""
        return FIRST_VALUE if self.edges is None else len(self.edges) + 1 + FIRST_VALUE

    @classmethod
    def fit(cls, field: FieldSpec, numbers: "OrderStatistics") -> "Buckets":
        """Places the edges at the quantiles 1/buckets, 2/buckets, ..., or at equal steps of the logarithm; of finite values.

        Edges are values that occur. Equal ones fall together, so a field of few distinct values, or of many empty steps, has
        fewer buckets, and each has training rows.

        Args:
            field: A numeric field.
            numbers: Of the training rows.
        """
        lowest = numbers.lowest
        if lowest is None:
            return cls(None)
        if field.scale == "log":
            assert numbers.highest is not None
            edges = numbers.least_from(_steps(lowest, numbers.highest, field.buckets))
        else:
            edges = numbers.quantiles([number / field.buckets for number in range(1, field.buckets)])
        # Below an edge at the lowest value there would be a bucket that training never sees.
        return cls(tuple(sorted({float(edge) for edge in edges if edge > lowest})))

    def ids(self, numbers: pa.Array) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The ids of N numbers (float64, null where missing), int64 [N]."""
        missing = pc.is_null(numbers).to_numpy(zero_copy_only=False)
        if self.edges is None:
            return np.where(missing, MISSING, OUT_OF_VOCABULARY).astype(np.int64)
        values = pc.fill_null(numbers, 0.0).to_numpy(zero_copy_only=False)
        ids: np.ndarray[Any, np.dtype[np.int64]] = bucket_of(self.edges, values)
        ids += FIRST_VALUE
        if numbers.null_count:
            ids[missing] = MISSING
        return ids

    def few_ids(self, numbers: Sequence[float | None]) -> list[int]:
        """What `ids` gives, for numbers that are not worth an Arrow array; one that is not finite is missing."""
        edges = self.edges
        if edges is None:
            return [MISSING if number is None or not math.isfinite(number) else OUT_OF_VOCABULARY for number in numbers]
        return [
            bisect_right(edges, number) + FIRST_VALUE if number is not None and -math.inf < number < math.inf else MISSING
            for number in numbers
        ]


def _steps(lowest: float, highest: float, count: int) -> np.ndarray[Any, np.dtype[np.float64]]:
    """The numbers between equal steps of sign(x) log(1 + |x|), float64 [count - 1], none above the highest."""
    low, high = (math.copysign(math.log1p(abs(number)), number) for number in (lowest, highest))
    step_R = low + (high - low) * np.arange(1, count) / count
    return np.minimum(np.copysign(np.expm1(np.abs(step_R)), step_R), highest)
