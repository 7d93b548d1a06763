"""The text vectors behind Feast's views, read from their files: many records are scored without asking an online store."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elec import storage
from elec.errors import InputError
from elec.features.definitions import project_name
from elec.features.lookup import Lookup, one_array
from elec.features.store_config import feast_root
from elec.features.vectors import VECTOR, VectorViews, dense, key_column, open_rows
from elec.spec import Entity, FieldSpec

_ROWS = 65_536


class StoredVectors:
    """The vectors behind Feast's views, read from their files: for scoring many records, where no online store is asked.

    Args:
        dataset: The data set's name.
        user: The user's key.
        item: The item's key.
        views: Which vectors.
        feast_folder: The Feast folder of the workspace, a path or `s3://`.

    Raises:
        InputError: If the workspace does not have them.
    """

    def __init__(self, *, dataset: str, user: str, item: str, views: VectorViews, feast_folder: str | Path) -> None:
        self._size = views.size
        folder = storage.join(feast_root(feast_folder), "data", project_name(dataset))
        self._keys: dict[Entity, Lookup] = {}
        self._vectors: dict[Entity, npt.NDArray[np.float16]] = {}
        self._fields = {entity: FieldSpec(name=key, of=entity) for entity, key in ((Entity.USER, user), (Entity.ITEM, item))}
        for entity, key in self._fields.items():
            file = views.file(folder, entity)
            if not storage.exists(file):
                raise InputError(
                    f"{file}: the model reads text vectors, and they are not there; "
                    "give the workspace of the run that published the bundle"
                )
            self._keys[entity], self._vectors[entity] = _read(file, key.name, views.size)

    def vectors(self, users: Sequence[object] | pa.Array, items: Sequence[object] | pa.Array) -> npt.NDArray[np.float32]:
        """The vectors of N pairs, float32 [N, 2, V]: the user's, then the item's; zeros for what is not known."""
        vectors_N2V = np.zeros((len(users), 2, self._size), dtype=np.float32)
        for place, (entity, keys) in enumerate(((Entity.USER, users), (Entity.ITEM, items))):
            row_N = self._keys[entity].positions(key_column(self._fields[entity], keys))
            known_N = row_N >= 0
            vectors_N2V[known_N, place] = self._vectors[entity][row_N[known_N]]
        return vectors_N2V


class NoVectors:
    """In place of vectors that are gone: nothing is known of anyone.

    Args:
        size: V.
    """

    def __init__(self, size: int) -> None:
        self._size = size

    def vectors(self, users: Sequence[object] | pa.Array, items: Sequence[object] | pa.Array) -> npt.NDArray[np.float32]:
        """Zeros for N pairs, float32 [N, 2, V]."""
        return np.zeros((len(users), 2, self._size), dtype=np.float32)


def _read(file: str, key: str, size: int) -> tuple[Lookup, npt.NDArray[np.float16]]:
    """Keys [E] and vectors [E, V]. They were rounded to half precision before they were published, so nothing is lost."""
    with open_rows(file) as parquet:
        keys, vectors_EV, start = [], np.empty((parquet.metadata.num_rows, size), dtype=np.float16), 0
        for batch in parquet.iter_batches(_ROWS, columns=[key, VECTOR]):
            keys.append(batch.column(key))
            vectors_EV[start : start + batch.num_rows] = dense(batch.column(VECTOR), size)
            start += batch.num_rows
    return Lookup(one_array(pa.chunked_array(keys, pa.string()))), vectors_EV
