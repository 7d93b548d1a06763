"""Ids of values that no list holds: a value's id is its hash modulo a number of buckets."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from elec.features.ids import FIRST_VALUE, MISSING
from elec.features.lists import TextIds
from elec.features.lookup_hash import Hashes, text_hash, text_hashes

#: Stands for a value that is missing. A text with this hash would be missing too: one in 2^64.
NOTHING = np.uint64(0)

# Up to so many distinct texts are hashed one by one: 1 us a text, where Arrow's way costs 45 us and 0.1 us a text.
_ONE_BY_ONE = 32


@dataclass(frozen=True)
class HashBuckets(TextIds):
    """Buckets for the hashes of values; nothing is fit, and there is no file.

    Attributes:
        buckets: How many there are.
    """

    buckets: int

    @property
    def size(self) -> int:
        """How many ids there are; that of out of vocabulary among them, which no value has."""
        return self.buckets + FIRST_VALUE

    def ids(self, values: pa.Array) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The ids of N values, int64 [N]; null is missing."""
        return self.of_hashes(hashes_of(values))

    def few_ids(self, texts: Sequence[str | None]) -> list[int]:
        """What `ids` gives, for texts that are not worth an Arrow array; an empty one is missing."""
        ids: list[int] = self.of_hashes(few_hashes_of(texts)).tolist()
        return ids

    def of_hashes(self, hash_N: Hashes) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The ids of N values by their hashes, int64 [N]."""
        bucket_N = (hash_N % np.uint64(self.buckets)).astype(np.int64)
        return np.where(hash_N == NOTHING, MISSING, bucket_N + FIRST_VALUE)


def hashes_of(values: pa.Array) -> Hashes:
    """The hashes of N texts, uint64 [N]; `NOTHING` for null."""
    # A column of a log repeats its values: each is hashed once.
    coded = pc.dictionary_encode(values)
    return hashes_at(coded.dictionary, coded.indices)


def hashes_at(distinct: pa.Array, indices: pa.Array) -> Hashes:
    """The hashes of the texts at N places, uint64 [N]; `NOTHING` for null there or here."""
    hash_V = np.append(text_hashes(distinct), NOTHING)
    if distinct.null_count:
        hash_V[:-1][distinct.is_null().to_numpy(zero_copy_only=False)] = NOTHING
    place_N: np.ndarray[Any, np.dtype[np.int64]] = pc.fill_null(pc.cast(indices, pa.int64()), len(distinct)).to_numpy(
        zero_copy_only=False
    )
    hash_N: Hashes = hash_V[place_N]
    return hash_N


def few_hashes_of(texts: Sequence[str | None]) -> Hashes:
    """What `hashes_of` gives, for texts that are not worth an Arrow array; `NOTHING` for an empty one too."""
    distinct = [text for text in dict.fromkeys(texts) if text]
    if len(distinct) > _ONE_BY_ONE:
        hashed = text_hashes(pa.array(distinct, pa.string())).tolist()
    else:
        hashed = [text_hash(text.encode()) for text in distinct]
    hash_of: dict[str | None, int] = dict(zip(distinct, hashed, strict=True))
    nothing = int(NOTHING)
    return np.array([hash_of.get(text, nothing) for text in texts], np.uint64)
