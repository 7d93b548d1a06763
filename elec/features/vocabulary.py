"""The known values of a field: fit on the training rows, most frequent first, looked up in one vectorised step."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from elec.errors import InputError
from elec.features.engine import quoted
from elec.features.ids import FIRST_VALUE, MISSING, OUT_OF_VOCABULARY, PADDING
from elec.features.lookup import Lookup, one_array
from elec.spec import FieldSpec, Kind

# Most values whose ids are kept at hand; some 10 MiB.
_KEPT = 65_536
_AT_FIRST: dict[str | None, int] = {None: MISSING, "": MISSING}


class Vocabulary:
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

    @classmethod
    def fit(cls, connection: Any, field: FieldSpec, train: Path) -> "Vocabulary":
        """Counts the values of a field, exactly.

        Args:
            connection: DuckDB.
            field: A categorical or multi-valued field; a value counts once per row.
            train: The Parquet file of the training rows.

        Returns:
            The values seen in at least `min_count` rows, by falling count, equal counts by value.
        """
        column = quoted(field.name)
        value = f"unnest(list_distinct({column}))" if field.kind is Kind.MULTIVALUED else column
        counted = connection.sql(
            f"""
            SELECT value FROM (SELECT {value} AS value FROM read_parquet($file))
            WHERE value IS NOT NULL AND value <> ''
            GROUP BY value HAVING count(*) >= $least
            ORDER BY count(*) DESC, value
            """,  # noqa: S608 - the one inserted name is quoted
            params={"file": str(train), "least": field.min_count},
        ).to_arrow_table()
        return cls(one_array(counted["value"]))

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

    def at_hand(self, values: Any) -> list[int] | None:
        """The ids of N values of whatever type, if they all are texts that were asked for lately; else None."""
        try:
            ids = list(map(self._kept.get, values))
        except TypeError:
            return None
        return None if None in ids else ids  # type: ignore[return-value]

    def few_list_ids(self, lists: Sequence[Sequence[str | None] | None], width: int) -> list[tuple[int, ...]]:
        """What `list_ids` gives, for lists that are not worth an Arrow array; a tuple a slot."""
        ids = iter(self.few_ids([text for texts in lists for text in texts or ()]))
        rows = []
        for texts in lists:
            of_row = dict.fromkeys(itertools.islice(ids, len(texts or ())))
            of_row.pop(MISSING, None)
            rows.append([*(of_row or (MISSING,)), *(PADDING,) * width][:width])
        return list(zip(*rows, strict=True))

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

    def list_ids(self, lists: pa.Array, width: int) -> np.ndarray[Any, np.dtype[np.int64]]:
        """The ids of N lists, int64 [N, width].

        Empty values are left out, each id is taken once per row, in the order of the list, and at most `width` of them;
        unused slots are padding, and a row without any value is missing in its first slot.
        """
        rows = np.repeat(np.arange(len(lists)), pc.fill_null(pc.list_value_length(lists), 0).to_numpy(zero_copy_only=False))
        values = lists.flatten()
        ids = self.ids(pc.if_else(pc.equal(values, ""), pa.scalar(None, pa.string()), values))
        there = ids != MISSING
        rows, ids = rows[there], ids[there]
        # The first occurrence of each (row, id), back in the order of the lists.
        _, first = np.unique(rows * self.size + ids, return_index=True)
        first.sort()
        rows, ids = rows[first], ids[first]
        starts = np.searchsorted(rows, np.arange(len(lists)))
        slot = np.arange(len(rows)) - starts[rows]
        kept = slot < width
        encoded = np.full((len(lists), width), PADDING, dtype=np.int64)
        encoded[rows[kept], slot[kept]] = ids[kept]
        encoded[encoded[:, 0] == PADDING, 0] = MISSING
        return encoded

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
