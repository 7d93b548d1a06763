"""Aggregates of several together, such as a user and an item's category: looked up anew for every candidate of a request.

Of an item only the values are kept that they are looked up by, as texts.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elec.features.encoding import FeatureEncoder
from elec.features.raw import Columns
from elec.serving.manifest import Manifest
from elec.serving.pairs import is_of_pair
from elec.serving.predictor import Features
from elec.spec.fields import Entity

#: By field the numbers of N candidates.
Counted = Mapping[str, pa.Array]


class CountedPairs:
    """Looks up and encodes these fields.

    Args:
        manifest: Of the bundle.
        encoder: Of all fields.
        features: Where they are looked up.

    Attributes:
        names: The fields.
        width: How many texts are kept of an item; 0 if there is no such field.
    """

    def __init__(self, manifest: Manifest, encoder: FeatureEncoder, features: Features) -> None:
        specs = encoder.specs
        chosen = [place for place, spec in enumerate(specs) if spec.of is Entity.PAIR and not is_of_pair(spec)]
        self.names = tuple(specs[place].name for place in chosen)
        self._encoder = FeatureEncoder([specs[place] for place in chosen], [encoder.codes[place] for place in chosen])
        # Their columns on the request's side.
        of_request = [spec.name for spec in specs if spec.of is not Entity.ITEM for _ in range(spec.width)]
        self._columns = [of_request.index(name) for name in self.names]
        self._features = features
        asked = features.pair_columns if chosen else ()
        of_items = {field.name for field in manifest.fields if field.of is Entity.ITEM}
        self._of_items = [name for name in asked if name in of_items]
        self._of_request = [name for name in asked if name not in of_items]
        self.width = len(self._of_items)

    def items(self, described: pa.Table) -> npt.NDArray[np.object_]:
        """What is kept of M items, objects [M, `width`]."""
        texts_MW = np.empty((described.num_rows, self.width), object)
        for place, name in enumerate(self._of_items):
            texts_MW[:, place] = described.column(name).to_pylist()
        return texts_MW

    def look_up(self, request: Columns, texts_NW: npt.NDArray[np.object_]) -> Counted:
        """The numbers of N candidates.

        Args:
            request: The request's values, a row.
            texts_NW: What is kept of the candidates.

        Raises:
            InputError: If a value of the request cannot be read.
            OnlineStoreError: If the online store cannot be reached.
        """
        records: dict[str, Sequence[Any]] = {name: [request[name][0]] * len(texts_NW) for name in self._of_request}
        records |= {name: texts_NW[:, place].tolist() for place, name in enumerate(self._of_items)}
        return self._features.pairs(records)

    def unknown(self, count: int) -> Counted:
        """The numbers of N candidates of which nothing is known."""
        return dict.fromkeys(self.names, pa.nulls(count, pa.float64()))

    def put(self, requests_MR: npt.NDArray[np.int64], counted: Counted) -> npt.NDArray[np.int64]:
        """Writes the numbers' ids into rows of the request's side, one for each candidate, int64 [N, R].

        Args:
            requests_MR: A row for each candidate, or one for all of them.
            counted: The numbers of the N candidates.
        """
        ids_NP = self._encoder.encode(counted)
        requests_NR = np.array(np.broadcast_to(requests_MR, (len(ids_NP), requests_MR.shape[1])))
        requests_NR[:, self._columns] = ids_NP
        return requests_NR
