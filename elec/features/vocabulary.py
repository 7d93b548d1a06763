"""The known values of a field: fit on the training rows, most frequent first, looked up in one vectorised step."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from elec.errors import InputError
from elec.features.ids import FIRST_VALUE, MISSING, OUT_OF_VOCABULARY
from elec.features.lists import TextIds
from elec.features.lookup import Lookup, one_array

# Most values whose ids are kept at hand; some 10 MiB.
_KEPT = 65_536
_AT_FIRST: dict[str | None, int] = {None: MISSING, "": MISSING}


class Vocabulary(TextIds):
    """Values and their ids. Threads may share a vocabulary.

    Args:
        values: Distinct text; the id of a value is its position + 3.
    """

    def __init__(self, values: pa.Array | Lookup) -> None:
        self._lookup = values if isinstance(values, Lookup) else Lookup(values)
        # The ids of values that were asked for lately. Unknown ones are not among them: a client can invent any number.
        self._kept = dict(_AT_FIRST)

    @property
    def values(self) -> pa.Array:
        """The distinct texts, `string` or `large_string`, in the order of their ids."""
        return self._lookup.values

    @property
    def size(self) -> int:
        """How many ids there are, those of padding, missing and out of vocabulary included."""
        return len(self.values) + FIRST_VALUE

    def ids(self, values: pa.Array) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The ids of N values, int64 [N]; null is missing."""
        position_N = self._lookup.positions(values)
        ids_N: np.ndarray[Any, np.dtype[np.int64]] = np.where(position_N < 0, OUT_OF_VOCABULARY, position_N + FIRST_VALUE)
        if values.null_count:
            ids_N[values.is_null().to_numpy(zero_copy_only=False)] = MISSING
        return ids_N

    def few_ids(self, texts: Sequence[str | None]) -> list[int]:
        """What `ids` gives, for texts that are not worth an Arrow array; an empty one is missing."""
        ids = list(map(self._kept.get, texts))
        if None not in ids:
            return ids  # type: ignore[return-value]
        found = self._found([text for text, own in zip(texts, ids, strict=True) if own is None])
        return [found[text] if own is None else own for text, own in zip(texts, ids, strict=True)]

    def at_hand(self, values: Any) -> np.ndarray[Any, np.dtype[np.int64]] | None:
        """The ids of N values of whatever type, int64 [N], if they all are texts that were asked for lately; else None."""
        try:
            return np.fromiter(map(self._kept.get, values), np.int64, len(values))
        except TypeError:
            # Of a value that is not there, or that no dictionary can hold.
            return None

    def _found(self, texts: Sequence[Any]) -> dict[str | None, int]:
        """The ids of texts that are looked up, and kept."""
        distinct = list(dict.fromkeys(texts))
        positions = self._lookup.few_positions(distinct)
        found = {
            text: OUT_OF_VOCABULARY if position < 0 else position + FIRST_VALUE
            for text, position in zip(distinct, positions, strict=True)
        }
        known = {text: own for text, own in found.items() if own != OUT_OF_VOCABULARY}
        if len(self._kept) + len(known) > _KEPT:
            # Another thread may still read the old ones.
            self._kept = dict(_AT_FIRST)
        self._kept.update(known)
        return found

    def save(self, file: Path) -> None:
        """Writes the values and where their hashes lead as a file to be mapped into memory; see `elec.features.lookup`."""
        self._lookup.save(file)

    @classmethod
    def load(cls, file: Path, size: int) -> "Vocabulary":
        """Maps what `save` wrote, or reads the Parquet file that the first version of this code wrote.

        Args:
            file: `.arrow` or `.parquet`.
            size: The number of ids that the encoder's state names.

        Raises:
            InputError: If the file is not there, is no vocabulary, or has another number of values.
        """
        vocabulary = cls(_read_parquet(file) if file.suffix == ".parquet" else Lookup.open(file)[0])
        if vocabulary.size != size:
            raise InputError(
                f"{file}: holds {len(vocabulary.values)} values where encoder.json names {size - FIRST_VALUE}; "
                "the files are not from one run, take the folder from a whole bundle"
            )
        return vocabulary


def _read_parquet(file: Path) -> pa.Array:
    try:
        return one_array(pq.ParquetFile(file).read(columns=["value"])["value"])
    except (OSError, KeyError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"{file}: cannot be read as a vocabulary ({reason}); take the folder from a whole bundle") from None
