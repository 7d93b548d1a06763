"""One side of a record: the item's fields, or those of the request, its user's and its context's; each is encoded by itself."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elec.features.encoding import FeatureEncoder
from elec.features.hashed import HashBuckets
from elec.features.ids import FIRST_VALUE
from elec.features.raw import TYPES, Columns, columns_of, raw_table
from elec.features.vectors import dense
from elec.serving.manifest import Manifest
from elec.serving.pairs import is_of_pair
from elec.serving.semantic_ids import SemanticIds
from elec.spec.fields import Entity


class Side:
    """Encodes the fields of one side.

    Args:
        manifest: Of the bundle.
        encoder: Of all fields.
        semantic_ids: The items' ones, if the network reads them.
        entity: `Entity.ITEM` for the items' side, `Entity.USER` for the requests'.
    """

    def __init__(self, manifest: Manifest, encoder: FeatureEncoder, semantic_ids: SemanticIds | None, entity: Entity) -> None:
        items = entity is Entity.ITEM
        specs = encoder.specs
        chosen = [place for place, spec in enumerate(specs) if (spec.of is Entity.ITEM) is items and not is_of_pair(spec)]
        self.fields = tuple(field for field in manifest.fields if (field.of is Entity.ITEM) is items)
        self._encoder = FeatureEncoder([specs[place] for place in chosen], [encoder.codes[place] for place in chosen])
        self._semantic_ids = semantic_ids if items else None
        self._key = manifest.item if items else manifest.user
        slots = np.cumsum([0, *(field.width for field in self._encoder.fields)]).tolist()
        slot_of = {field.name: slot for field, slot in zip(self._encoder.fields, slots, strict=False)}
        hashed = any(
            spec.name == self._key and isinstance(code, HashBuckets) for spec, code in zip(specs, encoder.codes, strict=True)
        )
        # Of hashed keys nobody can say which ones were seen.
        self._key_slot: int | None = None if hashed else slot_of.get(self._key)
        self._described = [field.name for field in self.fields if field.of is entity and field.name != self._key]
        self._view = manifest.vectors.name(entity) if manifest.vectors is not None else None
        self.vector_size = manifest.vector_size

    @property
    def slots(self) -> int:
        """How many ids a row has."""
        return self._encoder.slots

    def row(self, values: Mapping[str, Any]) -> Columns:
        """A row of raw values; a field that is left out is missing."""
        return {field.name: [values.get(field.name)] for field in self.fields}

    def nothing(self, keys: Sequence[str]) -> pa.Table:
        """Rows of which the keys are known and nothing else."""
        columns = {field.name: pa.nulls(len(keys), TYPES[field.kind]) for field in self.fields}
        if self._view is not None:
            columns[self._view] = pa.nulls(len(keys), pa.list_(pa.float32()))
        return pa.table(columns | {self._key: pa.array(keys, pa.string())})

    def encode(self, rows: pa.Table | Columns) -> npt.NDArray[np.int64]:
        """The ids of N rows, int64 [N, `slots`].

        Raises:
            InputError: If a value cannot be read as its field's kind.
        """
        return self._encoder.encode(rows if self._semantic_ids is None else self._semantic_ids.add(rows))

    def vectors(self, table: pa.Table) -> npt.NDArray[np.float32] | None:
        """The text vectors that stand in N rows, float32 [N, V]; zeros for what is unknown, None if none are read."""
        return None if self._view is None else dense(table.column(self._view), self.vector_size)

    def vector(self, values: Mapping[str, Any]) -> npt.NDArray[np.float32] | None:
        """The text vector among the values of one row, float32 [1, V]."""
        if self._view is None:
            return None
        return dense(pa.array([values.get(self._view)], pa.list_(pa.float32())), self.vector_size)

    def known(self, slots_NI: npt.NDArray[np.int64], rows: pa.Table | Columns) -> npt.NDArray[np.bool_]:
        """Which of N users or items the model knows: by its vocabulary of keys, or, without one, by any value of theirs."""
        if self._key_slot is not None:
            return slots_NI[:, self._key_slot] >= FIRST_VALUE
        known_N = np.full(len(slots_NI), not self._described)
        table = raw_table(self.fields, columns_of(rows))
        for name in self._described:
            known_N |= pc.is_valid(table.column(name)).to_numpy(zero_copy_only=False)
        return known_N
