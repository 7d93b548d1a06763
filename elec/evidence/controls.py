"""Vectors that have lost their meaning: what they give too does not come from the text."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from elec.evidence.arms import Source
from elec.ingest.report import SPLITS
from elec.llm.vector_store import VectorStore


class ControlStore(VectorStore):
    """A vector store that gives every text of a data set another vector than its own, always the same one.

    Args:
        store: The real one.
        texts: Folder of the data set's texts.
        source: `shuffled`: the vector of another text of the same role, so user texts keep vectors of user texts; `random`:
            noise with the mean and the deviation that each dimension has.
        seed: Of the shuffle or the noise.
    """

    def __init__(self, store: VectorStore, texts: Path, source: Source, seed: int) -> None:
        root, _, llm_id = store.uri.rpartition("/")
        super().__init__(root, llm_id)
        keys = pq.read_table(texts / "texts.parquet", columns=["key"])["key"].combine_chunks()
        self._own_keys = keys
        draw = np.random.default_rng([seed, int(hashlib.sha256(source.encode()).hexdigest()[:8], 16)])
        vectors = store.gather(keys)
        if source == "random":
            mean, deviation = vectors.astype(np.float32).mean(axis=0), vectors.astype(np.float32).std(axis=0)
            noise = draw.standard_normal(vectors.shape, dtype=np.float32)
            self._replaced = (mean + deviation * noise).astype(np.float16)
            return
        order = np.arange(len(keys))
        for members in _by_role(texts, len(keys)):
            order[members] = members[_derangement(len(members), draw)]
        self._replaced = vectors[order]

    def gather(self, keys: "list[str] | pa.Array | pa.ChunkedArray") -> np.ndarray:
        """The replaced vectors, float16 [n, H].

        Args:
            keys: n keys of the data set's texts.
        """
        array = keys.combine_chunks() if isinstance(keys, pa.ChunkedArray) else pa.array(keys, pa.string())
        place = pc.index_in(array, value_set=self._own_keys)
        if place.null_count:
            raise ValueError(f"{place.null_count} keys are not of the texts whose vectors were replaced")
        return np.ascontiguousarray(self._replaced[place.to_numpy()])


def _by_role(texts: Path, count: int) -> list[np.ndarray]:
    """The texts of each role, then those that no row reads; a text of two roles belongs to the first one."""
    role_of = np.full(count, -1)
    for split in SPLITS:
        table = pq.read_table(texts / "rows" / f"{split}.parquet")
        for number, name in enumerate(name for name in table.column_names if name != "row_id"):
            own = np.unique(table[name].to_numpy())
            role_of[own[role_of[own] == -1]] = number
    return [np.flatnonzero(role_of == number) for number in np.unique(role_of)]


def _derangement(size: int, draw: np.random.Generator) -> np.ndarray:
    """A permutation in which nothing stays in its place (where there are two things at least): one random cycle."""
    cycle = draw.permutation(size)
    order = np.empty(size, np.int64)
    order[cycle] = np.roll(cycle, -1)
    return order
