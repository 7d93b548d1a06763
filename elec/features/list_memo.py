"""The ids of lists that were asked for lately: items come again and again, each with the same list."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

# Most lists that are kept, and most letters of one: a client can invent any number of them.
_KEPT = 16_384
_LETTERS = 512


class ListMemo:
    """Keeps ids by list. Threads may share it.

    Args:
        width: Ids a list has.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._kept: dict[tuple[str, ...], bytes] = {}

    def find(self, lists: Sequence[Any]) -> npt.NDArray[np.int64] | None:
        """The ids of N values of whatever type, int64 [N, width], if all of them are lists that are kept; else None."""
        # A text is no list, though it has parts as one has.
        if set(map(type, lists)) != {list}:
            return None
        try:
            found = b"".join(map(self._kept.get, map(tuple, lists)))  # type: ignore[arg-type]
        except TypeError:
            # Of a list that is not there, or that no dictionary can hold.
            return None
        return np.frombuffer(found, np.int64).reshape(-1, self._width)

    def keep(self, lists: Sequence[Any], ids_NW: npt.NDArray[np.int64]) -> None:
        """Takes the ids of N values, of which lists of texts are kept."""
        if len(self._kept) + len(lists) > _KEPT:
            # Another thread may still read the old ones.
            self._kept = {}
        for texts, ids_W in zip(lists, ids_NW, strict=True):
            if type(texts) is list and set(map(type, texts)) <= {str} and sum(map(len, texts)) + len(texts) <= _LETTERS:
                self._kept[tuple(texts)] = ids_W.tobytes()
