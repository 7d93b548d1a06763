"""The text vectors of users and items in Feast, for the student that reads them: the names of their views, their form.

A view's name holds the version of the projection that made its vectors. Vectors of another projection mean something else, so
they get views of their own, and a model that is in service never meets them. No torch and no DuckDB: serving reads this.
"""

import hashlib
import re
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, Field

from elec import s3, storage
from elec.errors import InputError
from elec.features.raw import raw_column
from elec.spec import Entity, FieldSpec

#: The feature of each of the views, and the column of its rows.
VECTOR = "vector"

# Of a vector without a time of its own, which is true always; Feast's look-ups start a day after its epoch.
_ALWAYS = datetime(1970, 1, 2, tzinfo=UTC)
_ROWS = 65_536
_SIZE = "vector_size"
_FILE = re.compile(r"user_vectors_([0-9a-f]{12})\.parquet")


class VectorViews(BaseModel):
    """The two feature views of one projection.

    Attributes:
        version: Of the projection, and of the rule by which a user's vector is made.
        size: V, the numbers of a vector.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    version: Annotated[str, Field(pattern=r"^[0-9a-f]{12}$")]
    size: int = Field(ge=1)

    @classmethod
    def of(cls, projection: Path, *, size: int, history: int) -> Self:
        """The views of a projection's vectors.

        Args:
            projection: Its file, whose content decides what a vector means.
            size: V.
            history: The clicks that a user's vector is the mean of, at most; it means something else with another number.
        """
        meaning = hashlib.sha256(projection.read_bytes() + f"history {history}".encode())
        return cls(version=meaning.hexdigest()[:12], size=size)

    def name(self, entity: Entity) -> str:
        """The view of the users' or of the items' vectors."""
        return f"{entity}_vectors_{self.version}"

    def file(self, data_folder: str, entity: Entity) -> str:
        """Where Feast reads the rows of a view."""
        return storage.join(data_folder, f"{self.name(entity)}.parquet")


def published_vectors(data_folder: str) -> list[VectorViews]:
    """The views whose rows lie in a folder of Feast's data, sorted by version.

    Args:
        data_folder: A path, or `s3://`.
    """
    found = []
    for name in storage.list_files(data_folder):
        match = _FILE.fullmatch(name)
        if match is not None:
            with open_rows(storage.join(data_folder, name)) as parquet:
                size = int(parquet.schema_arrow.metadata[_SIZE.encode()])
            found.append(VectorViews(version=match[1], size=size))
    return found


def open_rows(file: str) -> Any:
    """A `ParquetFile`, of a path or of `s3://`."""
    source = s3.filesystem().open_input_file(file.removeprefix("s3://")) if storage.is_s3(file) else file
    return pq.ParquetFile(source)


def dense(vectors: pa.Array | pa.ChunkedArray, size: int) -> npt.NDArray[np.float32]:
    """Lists of numbers as a matrix.

    Args:
        vectors: N lists of V numbers; null is unknown.
        size: V.

    Returns:
        float32 [N, V]; a row of zeros for what is unknown.

    Raises:
        InputError: If a vector has another length.
    """
    if isinstance(vectors, pa.ChunkedArray):
        vectors = vectors.combine_chunks()
    known_N = pc.is_valid(vectors).to_numpy(zero_copy_only=False)
    matrix_NV = np.zeros((len(vectors), size), dtype=np.float32)
    lengths = pc.list_value_length(vectors.drop_null())
    if len(lengths) and pc.min_max(lengths).as_py() != {"min": size, "max": size}:
        raise InputError(f"a text vector has not {size} numbers; publish the vectors of the bundle's own run")
    matrix_NV[known_N] = vectors.drop_null().flatten().to_numpy(zero_copy_only=False).reshape(-1, size)
    return matrix_NV


def key_column(field: FieldSpec, keys: Sequence[object] | pa.Array | pa.ChunkedArray) -> pa.Array:
    """Keys of any type as the text that they are everywhere."""
    if not isinstance(keys, pa.Array | pa.ChunkedArray):
        keys = pa.array([None if key is None else str(key) for key in keys], pa.string())
    return raw_column(field, keys)


def write_vectors(source: Path, target: Path, key: str, size: int) -> None:
    """Writes the rows of a view: key, `event_timestamp`, `vector`.

    Vectors are rounded to half precision first: training reads them so, and serving has to read the same.

    Args:
        source: Parquet with the key, `vector` and, where a vector has one, `event_timestamp`.
        target: The Parquet file to write.
        key: The key's column.
        size: V.

    Raises:
        InputError: If a vector has another length.
    """
    # How long a vector is stands in the file, for whoever finds it without a manifest.
    schema = pa.schema(
        [(key, pa.string()), ("event_timestamp", pa.timestamp("us", tz="UTC")), (VECTOR, pa.list_(pa.float32()))],
        metadata={_SIZE: str(size)},
    )
    with pq.ParquetFile(source) as parquet, pq.ParquetWriter(target, schema) as writer:
        columns = [name for name in schema.names if name in parquet.schema_arrow.names]
        for batch in parquet.iter_batches(_ROWS, columns=columns):
            rows = batch.filter(pc.is_valid(batch.column(VECTOR)))
            vectors_NV = dense(rows.column(VECTOR), size).astype(np.float16).astype(np.float32)
            offsets = np.arange(rows.num_rows + 1, dtype=np.int32) * size
            moments = (
                rows.column("event_timestamp").cast(schema.field(1).type)
                if "event_timestamp" in columns
                else pa.repeat(pa.scalar(_ALWAYS, schema.field(1).type), rows.num_rows)
            )
            values = pa.ListArray.from_arrays(pa.array(offsets), pa.array(vectors_NV.reshape(-1)))
            writer.write_batch(pa.record_batch([rows.column(key), moments, values], schema))
