"""Fields made of the item's and the user's or the context's: nobody has them until a request meets a candidate.

An item's part of them, the hashes of its values, is kept with the item; the request's part is hashed once.
"""

from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elec.features.encoding import FeatureEncoder
from elec.features.lookup_hash import Hashes
from elec.features.raw import Columns
from elec.spec.fields import CrossedField, Entity, FieldSpec

# Up to so many items Python's own values are faster than Arrow's arrays.
_FEW = 32


class Pairs:
    """Makes the crossed fields of requests and candidates.

    Args:
        encoder: Of all fields.

    Attributes:
        width: How many hashes are kept of an item; 0 if there is no such field.
    """

    def __init__(self, encoder: FeatureEncoder) -> None:
        self._crossing = encoder.crossing(
            field for field in encoder.specs if isinstance(field, CrossedField) and is_of_pair(field)
        )
        items = {spec.name for spec in encoder.specs if spec.of is Entity.ITEM}
        self._of_items = [parent for name, parent in self._crossing.parents.items() if name in items]
        self._of_requests = [parent for name, parent in self._crossing.parents.items() if name not in items]
        starts = np.cumsum([0, *(parent.width for parent in self._of_items)]).tolist()
        self._part_of = {parent.name: slice(*ends) for parent, ends in zip(self._of_items, pairwise(starts), strict=True)}
        self.width = starts[-1]
        # The columns of the request's side that are the pair's, and the other ones.
        own = [is_of_pair(spec) for spec in encoder.specs if spec.of is not Entity.ITEM for _ in range(spec.width)]
        self._own, self._others = np.flatnonzero(own), np.flatnonzero(~np.array(own, np.bool_))
        ends = np.cumsum([field.width for field in self._crossing.fields])
        self._columns = np.split(self._own, ends[:-1]) if len(ends) else []

    def items(self, rows: pa.Table) -> Hashes:
        """What is kept of M items, uint64 [M, `width`]."""
        found = [parent.hashes(rows.column(parent.name), few=rows.num_rows <= _FEW) for parent in self._of_items]
        return np.concatenate(found, axis=1) if found else np.empty((rows.num_rows, 0), np.uint64)

    def request(self, row: Columns) -> Mapping[str, Hashes]:
        """The hashes of a request's values, by field, uint64 [1, W]."""
        return {parent.name: parent.hashes(row[parent.name], few=True) for parent in self._of_requests}

    def requests(
        self, request_1Q: npt.NDArray[np.int64], hashes: Mapping[str, Hashes], items_NH: Hashes
    ) -> npt.NDArray[np.int64]:
        """A row of the request's side for each candidate, int64 [N, R], or the one of the request if it does for all of them.

        Args:
            request_1Q: The ids of the request's own fields.
            hashes: Of the request.
            items_NH: What is kept of the candidates.
        """
        if not self.width:
            return request_1Q
        by_name = {**hashes, **{name: items_NH[:, part] for name, part in self._part_of.items()}}
        requests_NR = np.empty((len(items_NH), len(self._own) + len(self._others)), np.int64)
        requests_NR[:, self._others] = request_1Q
        for place, columns in enumerate(self._columns):
            requests_NR[:, columns] = self._crossing.ids(by_name, place)
        return requests_NR


def is_of_pair(field: FieldSpec) -> bool:
    """Whether a field is a cross of the item's and others."""
    return isinstance(field, CrossedField) and field.of is Entity.PAIR
