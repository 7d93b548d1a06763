"""The predictor: raw records in, probabilities out; the server, batch scoring and the evaluation all use this one."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import onnxruntime
import pyarrow as pa

from elec.errors import ElecError, InputError
from elec.features import FeatureEncoder
from elec.features.raw import raw_table
from elec.serving.bundle import Bundle
from elec.serving.golden import Golden
from elec.serving.manifest import Manifest
from elec.spec.dataset import Entity

#: Rows a run of the network, which bounds the memory of its activations.
_ROWS = 8192


class FeatureLookupError(ElecError):
    """The feature store cannot be asked now, so nothing is ranked: a score from invented features would be a wrong one."""


class Features(Protocol):
    """Where the features of users and items are looked up; `elec.features.online.OnlineFeatures` in production."""

    def user(self, key: object) -> dict[str, Any]:
        """A user's raw values by field, its key included; None for what is unknown."""

    def items(self, keys: Sequence[object]) -> pa.Table:
        """The items' raw values, their keys included, a row a key in the given order; null for what is unknown."""


class Predictor:
    """Scores records with a bundle's network.

    Args:
        bundle: An opened bundle.
        features: For `rank`.
        threads: Of one run of the network.

    Raises:
        InputError: If the bundle's parts do not fit each other.
    """

    def __init__(self, bundle: Bundle, features: Features | None = None, *, threads: int = 1) -> None:
        self.manifest: Manifest = bundle.manifest
        self._features = features
        self._encoder = FeatureEncoder.load(bundle.vocabulary)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(bundle.model), options, providers=["CPUExecutionProvider"])
        encoded = [field.name for field in self._encoder.fields]
        described = [field.name for field in self.manifest.fields]
        if encoded != described or self._encoder.slots != self.manifest.slots:
            raise InputError(
                f"{bundle.uri}: its vocabulary is of the fields {encoded}, its manifest of {described}; it is refused"
            )
        self._golden = Golden.load(bundle.golden, self.manifest.fields)

    def score(self, table: pa.Table | pa.RecordBatch) -> np.ndarray:
        """Scores records.

        Args:
            table: N rows with a raw column for every field; null is a missing value. Other columns are not looked at.

        Returns:
            float32 [N], probabilities of a click.

        Raises:
            InputError: If a field's column is missing or cannot be read as the field's kind.
        """
        scores = np.empty(table.num_rows, dtype=np.float32)
        for start in range(0, table.num_rows, _ROWS):
            slots_NS = self._encoder.encode(table.slice(start, _ROWS))
            scores[start : start + _ROWS] = self.run(slots_NS)
        return scores

    def run(self, slots_NS: np.ndarray) -> np.ndarray:
        """Runs the network on encoded rows: int64 [N, S] to float32 [N]."""
        scores: np.ndarray = self._session.run(["score"], {"slots": slots_NS})[0]
        return scores

    def encode(self, table: pa.Table | pa.RecordBatch) -> np.ndarray:
        """The ids of raw records, int64 [N, S]."""
        return self._encoder.encode(table)

    def rank(self, user: str, items: Sequence[str], context: Mapping[str, Any] | None = None) -> list[tuple[str, float]]:
        """Orders items for a user, the most likely click first; equal scores keep the given order.

        Args:
            user: The user's key; one that is not known is scored as such.
            items: The items' keys.
            context: Values of context fields; one that is left out is missing.

        Raises:
            FeatureLookupError: If there is no feature store, or it cannot be asked.
            InputError: If the context has something that is no context field, or a value that cannot be read.
        """
        scores = self.score(self.candidates(user, items, context or {}))
        order = np.argsort(-scores, kind="stable")
        return [(items[index], float(scores[index])) for index in order]

    def candidates(self, user: str, items: Sequence[str], context: Mapping[str, Any]) -> pa.Table:
        """The raw records of a user with each of some items, in the order of the items."""
        fields = [field for field in self.manifest.fields if field.of is Entity.CONTEXT]
        unknown = sorted(set(context) - {field.name for field in fields})
        if unknown:
            known = ", ".join(field.name for field in fields) or "this model has none"
            raise InputError(f"context field '{unknown[0]}' is not known; context fields: {known}")
        if self._features is None:
            raise FeatureLookupError(
                "ranking looks features up in Feast, and this server was started without it; start it with --feast FOLDER"
            )
        described = self._features.items(items)
        once = {**self._features.user(user), **context}
        columns: dict[str, pa.Array | pa.ChunkedArray] = {}
        for field in self.manifest.fields:
            if field.of is Entity.ITEM:
                columns[field.name] = described.column(field.name)
            else:
                value = raw_table([field], {field.name: [once.get(field.name)]}).column(0).combine_chunks()
                columns[field.name] = value.take(pa.nulls(len(items), pa.int64()).fill_null(0))
        return pa.table(columns)

    def warm_up(self) -> None:
        """Runs everything once, so that the first request is as fast as the next."""
        self.score(self._golden.records)
