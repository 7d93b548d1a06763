"""Views that are looked up by values that were looked up before, or that came with the request: no Feast, no DuckDB."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import pyarrow as pa

from elec.spec.aggregates import JOIN_KEY


@dataclass(frozen=True)
class CountedView:
    """One of them.

    Attributes:
        name: The view's.
        columns: Of a record, by join key.
        features: What is read of it.
    """

    name: str
    columns: Mapping[str, str]
    features: tuple[str, ...]

    @classmethod
    def of(cls, name: str, join_keys: Sequence[str], features: Sequence[str], keys: Collection[str]) -> Self:
        """The view of a name.

        Args:
            name: The view's.
            join_keys: As Feast's registry has them.
            features: What is read of it.
            keys: The user's and the item's, which are called as they are.
        """
        return cls(name, {key: key if key in keys else key.removeprefix(JOIN_KEY) for key in join_keys}, tuple(features))

    def distinct(self, columns: Mapping[str, pa.Array]) -> tuple[dict[str, Sequence[str | None]], pa.Array]:
        """The distinct keys of N rows, by join key, and for each row its key's place among them."""
        rows = list(zip(*(columns[name].to_pylist() for name in self.columns.values()), strict=True))
        place_of = {row: place for place, row in enumerate(dict.fromkeys(rows))}
        keys: Iterable[Sequence[Any]] = zip(*place_of, strict=True) if rows else [()] * len(self.columns)
        return dict(zip(self.columns, keys, strict=True)), pa.array([place_of[row] for row in rows], pa.int64())
