"""Where a text stands in a list of texts, from a memory-mapped file: all processes of a machine share its pages.

The file is uncompressed Arrow IPC of one record batch, so that opening it reads its footer only:

value      the texts, in their own order
hash       uint64, sorted: the hash of each text
position   uint32, of the text with that hash
bucket     uint32: where in `hash` the first hash stands that is not below `row / rows` of all hashes

and further columns in the order of the texts. The hashes are as good as evenly spread, so `bucket` leads to a place a step
or two before the one that is sought, and a look-up touches a few pages however long the list is. Every answer is compared
with the text itself: two texts of one hash are told apart.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elec.errors import InputError
from elec.features.lookup_hash import Hashes, text_hash, text_hashes
from elec.storage import whole_file

#: How the file's name ends.
SUFFIX = ".arrow"

_VERSION = {b"elec.lookup": b"1"}
_OWN = ("value", "hash", "position", "bucket")
# Measured with pyarrow 24 on one core: `index_in` 22 ns a text of the list and 7 ns a key, hashing 45 us and 50 ns a key.
_SHORT_LIST = 2_000
_SHORT_LIST_PER_KEY = 2
# And up to so many keys are looked up one by one, at 4 us a key.
_ONE_BY_ONE = 12
_KEYS_AT_ONCE = 65_536
_LARGEST_STRING_ARRAY = 2**31 - 1
_TEXTS = (pa.string(), pa.large_string())


@dataclass(frozen=True)
class _Index:
    """The hashed texts, as the file has them: uint64 [V], uint32 [V], uint32 [V]."""

    hash_V: Hashes
    position_V: npt.NDArray[np.uint32]
    bucket_V: npt.NDArray[np.uint32]

    @classmethod
    def of(cls, values: pa.Array) -> Self:
        if len(values) >= 2**32:
            raise InputError(f"a field has {len(values)} values, and {2**32 - 1} is the most; raise its min_count")
        hash_V = text_hashes(values)
        # Stable: of equal texts the first is found.
        order_V = np.argsort(hash_V, kind="stable")
        hash_V = hash_V[order_V]
        held_V = np.bincount(_bucket(hash_V, len(values)), minlength=len(values))
        return cls(hash_V, order_V.astype(np.uint32), (np.cumsum(held_V) - held_V).astype(np.uint32))

    def positions(self, values: pa.Array, keys: pa.Array) -> npt.NDArray[np.int64]:
        """Where N keys stand in the values, -1 for nowhere, int64 [N]."""
        hash_N = text_hashes(keys)
        place_N = self._first_not_below(hash_N)
        position_N = np.full(len(keys), -1, dtype=np.int64)
        row_R = np.flatnonzero(keys.is_valid().to_numpy(zero_copy_only=False)) if keys.null_count else np.arange(len(keys))
        while len(row_R := self._of_equal_hash(row_R, place_N, hash_N)):
            found_R = self.position_V[place_N[row_R]].astype(np.int64)
            equal = pc.equal(values.take(pa.array(found_R)), keys.take(pa.array(row_R)))
            equal_R = pc.fill_null(equal, False).to_numpy(zero_copy_only=False)
            position_N[row_R[equal_R]] = found_R[equal_R]
            row_R = row_R[~equal_R]
            place_N[row_R] += 1
        return position_N

    def position(self, values: pa.Array, key: str) -> int:
        """Where a key stands in the values; -1 for nowhere."""
        count = len(self.hash_V)
        if not count:
            return -1
        hashed = text_hash(key.encode())
        place = int(self.bucket_V[((hashed >> 32) * count) >> 32])
        while place < count and self.hash_V[place] <= hashed:
            position = int(self.position_V[place])
            if self.hash_V[place] == hashed and values[position].as_py() == key:
                return position
            place += 1
        return -1

    def _first_not_below(self, hash_N: Hashes) -> npt.NDArray[np.int64]:
        """For each hash the first place of one that is not below it; V if all are."""
        count = len(self.hash_V)
        place_N = self.bucket_V.take(_bucket(hash_N, count)).astype(np.int64)
        # The last buckets may hold no hash: then their place is V.
        row_R = np.flatnonzero((self.hash_V.take(place_N, mode="clip") < hash_N) & (place_N < count))
        while len(row_R):
            place_N[row_R] += 1
            row_R = row_R[place_N[row_R] < count]
            row_R = row_R[self.hash_V[place_N[row_R]] < hash_N[row_R]]
        return place_N

    def _of_equal_hash(
        self, row_R: npt.NDArray[np.int64], place_N: npt.NDArray[np.int64], hash_N: Hashes
    ) -> npt.NDArray[np.int64]:
        """Those of the rows whose place has their own hash."""
        row_R = row_R[place_N[row_R] < len(self.hash_V)]
        equal_R: npt.NDArray[np.bool_] = self.hash_V[place_N[row_R]] == hash_N[row_R]
        return row_R[equal_R]


class Lookup:
    """Finds texts in a list of texts.

    Args:
        values: The texts; of equal ones the first is found, and null is never found.
        index: Of a file; it is made when it is first needed if left out.
    """

    def __init__(self, values: pa.Array, index: _Index | None = None) -> None:
        self.values = values if values.type in _TEXTS else pc.cast(values, pa.string())
        self._kept = index

    @property
    def _index(self) -> _Index:
        if self._kept is None:
            self._kept = _Index.of(self.values)
        return self._kept

    def positions(self, keys: pa.Array) -> npt.NDArray[np.int64]:
        """Where N keys stand in the list, int64 [N]; -1 for a key that is not there, and for null."""
        if keys.type != self.values.type:
            keys = pc.cast(keys, self.values.type)
        if len(self.values) <= _SHORT_LIST + _SHORT_LIST_PER_KEY * len(keys):
            found = pc.fill_null(pc.index_in(keys, value_set=self.values, skip_nulls=True), -1)
            position_N: npt.NDArray[np.int64] = found.to_numpy(zero_copy_only=False).astype(np.int64)
            return position_N
        starts = range(0, len(keys), _KEYS_AT_ONCE)
        parts = [self._index.positions(self.values, keys.slice(start, _KEYS_AT_ONCE)) for start in starts]
        return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)

    def few_positions(self, keys: Sequence[str]) -> list[int]:
        """What `positions` gives, for keys that are not worth an Arrow array."""
        if len(keys) > _ONE_BY_ONE:
            positions: list[int] = self.positions(pa.array(keys, pa.string())).tolist()
            return positions
        return [self._index.position(self.values, key) for key in keys]

    def save(self, file: Path, further: Mapping[str, pa.Array] | None = None) -> None:
        """Writes the file; equal content gives equal bytes.

        Args:
            file: Where to; a file that is there is replaced at the end, so that whoever has it mapped keeps the old one.
            further: More columns, a value a text.
        """
        index = self._index
        # A slice is copied: Arrow would write it with traces of the array that it is of.
        values = pa.concat_arrays([self.values, self.values.slice(0, 0)]) if self.values.offset else self.values
        own = (values, *(pa.array(column) for column in (index.hash_V, index.position_V, index.bucket_V)))
        columns = dict(zip(_OWN, own, strict=True)) | dict(further or {})
        batch = pa.record_batch(columns).replace_schema_metadata(_VERSION)
        with whole_file(file) as place, pa.OSFile(str(place), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
            writer.write_batch(batch)

    @classmethod
    def open(cls, file: Path) -> tuple["Lookup", pa.RecordBatch]:
        """Maps a file that `save` wrote.

        Returns:
            The look-up, and the further columns.

        Raises:
            InputError: If the file is not there, or is no such file.
        """
        try:
            with pa.memory_map(str(file)) as source:
                reader = pa.ipc.open_file(source)
                if reader.num_record_batches != 1:
                    raise pa.ArrowInvalid(f"it has {reader.num_record_batches} record batches where one is expected")
                batch = reader.get_batch(0)
            batch.validate()
            _check(batch.schema)
        except (OSError, pa.ArrowException) as error:
            reason = str(error).splitlines()[0]
            raise InputError(
                f"{file}: cannot be read as a vocabulary ({reason}); take the folder from a whole bundle"
            ) from None
        index = _Index(*(batch.column(name).to_numpy() for name in _OWN[1:]))
        return cls(batch.column("value"), index), batch.select(batch.schema.names[len(_OWN) :])


def one_array(texts: pa.Array | pa.ChunkedArray) -> pa.Array:
    """Texts as one array, `string`, or `large_string` if there are too many bytes for that."""
    texts = pc.cast(texts, pa.string() if texts.nbytes < _LARGEST_STRING_ARRAY else pa.large_string())
    return texts.combine_chunks() if isinstance(texts, pa.ChunkedArray) else texts


def _bucket(hash_N: Hashes, buckets: int) -> npt.NDArray[np.int64]:
    """The bucket of each hash, in the order of the hashes."""
    return (((hash_N >> np.uint64(32)) * np.uint64(buckets)) >> np.uint64(32)).astype(np.int64)


def _check(schema: pa.Schema) -> None:
    """Refuses a file of another layout.

    Raises:
        ArrowInvalid: With the reason.
    """
    metadata = schema.metadata or {}
    if any(metadata.get(name) != version for name, version in _VERSION.items()):
        raise pa.ArrowInvalid("it was not written as one, or by another version")
    kinds = {"hash": pa.uint64(), "position": pa.uint32(), "bucket": pa.uint32()}
    if tuple(schema.names[: len(_OWN)]) != _OWN or any(schema.field(name).type != kind for name, kind in kinds.items()):
        raise pa.ArrowInvalid(f"its columns are not {', '.join(_OWN)}")
    if schema.field("value").type not in _TEXTS:
        raise pa.ArrowInvalid(f"its texts are {schema.field('value').type}")
