"""Vectors of texts, kept by content: append-only segments, written once and never changed.

A segment is `<name>.npy`, float16 [n, H], memory-mapped by whoever reads, and `<name>.parquet`, which says whose vector each
row is and what the first file has to look like. The Parquet file goes up last, so a segment is there as a whole or not at
all, however its writer ends; and since a segment is named by its content, writers cannot get into each other's way.
"""

import hashlib
import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from elec import storage
from elec.errors import InputError
from elec.spec import cache_folder

_LARGEST_HALF = float(np.finfo(np.float16).max)


class VectorStore:
    """The vectors of one language model.

    Args:
        uri: Where the vectors of all models are: a folder or `s3://`.
        llm_id: The model and its settings.
        cache: Where fetched segments of an `s3://` store are kept; elec's cache when left out.
    """

    def __init__(self, uri: str | Path, llm_id: str, *, cache: Path | None = None) -> None:
        self.uri = storage.join(uri, llm_id)
        self._cache = cache
        # Name -> vectors; the order is that of `_keys` and `_segment_of`.
        self._names: list[str] = []
        self._vectors: dict[str, np.ndarray] = {}
        self._shapes: list[tuple[int, int]] = []
        self._sums: list[str] = []
        self._keys = pa.chunked_array([], pa.string())
        self._segment_of = np.empty(0, np.int32)
        self._row_of = np.empty(0, np.int64)

    def missing(self, keys: Sequence[str] | pa.Array | pa.ChunkedArray) -> list[str]:
        """The keys that have no vector yet, in the given order, each once.

        Args:
            keys: Keys of texts.
        """
        self._refresh()
        array = _as_array(keys)
        unknown: list[str] = array.filter(pc.invert(pc.is_in(array, value_set=self._keys))).unique().to_pylist()
        return unknown

    def add(self, keys: Sequence[str], vectors: np.ndarray) -> None:
        """Publishes vectors as one segment.

        Args:
            keys: n distinct keys of texts.
            vectors: float [n, H].

        Raises:
            ValueError: If the shapes do not fit each other or what is stored, or a key comes twice.
            InputError: If a vector is not finite in float16.
        """
        if vectors.ndim != 2 or len(keys) != len(vectors) or len(set(keys)) != len(keys):
            raise ValueError(f"{len(keys)} keys ({len(set(keys))} distinct) do not go with vectors of shape {vectors.shape}")
        if not len(keys):
            return
        self._refresh()
        if self._shapes and self._shapes[0][1] != vectors.shape[1]:
            raise ValueError(f"{self.uri} holds vectors of length {self._shapes[0][1]}, not {vectors.shape[1]}")
        # A NaN fails the comparison too.
        if not bool((np.abs(vectors) <= _LARGEST_HALF).all()):
            raise InputError(
                f"{self.uri}: the language model gave vectors that are not finite in float16; use another llm.name"
            )
        buffer = io.BytesIO()
        np.save(buffer, np.ascontiguousarray(vectors, dtype=np.float16), allow_pickle=False)
        content = buffer.getvalue()
        digest = hashlib.sha256(content).hexdigest()
        name = hashlib.sha256("\n".join([digest, *keys]).encode()).hexdigest()[:32]
        metadata = {"sha256": digest, "bytes": str(len(content)), "dimension": str(vectors.shape[1])}
        index = pa.table({"key": pa.array(keys, pa.string()), "row": pa.array(np.arange(len(keys)))})
        sink = io.BytesIO()
        pq.write_table(index.replace_schema_metadata(metadata), sink)
        storage.write_bytes(storage.join(self.uri, f"{name}.npy"), content)
        storage.write_bytes(storage.join(self.uri, f"{name}.parquet"), sink.getvalue())

    def gather(self, keys: Sequence[str] | pa.Array | pa.ChunkedArray) -> np.ndarray:
        """Looks vectors up.

        Args:
            keys: n keys of texts, in any order, repeats allowed.

        Returns:
            float16 [n, H].

        Raises:
            InputError: If a key has no vector, or a segment is damaged.
        """
        self._refresh()
        array = _as_array(keys)
        found = pc.index_in(array, value_set=self._keys)
        if found.null_count:
            example = array.filter(found.is_null())[0]
            raise InputError(
                f"{self.uri}: {found.null_count} of {len(array)} texts have no vector (the first: {example}); "
                "encode the texts first"
            )
        where = found.to_numpy()
        segments, rows = self._segment_of[where], self._row_of[where]
        vectors = np.empty((len(where), self._shapes[0][1] if self._shapes else 0), dtype=np.float16)
        for segment in np.unique(segments):
            mine = np.flatnonzero(segments == segment)
            vectors[mine] = self._open(int(segment))[rows[mine]]
        return vectors

    def __len__(self) -> int:
        """How many texts have a vector."""
        self._refresh()
        return int(pc.count_distinct(self._keys).as_py())

    def _refresh(self) -> None:
        """Takes in the segments that were published since."""
        known = set(self._names)
        names = [file.removesuffix(".parquet") for file in storage.list_files(self.uri) if file.endswith(".parquet")]
        new = [name for name in names if name not in known]
        if not new:
            return
        chunks, segments, rows = [*self._keys.chunks], [self._segment_of], [self._row_of]
        for name in new:
            index, shape, digest = self._read_index(name)
            segments.append(np.full(len(index), len(self._names), np.int32))
            rows.append(index["row"].to_numpy())
            chunks.extend(index["key"].chunks)
            self._names.append(name)
            self._shapes.append(shape)
            self._sums.append(digest)
        self._keys = pa.chunked_array(chunks, pa.string())
        self._segment_of, self._row_of = np.concatenate(segments), np.concatenate(rows)

    def _read_index(self, name: str) -> tuple[pa.Table, tuple[int, int], str]:
        try:
            index = pq.read_table(io.BytesIO(storage.read_bytes(storage.join(self.uri, f"{name}.parquet"))))
            metadata = {key.decode(): value.decode() for key, value in (index.schema.metadata or {}).items()}
            shape = (len(index), int(metadata["dimension"]))
            rows = index["row"].to_numpy()
            if index["key"].type != pa.string() or not np.array_equal(np.sort(rows), np.arange(len(rows))):
                raise ValueError("its columns are not those of an index")
        except (pa.ArrowException, KeyError, ValueError) as error:
            raise self._damaged(name, f"its index cannot be read: {error}") from None
        if self._shapes and shape[1] != self._shapes[0][1]:
            raise self._damaged(name, f"vectors of length {shape[1]} beside others of length {self._shapes[0][1]}")
        return index, shape, metadata["sha256"]

    def _open(self, segment: int) -> np.ndarray:
        """Maps a segment into memory; the first time, it is checked against the sum in its index."""
        name = self._names[segment]
        if name not in self._vectors:
            path = self._local(name)
            with path.open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
            if found != self._sums[segment]:
                if storage.is_s3(self.uri):
                    path.unlink()
                raise self._damaged(name, f"sha256 {found} instead of {self._sums[segment]}")
            vectors = np.load(path, mmap_mode="r", allow_pickle=False)
            if vectors.shape != self._shapes[segment] or vectors.dtype != np.float16:
                raise self._damaged(name, f"{vectors.dtype} {vectors.shape} instead of float16 {self._shapes[segment]}")
            self._vectors[name] = vectors
        return self._vectors[name]

    def _local(self, name: str) -> Path:
        """The segment's vectors as a local file."""
        source = storage.join(self.uri, f"{name}.npy")
        try:
            if not storage.is_s3(self.uri):
                path = storage.local_path(source)
                path.stat()
                return path
            root = self._cache or cache_folder() / "vectors"
            path = root / hashlib.sha256(self.uri.encode()).hexdigest()[:16] / f"{name}.npy"
            if not path.exists():
                storage.write_bytes(path, storage.read_bytes(source))
        except FileNotFoundError:
            raise self._damaged(name, "its vectors are gone") from None
        return path

    def _damaged(self, name: str, reason: str) -> InputError:
        return InputError(
            f"{storage.join(self.uri, name)}: this segment of vectors is damaged ({reason}); "
            f"delete {name}.npy and {name}.parquet, and the next run encodes its texts again"
        )


def _as_array(keys: Sequence[str] | pa.Array | pa.ChunkedArray) -> pa.Array:
    if isinstance(keys, pa.ChunkedArray):
        return keys.combine_chunks()
    return keys if isinstance(keys, pa.Array) else pa.array(keys, pa.string())
