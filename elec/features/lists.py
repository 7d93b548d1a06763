"""Ids of lists of values, whatever gives a value its id."""

import itertools
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from elec.features.ids import MISSING, PADDING

# Of longer lists all pairs of values take longer to compare than the values to sort.
_LONG = 16


class TextIds(ABC):
    """Gives texts their ids, and lists of texts theirs."""

    @property
    @abstractmethod
    def size(self) -> int:
        """How many ids there are, those of padding, missing and out of vocabulary included."""

    @abstractmethod
    def ids(self, values: pa.Array) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The ids of N values, int64 [N]; null is missing."""

    @abstractmethod
    def few_ids(self, texts: Sequence[str | None]) -> list[int]:
        """What `ids` gives, for texts that are not worth an Arrow array; an empty one is missing."""

    def list_ids(self, lists: pa.Array, width: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The ids of N lists, int64 [N, width].

        Empty values are left out, each id is taken once per row, in the order of the list, and at most `width` of them;
        unused slots are padding, and a row without any value is missing in its first slot.

        Args:
            lists: Of text, or of dictionary arrays of text, of which each value is looked up once.
            width: Slots.
        """
        row_P, longest = rows_of_parts(lists)
        id_P = self._ids_of_parts(lists.flatten())
        there_P = id_P != MISSING
        if not there_P.all():
            row_P, id_P = row_P[there_P], id_P[there_P]
        return id_slots(row_P, id_P, self.size, longest, len(lists), width)

    def _ids_of_parts(self, values: pa.Array) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The ids of P values of lists, int64 [P]; null and the empty text are missing."""
        coded = isinstance(values, pa.DictionaryArray)
        texts = values.dictionary if coded else values
        ids = self.ids(pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts))
        if not coded:
            return ids
        place_P = values.indices.fill_null(len(ids)).to_numpy(zero_copy_only=False)
        id_P: np.ndarray[Any, np.dtype[np.int64]] = np.append(ids, MISSING)[place_P]
        return id_P

    def few_list_ids(self, lists: Sequence[Sequence[str | None] | None], width: int) -> list[tuple[int, ...]]:
        """What `list_ids` gives, for lists that are not worth an Arrow array; a tuple a slot."""
        ids = iter(self.few_ids([text for texts in lists for text in texts or ()]))
        rows = []
        for texts in lists:
            of_row = dict.fromkeys(itertools.islice(ids, len(texts or ())))
            of_row.pop(MISSING, None)
            rows.append([*(of_row or (MISSING,)), *(PADDING,) * width][:width])
        return list(zip(*rows, strict=True))


def rows_of_parts(lists: pa.Array) -> tuple[np.ndarray[Any, np.dtype[np.int64]], int]:
    """Whose each of the P values of N lists is, int64 [P], and how many the longest list has."""
    length_N = pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False)
    return np.repeat(np.arange(len(lists)), length_N), int(length_N.max(initial=0))


def id_slots(
    row_P: np.ndarray[Any, np.dtype[np.int64]],
    id_P: np.ndarray[Any, np.dtype[np.int64]],
    size: int,
    longest: int,
    rows: int,
    width: int,
) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The ids of P values in the slots of their rows, int64 [N, width]: padded, and missing in the first slot if there is none.

    Args:
        row_P: The values' rows, which rise.
        id_P: Their ids; each is taken once per row.
        size: How many ids there are.
        longest: No row has more values.
        rows: N.
        width: Slots; what is more is left out.
    """
    kept_K, slot_K, count_N = first_in_rows(row_P, id_P, size, longest, rows, width)
    encoded = np.full((rows, width), PADDING, dtype=np.int64)
    encoded[row_P[kept_K], slot_K] = id_P[kept_K]
    encoded[count_N == 0, 0] = MISSING
    return encoded


def first_in_rows(
    row_P: np.ndarray[Any, np.dtype[np.int64]],
    code_P: np.ndarray[Any, np.dtype[np.int64]],
    codes: int,
    longest: int,
    rows: int,
    width: int,
) -> tuple[np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, np.dtype[np.int64]], np.ndarray[Any, np.dtype[np.int64]]]:
    """Takes each of P values once per row, and at most `width` of a row.

    Args:
        row_P: The values' rows, which rise.
        code_P: Equal where values are; below `codes`.
        codes: How many there may be.
        longest: No row has more values.
        rows: N.
        width: Of a row.

    Returns:
        The places of the K values that are taken, their slots, and how many different values each row has, int64 [N].
    """
    place_P = np.arange(len(row_P))
    if _repeats(row_P, code_P, longest):
        # The first occurrence of each (row, code), back in the order of the lists.
        _, place_P = np.unique(row_P * codes + code_P, return_index=True)
        place_P.sort()
        row_P = row_P[place_P]
    count_N = np.bincount(row_P, minlength=rows)
    slot_P = np.arange(len(row_P)) - np.repeat(np.cumsum(count_N) - count_N, count_N)
    kept_P = slot_P < width
    return place_P[kept_P], slot_P[kept_P], count_N


def _repeats(row_P: np.ndarray[Any, np.dtype[np.int64]], id_P: np.ndarray[Any, np.dtype[np.int64]], longest: int) -> bool:
    """Whether an id comes twice in a row, or may do so; the rows rise, and none is longer than told."""
    if longest > _LONG:
        return True
    steps = range(1, longest)
    return any(bool(((id_P[step:] == id_P[:-step]) & (row_P[step:] == row_P[:-step])).any()) for step in steps)
