"""Crossed fields: the values of several fields at once as one value of its own.

Each parent's value has a 64-bit hash, that of its text, or, of a number, that of its bucket's bounds as text; the hashes of a
row, folded in the parents' order, are the combination's. So a combination never has to be written out: training counts hashes,
and a server combines what it keeps of an item with what it knows of the request. Two of n combinations have the same hash with
a probability of n^2 / 2^65, one in 370,000 for ten million of them. A combination is missing if any of its parts is.

Where a parent is multi-valued, so is the crossed field: it has all combinations of one value of each parent.
"""

from collections.abc import Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elec.errors import InputError
from elec.features.buckets import Buckets
from elec.features.crossed_lists import combinations, few_list_hashes, list_hashes
from elec.features.hashed import NOTHING, few_hashes_of, hashes_at, hashes_of
from elec.features.ids import FIRST_VALUE, MISSING, OUT_OF_VOCABULARY
from elec.features.lists import id_slots
from elec.features.lookup_hash import Hashes, text_hash
from elec.features.raw import Columns, Values, arrow_column, few_values, is_coded
from elec.spec import CrossedField, FieldSpec, Kind
from elec.storage import whole_file

_VERSION = {b"elec.crossed": b"1"}
_SCHEMA = pa.schema([("hash", pa.uint64()), ("position", pa.uint32())])
# SplitMix64's (Steele, Lea, Flood, OOPSLA 2014).
_FIRST, _SECOND = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_27, _30, _31 = np.uint64(27), np.uint64(30), np.uint64(31)
# Combinations of lists that are made at once, which bounds the memory for what lies between hashes and ids.
_COMBINATIONS = 1 << 20


class CrossedIds(Protocol):
    """Gives combinations their ids: `CrossedVocabulary` or `elec.features.hashed.HashBuckets`."""

    @property
    def size(self) -> int:
        """How many ids there are, those of padding, missing and out of vocabulary included."""

    def of_hashes(self, hash_N: Hashes) -> npt.NDArray[np.int64]:
        """The ids of N combinations by their hashes, int64 [N]; `NOTHING` is missing."""


class CrossedVocabulary:
    """The known combinations of a crossed field.

    Args:
        hash_V: uint64, sorted: the combinations' hashes.
        position_V: uint32: which one each is; the id of a combination is its position + 3.
    """

    def __init__(self, hash_V: Hashes, position_V: npt.NDArray[np.uint32]) -> None:
        self._hash_V = hash_V
        self._position_V = position_V

    @classmethod
    def of(cls, hash_V: Hashes) -> "CrossedVocabulary":
        """That of distinct hashes in the order of their ids."""
        order_V = np.argsort(hash_V)
        return cls(hash_V[order_V], order_V.astype(np.uint32))

    @property
    def size(self) -> int:
        """How many ids there are, those of padding, missing and out of vocabulary included."""
        return len(self._hash_V) + FIRST_VALUE

    @property
    def hashes(self) -> Hashes:
        """The combinations' hashes in the order of their ids, uint64 [V]."""
        hash_V = np.empty_like(self._hash_V)
        hash_V[self._position_V] = self._hash_V
        return hash_V

    def of_hashes(self, hash_N: Hashes) -> npt.NDArray[np.int64]:
        """The ids of N combinations by their hashes, int64 [N]; `NOTHING` is missing."""
        ids_N = np.full(len(hash_N), OUT_OF_VOCABULARY, np.int64)
        if len(self._hash_V):
            place_N = np.minimum(np.searchsorted(self._hash_V, hash_N), len(self._hash_V) - 1)
            known_N = self._hash_V[place_N] == hash_N
            ids_N[known_N] = self._position_V[place_N[known_N]].astype(np.int64) + FIRST_VALUE
        ids_N[hash_N == NOTHING] = MISSING
        return ids_N

    def save(self, file: Path) -> None:
        """Writes one uncompressed Arrow file to be mapped into memory; equal content gives equal bytes."""
        schema = _SCHEMA.with_metadata(_VERSION)
        batch = pa.record_batch([pa.array(self._hash_V), pa.array(self._position_V)], schema=schema)
        with whole_file(file) as place, pa.OSFile(str(place), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
            writer.write_batch(batch)

    @classmethod
    def load(cls, file: Path) -> "CrossedVocabulary":
        """Maps what `save` wrote.

        Raises:
            InputError: If the file is not there, or is no such file.
        """
        try:
            with pa.memory_map(str(file)) as source:
                reader = pa.ipc.open_file(source)
                batch = reader.get_batch(0) if reader.num_record_batches == 1 else None
            if batch is None or not batch.schema.equals(_SCHEMA.with_metadata(_VERSION), check_metadata=True):
                raise pa.ArrowInvalid("it is none of a crossed field, or of another version")
            batch.validate()
        except (OSError, pa.ArrowException) as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                f"{file}: cannot be read as a vocabulary ({reason}); take the folder from a whole bundle"
            ) from None
        return cls(batch.column("hash").to_numpy(), batch.column("position").to_numpy())


class Parent:
    """A field that others are made of.

    Args:
        spec: No text.
        code: Its own ids; of a numeric field, its buckets.

    Attributes:
        name: The field's.
        width: W: how many hashes it has of a row.
    """

    def __init__(self, spec: FieldSpec, code: object) -> None:
        self.name, self.width = spec.name, spec.width
        self._spec = spec
        self._buckets = code if isinstance(code, Buckets) else None
        self._bucket_hash_V = _bucket_hashes(self._buckets) if self._buckets is not None else None

    @property
    def bucket_hashes(self) -> Hashes:
        """The hash of each id of a numeric field."""
        assert self._bucket_hash_V is not None, f"'{self.name}' is not numeric"
        return self._bucket_hash_V

    def hashes(self, values: Values, *, few: bool = False) -> Hashes:
        """The hashes of N values as they come, uint64 [N, W]; `NOTHING` where there is none.

        Args:
            values: In any type that `elec.features.raw` can read.
            few: They are not worth Arrow arrays.

        Raises:
            InputError: If a value cannot be read as the field's kind.
        """
        plain = few_values(self._spec, values) if few else None
        if self._buckets is not None:
            ids = self._buckets.ids(arrow_column(self._spec, values)) if plain is None else self._buckets.few_ids(plain)
            return self.bucket_hashes[ids][:, None]
        if self._spec.kind is Kind.MULTIVALUED:
            if plain is not None:
                return few_list_hashes(plain, self.width)
            return list_hashes(values if is_coded(values) else arrow_column(self._spec, values), self.width)
        if plain is not None:
            return few_hashes_of(plain)[:, None]
        if isinstance(values, pa.DictionaryArray) and len(values.dictionary) <= len(values):
            return hashes_at(arrow_column(self._spec, values.dictionary), values.indices)[:, None]
        return hashes_of(arrow_column(self._spec, values))[:, None]


class Crossing:
    """Makes crossed fields of their parents.

    Args:
        fields: The crossed fields.
        codes: Their ids.
        parents: The parents of all of them, by name.
    """

    def __init__(self, fields: Sequence[CrossedField], codes: Sequence[CrossedIds], parents: Mapping[str, Parent]) -> None:
        self.fields = tuple(fields)
        self._codes = tuple(codes)
        self.parents = {name: parents[name] for field in fields for name in field.parents}
        self._seeds = [np.uint64(text_hash("\n".join(field.parents).encode())) for field in fields]

    def all_ids(self, columns: Columns, *, few: bool = False) -> list[npt.NDArray[np.int64]]:
        """The ids of all crossed fields of N rows, int64 [N, W] each.

        Args:
            columns: The parents' columns among them.
            few: The rows are not worth Arrow arrays.

        Raises:
            InputError: If a value cannot be read as its field's kind.
        """
        hashes = {name: parent.hashes(columns[name], few=few) for name, parent in self.parents.items()}
        return [self.ids(hashes, place) for place in range(len(self.fields))]

    def combined(self, hashes: Mapping[str, Hashes], place: int) -> Hashes:
        """The hashes of all combinations that N rows have, row by row, uint64 [P]; none of a row where a part is missing.

        Args:
            hashes: Of the parents, by name; uint64 [N, W] each, or [1, W] where all rows share one.
            place: Of the crossed field.
        """
        if self.fields[place].kind is Kind.MULTIVALUED:
            return np.concatenate([hash_P for _, _, hash_P in self._of_lists(hashes, place)])
        hash_N = self._of_values(hashes, place)
        there_P: Hashes = hash_N[hash_N != NOTHING]
        return there_P

    def ids(self, hashes: Mapping[str, Hashes], place: int) -> npt.NDArray[np.int64]:
        """The ids of N rows, int64 [N, W]; the arguments are those of `combined`.

        Of a multi-valued field each id is taken once per row, unused slots are padding, and a row without any combination is
        missing in its first slot.
        """
        code, field = self._codes[place], self.fields[place]
        if field.kind is not Kind.MULTIVALUED:
            return code.of_hashes(self._of_values(hashes, place))[:, None]
        return np.concatenate(
            [
                id_slots(row_P, code.of_hashes(hash_P), code.size, field.width, rows, field.width)
                for rows, row_P, hash_P in self._of_lists(hashes, place)
            ]
        )

    def _of_values(self, hashes: Mapping[str, Hashes], place: int) -> Hashes:
        """The hash of each of N rows, uint64 [N]; `NOTHING` where a part is missing."""
        parts = [hashes[name][:, 0] for name in self.fields[place].parents]
        there_N = parts[0] != NOTHING
        for part_N in parts[1:]:
            there_N = there_N & (part_N != NOTHING)
        hash_N: Hashes = np.where(there_N, _folded(parts, self._seeds[place]), NOTHING)
        return hash_N

    def _of_lists(self, hashes: Mapping[str, Hashes], place: int) -> Iterator[tuple[int, npt.NDArray[np.int64], Hashes]]:
        """Some rows after the other: how many they are, and the rows and hashes of their P combinations."""
        field = self.fields[place]
        parts = [hashes[name] for name in field.parents]
        count, step = max(map(len, parts)), max(1, _COMBINATIONS // field.width)
        for start in range(0, max(count, 1), step):
            some = [part_NW[start : start + step] if len(part_NW) == count else part_NW for part_NW in parts]
            row_P, taken = combinations(some, field.width)
            yield min(step, count - start), row_P, _folded(taken, self._seeds[place])


def _bucket_hashes(buckets: Buckets) -> Hashes:
    """The hash of each id of a numeric field: that of its bucket's bounds, so that it means the same in every training."""
    bounds = ["", *map(repr, buckets.edges or ()), ""]
    hash_V = np.full(FIRST_VALUE + len(bounds) - 1, NOTHING)
    for place, (low, high) in enumerate(pairwise(bounds)):
        hash_V[FIRST_VALUE + place] = text_hash(f"{low}..{high}".encode())
    # Without any value in the training rows there is one bucket, which holds whatever comes.
    hash_V[OUT_OF_VOCABULARY] = hash_V[FIRST_VALUE]
    return hash_V


def _folded(parts: Sequence[Hashes], seed: np.uint64) -> Hashes:
    """The hash of hashes in their order; it means nothing where one of them is `NOTHING`."""
    total_N: Hashes = np.array([seed])
    for part_N in parts:
        total_N = total_N ^ part_N
        total_N *= _FIRST
        total_N ^= total_N >> _31
        total_N *= _SECOND
        total_N ^= total_N >> _27
    total_N ^= total_N >> _30
    total_N *= _FIRST
    total_N ^= total_N >> _31
    return total_N
