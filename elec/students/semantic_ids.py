"""Semantic ids: an item's text vector as a few codes, coarse to fine, that similar items share.

Residual k-means: the first code is the nearest of K centres, the second the nearest of K centres of what the first left over,
and so on (the residual quantisation of TIGER, Rajput et al. 2023, with k-means in place of a trained quantiser). A network
reads the prefixes, `12`, `12-3`, `12-3-60`: a code after the first means nothing without those before it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from elec.errors import InputError
from elec.students.projection import Floats, read_tensors

Codes = np.ndarray[Any, np.dtype[np.int64]]

_ROWS_AT_ONCE = 16_384
# Centres of a few hundred clusters do not get better from more texts than this.
_FITTED_AT_MOST = 65_536
_ITERATIONS = 100
# The vectors have a variance of about 1; what is left over below this is rounding, not meaning.
_NOTHING_LEFT = 1e-4


@dataclass(frozen=True)
class Codebooks:
    """The centres of every level.

    Attributes:
        centres_LKV: float32; a level's centres beyond its size are zero and never chosen.
        sizes_L: int64, how many centres a level has: fewer than K where there were fewer distinct vectors.
    """

    centres_LKV: Floats
    sizes_L: Codes

    @property
    def levels(self) -> int:
        """L."""
        return len(self.sizes_L)

    @classmethod
    def fit(cls, vectors_TV: Floats, levels: int, codes: int, seed: int) -> "Codebooks":
        """Finds the centres, level by level; the same vectors and seed give the same centres.

        Args:
            vectors_TV: Vectors of distinct texts.
            levels: L.
            codes: K.
            seed: Of k-means++, and of the sample where there are very many texts.
        """
        draw = np.random.default_rng(seed)
        left_TV = vectors_TV.astype(np.float32)
        if len(left_TV) > _FITTED_AT_MOST:
            left_TV = left_TV[np.sort(draw.choice(len(left_TV), _FITTED_AT_MOST, replace=False))]
        centres_LKV = np.zeros((levels, codes, vectors_TV.shape[1]), np.float32)
        sizes_L = np.ones(levels, np.int64)
        for level in range(levels):
            left_TV[np.abs(left_TV) < _NOTHING_LEFT] = 0.0
            centres = _centres(left_TV, codes, seed + level)
            sizes_L[level] = len(centres)
            centres_LKV[level, : len(centres)] = centres
            left_TV = left_TV - centres[_nearest(left_TV, centres)]
        return cls(centres_LKV, sizes_L)

    def assign(self, vectors_NV: Floats) -> Codes:
        """The codes of N vectors, int64 [N, L]; the vectors may be of new items."""
        codes_NL = np.empty((len(vectors_NV), self.levels), np.int64)
        for start in range(0, len(vectors_NV), _ROWS_AT_ONCE):
            left = vectors_NV[start : start + _ROWS_AT_ONCE].astype(np.float32)
            for level, size in enumerate(self.sizes_L):
                centres = self.centres_LKV[level, :size]
                chosen = _nearest(left, centres)
                codes_NL[start : start + _ROWS_AT_ONCE, level] = chosen
                left = left - centres[chosen]
        return codes_NL

    def left_over(self, vectors_NV: Floats, codes_NL: Codes) -> tuple[float, ...]:
        """After each level, the share of the vectors' squared length that the codes so far do not say."""
        left = vectors_NV.astype(np.float32)
        whole = max(float(np.square(left, dtype=np.float64).sum()), 1e-30)
        shares = []
        for level in range(self.levels):
            left = left - self.centres_LKV[level][codes_NL[:, level]]
            shares.append(float(np.square(left, dtype=np.float64).sum()) / whole)
        return tuple(shares)

    def save(self, file: Path) -> None:
        """Writes safetensors: `centres` [L, K, V], `sizes` [L]."""
        from safetensors.numpy import save_file

        save_file({"centres": self.centres_LKV, "sizes": self.sizes_L}, file)

    @classmethod
    def load(cls, file: Path) -> "Codebooks":
        """Reads what `save` wrote.

        Raises:
            InputError: If the file is not there or holds no codebooks.
        """
        found = read_tensors(file, {"centres": 3, "sizes": 1})
        if len(found["centres"]) != len(found["sizes"]):
            raise InputError(f"{file}: `centres` and `sizes` differ in length; take the file from a whole knowledge folder")
        return cls(found["centres"], found["sizes"])


def prefixes(codes_NL: Codes) -> list[pa.StringArray]:
    """The codes up to each level as text: `12`, `12-3`, `12-3-60`.

    Args:
        codes_NL: int64.

    Returns:
        For each of L levels, string [N].
    """
    import pyarrow.compute as pc

    found: list[pa.StringArray] = []
    for level in range(codes_NL.shape[1]):
        code = pc.cast(pa.array(codes_NL[:, level]), pa.string())
        found.append(pc.binary_join_element_wise(found[-1], code, "-") if found else code)
    return found


def field_names(levels: int) -> Sequence[str]:
    """The fields that hold the prefixes: `semantic_id_1`, ..."""
    return [f"semantic_id_{level + 1}" for level in range(levels)]


def _centres(points_TV: Floats, codes: int, seed: int) -> Floats:
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    # As many threads as the host has would add up the centres in another order on each run.
    with threadpool_limits(1):
        distinct = np.unique(points_TV, axis=0)
        if len(distinct) <= codes:
            return distinct
        found = KMeans(codes, init="k-means++", n_init=1, max_iter=_ITERATIONS, random_state=seed).fit(points_TV)
    centres: Floats = found.cluster_centers_.astype(np.float32)
    return centres


def _nearest(points_NV: Floats, centres_KV: Floats) -> Codes:
    """The nearest centre of each point, int64 [N]; the length of the point itself is the same for all centres."""
    distance_NK = np.square(centres_KV).sum(axis=1) - 2.0 * (points_NV @ centres_KV.T)
    return np.asarray(distance_NK.argmin(axis=1), np.int64)
