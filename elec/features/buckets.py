"""Quantile buckets of a numeric field, fit on the training rows."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from elec.features.engine import quoted
from elec.features.ids import FIRST_VALUE, MISSING, OUT_OF_VOCABULARY
from elec.spec import FieldSpec


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
    def fit(cls, connection: Any, field: FieldSpec, train: Path) -> "Buckets":
        """Places the edges at the quantiles 1/buckets, 2/buckets, ... of the finite values.

        Edges are values that occur. Equal ones fall together, so a field of few distinct values has fewer buckets.

        Args:
            connection: DuckDB.
            field: A numeric field.
            train: The Parquet file of the training rows.
        """
        shares = [number / field.buckets for number in range(1, field.buckets)]
        column = quoted(field.name)
        ((lowest, quantiles),) = connection.execute(
            f"""
            SELECT min({column}), quantile_disc({column}, $shares) FROM read_parquet($file) WHERE isfinite({column})
            """,  # noqa: S608 - the one inserted name is quoted
            {"file": str(train), "shares": shares},
        ).fetchall()
        if lowest is None:
            return cls(None)
        # Below an edge at the lowest value there would be a bucket that training never sees.
        return cls(tuple(sorted({float(edge) for edge in quantiles if edge > lowest})))

    def ids(self, numbers: pa.Array) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The ids of N numbers (float64, null where missing), int64 [N]."""
        missing = pc.is_null(numbers).to_numpy(zero_copy_only=False)
        if self.edges is None:
            return np.where(missing, MISSING, OUT_OF_VOCABULARY).astype(np.int64)
        values = pc.fill_null(numbers, 0.0).to_numpy(zero_copy_only=False)
        bucket = np.searchsorted(np.asarray(self.edges, dtype=np.float64), values, side="right")
        return np.where(missing, MISSING, bucket + FIRST_VALUE).astype(np.int64)

    def few_ids(self, numbers: Sequence[float | None]) -> list[int]:
        """What `ids` gives, for numbers that are not worth an Arrow array; one that is not finite is missing."""
        edges = self.edges
        if edges is None:
            return [MISSING if number is None or not math.isfinite(number) else OUT_OF_VOCABULARY for number in numbers]
        return [
            bisect_right(edges, number) + FIRST_VALUE if number is not None and -math.inf < number < math.inf else MISSING
            for number in numbers
        ]
