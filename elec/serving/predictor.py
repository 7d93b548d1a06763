"""The predictor: raw records in, probabilities out; the server, batch scoring and the evaluation all use this one."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import onnxruntime
import pyarrow as pa

from elec.errors import ElecError, InputError
from elec.features import FeatureEncoder
from elec.features.raw import raw_table
from elec.features.vectors import dense
from elec.serving.bundle import Bundle
from elec.serving.golden import Golden
from elec.serving.manifest import Manifest
from elec.serving.semantic_ids import SemanticIds
from elec.spec.dataset import Entity

#: Rows a run of the network, which bounds the memory of its activations.
_ROWS = 8192


class FeatureLookupError(ElecError):
    """The feature store cannot be asked now, so nothing is ranked: a score from invented features would be a wrong one."""


Keys: TypeAlias = Sequence[object] | pa.Array | pa.ChunkedArray


class Vectors(Protocol):
    """Where text vectors are looked up."""

    def vectors(self, users: Keys, items: Keys) -> np.ndarray:
        """The vectors of N pairs, float32 [N, 2, V]: the user's, then the item's; zeros for what is not known."""


class Features(Vectors, Protocol):
    """Where the features of users and items are looked up; `elec.features.online.OnlineFeatures` in production.

    For a student that reads text vectors the answers hold them too, in a column of their view's name.
    """

    def user(self, key: object) -> dict[str, Any]:
        """A user's raw values by field, its key included; None for what is unknown."""

    def items(self, keys: Sequence[object]) -> pa.Table:
        """The items' raw values, their keys included, a row a key in the given order; null for what is unknown."""


class Candidates(NamedTuple):
    """The records of a user with each of some items, and their text vectors for a student that reads them."""

    records: pa.Table
    vectors_N2V: np.ndarray | None


class Predictor:
    """Scores records with a bundle's network.

    Args:
        bundle: An opened bundle.
        features: For `rank`, and for the text vectors of a student that reads them.
        vectors: Where the text vectors of records come from instead, if not from `features`.
        threads: Of one run of the network.

    Raises:
        InputError: If the bundle's parts do not fit each other.
    """

    def __init__(
        self, bundle: Bundle, features: Features | None = None, *, vectors: Vectors | None = None, threads: int = 1
    ) -> None:
        self.manifest: Manifest = bundle.manifest
        self._features = features
        self._vectors = vectors or features
        self._encoder = FeatureEncoder.load(bundle.vocabulary)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(bundle.model), options, providers=["CPUExecutionProvider"])
        encoded = [field.name for field in self._encoder.fields]
        described = [*(field.name for field in self.manifest.fields), *self.manifest.semantic_ids]
        if encoded != described or self._encoder.slots != self.manifest.slots:
            raise InputError(
                f"{bundle.uri}: its vocabulary is of the fields {encoded}, its manifest of {described}; it is refused"
            )
        read = tuple(put.name for put in self._session.get_inputs())
        if read != self.manifest.inputs:
            raise InputError(f"{bundle.uri}: its network reads {read}, its manifest says {self.manifest.inputs}; it is refused")
        self._semantic_ids = None
        if self.manifest.semantic_ids:
            self._semantic_ids = SemanticIds(bundle.semantic_ids, self.manifest.item, self.manifest.semantic_ids)
        self._golden = Golden.load(bundle.golden, self.manifest.fields, self.manifest.vector_size)

    def score(self, table: pa.Table | pa.RecordBatch, vectors_N2V: np.ndarray | None = None) -> np.ndarray:
        """Scores records.

        Args:
            table: N rows with a raw column for every field; null is a missing value. Other columns are not looked at.
            vectors_N2V: The text vectors of the rows, float32, for a student that reads them; looked up when left out.

        Returns:
            float32 [N], probabilities of a click.

        Raises:
            InputError: If a field's column is missing or cannot be read as the field's kind.
            FeatureLookupError: If there is nowhere to look the vectors up.
        """
        scores = np.empty(table.num_rows, dtype=np.float32)
        for start in range(0, table.num_rows, _ROWS):
            part = table.slice(start, _ROWS)
            vectors_P2V = None
            if self.manifest.vectors is not None:
                vectors_P2V = self.look_up(part) if vectors_N2V is None else vectors_N2V[start : start + _ROWS]
            scores[start : start + _ROWS] = self.run(self.encode(part), vectors_P2V)
        return scores

    def run(self, slots_NS: np.ndarray, vectors_N2V: np.ndarray | None = None) -> np.ndarray:
        """Runs the network on encoded rows, int64 [N, S], and on their vectors where it reads them; gives float32 [N]."""
        given = {"slots": slots_NS} if vectors_N2V is None else {"slots": slots_NS, "vectors": vectors_N2V}
        scores: np.ndarray = self._session.run(["score"], given)[0]
        return scores

    def encode(self, table: pa.Table | pa.RecordBatch) -> np.ndarray:
        """The ids of raw records, int64 [N, S]."""
        return self._encoder.encode(table if self._semantic_ids is None else self._semantic_ids.add(table))

    def look_up(self, table: pa.Table | pa.RecordBatch) -> np.ndarray:
        """The text vectors of the users and items of records, float32 [N, 2, V].

        Raises:
            InputError: If the records have no column of the user's or the item's key.
            FeatureLookupError: If there is nowhere to look.
        """
        if self._vectors is None:
            raise FeatureLookupError(
                "this model reads text vectors, and this server was started without Feast to look them up in; "
                "send the input 'vectors', or start it with --feast FOLDER"
            )
        keys = []
        for name in (self.manifest.user, self.manifest.item):
            if name not in table.schema.names:
                raise InputError(f"field '{name}': the column is missing; send it, with null where the value is unknown")
            keys.append(table.column(name))
        return self._vectors.vectors(*keys)

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
        scores = self.score(*self.candidates(user, items, context or {}))
        order = np.argsort(-scores, kind="stable")
        return [(items[index], float(scores[index])) for index in order]

    def candidates(self, user: str, items: Sequence[str], context: Mapping[str, Any]) -> Candidates:
        """The raw records of a user with each of some items, in the order of the items, and their text vectors."""
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
        of_user = self._features.user(user)
        once = {**of_user, **context}
        columns: dict[str, pa.Array | pa.ChunkedArray] = {}
        for field in self.manifest.fields:
            if field.of is Entity.ITEM:
                columns[field.name] = described.column(field.name)
            else:
                value = raw_table([field], {field.name: [once.get(field.name)]}).column(0).combine_chunks()
                columns[field.name] = value.take(pa.nulls(len(items), pa.int64()).fill_null(0))
        return Candidates(pa.table(columns), self._vectors_of(of_user, described))

    def warm_up(self) -> None:
        """Runs everything once, so that the first request is as fast as the next."""
        self.score(self._golden.records, self._golden.vectors)

    def _vectors_of(self, user: Mapping[str, Any], items: pa.Table) -> np.ndarray | None:
        """The text vectors in the answers of the feature store."""
        views = self.manifest.vectors
        if views is None:
            return None
        vectors_N2V = np.empty((items.num_rows, 2, views.size), dtype=np.float32)
        vectors_N2V[:, 0] = dense(pa.array([user[views.name(Entity.USER)]], pa.list_(pa.float32())), views.size)
        vectors_N2V[:, 1] = dense(items.column(views.name(Entity.ITEM)), views.size)
        return vectors_N2V
