"""What is made of items and kept of them between requests, from their raw values."""

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elec.serving.counted import CountedPairs
from elec.serving.item_cache import Parts
from elec.serving.network import Network
from elec.serving.pairs import Pairs
from elec.serving.sides import Side

#: Rows a run of the network, which bounds the memory of its activations.
ROWS = 8192


class ItemParts:
    """Makes the parts: the items' states, where the network is split; else their encoded fields and their text vectors.

    Behind them come an item's part of what it has with each request only, and whether the model knows the item.

    Args:
        network: Of the bundle.
        items: The items' side of a record.
        counted: The aggregates of a request and an item together.
        pairs: The crossed fields of a request and an item.

    Attributes:
        widths: Of each part its columns and the type of its numbers.
    """

    def __init__(self, network: Network, items: Side, counted: CountedPairs, pairs: Pairs) -> None:
        self._network, self._items, self._counted, self._pairs = network, items, counted, pairs
        widths: list[tuple[int, npt.DTypeLike]] = [(network.state_size, np.float32)]
        if not network.split:
            widths = [(items.slots, np.int64), (items.vector_size, np.float32)]
        self.widths = [*widths, (counted.width, np.object_), (pairs.width, np.uint64), (1, np.bool_)]

    def make(self, described: pa.Table, lap: Callable[[str], None]) -> Parts:
        """The parts of M items.

        Args:
            described: Their raw values.
            lap: Told when `encode` and `model` are done.
        """
        slots_MI, vectors_MV = self._items.encode(described), self._items.vectors(described)
        known_M1 = self._items.known(slots_MI, described)[:, None]
        texts_MW, hashes_MH = self._counted.items(described), self._pairs.items(described)
        lap("encode")
        if not self._network.split:
            if vectors_MV is None:
                vectors_MV = np.empty((len(slots_MI), 0), np.float32)
            return slots_MI, vectors_MV, texts_MW, hashes_MH, known_M1
        states_MK = np.empty((len(slots_MI), self._network.state_size), np.float32)
        for start in range(0, len(slots_MI), ROWS):
            some = slice(start, start + ROWS)
            states_MK[some] = self._network.item_states(slots_MI[some], None if vectors_MV is None else vectors_MV[some])
        lap("model")
        return states_MK, texts_MW, hashes_MH, known_M1


def distinct(items: Sequence[str], there_N: npt.NDArray[np.bool_]) -> tuple[dict[str, int], npt.NDArray[np.int64]]:
    """The keys that are not there, each once with its place, and for each of the M items that are not there its key's place."""
    if there_N.all():
        return {}, np.empty(0, np.int64)
    missing = [items[row] for row in np.flatnonzero(~there_N).tolist()] if there_N.any() else items
    place_of = {key: place for place, key in enumerate(dict.fromkeys(missing))}
    return place_of, np.fromiter((place_of[key] for key in missing), np.int64, len(missing))


def together(there_N: npt.NDArray[np.bool_], kept: Parts, found: Parts, place_M: npt.NDArray[np.int64]) -> Parts:
    """Kept and found rows in the order of the N items."""
    if not there_N.any():
        return tuple(part[place_M] for part in found)
    whole = []
    for of_kept, of_found in zip(kept, found, strict=True):
        rows = np.empty((len(there_N), of_found.shape[1]), of_found.dtype)
        rows[there_N], rows[~there_N] = of_kept, of_found[place_M]
        whole.append(rows)
    return tuple(whole)
