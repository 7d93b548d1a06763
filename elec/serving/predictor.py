"""The predictor: raw records in, probabilities out; the server, batch scoring and the evaluation all use this one."""

from collections.abc import Sequence
from typing import Any, Protocol, TypeAlias

import numpy as np
import pyarrow as pa

from elec.errors import ElecError, InputError
from elec.features import FeatureEncoder
from elec.features.raw import Columns, arrow_column, columns_of
from elec.serving.bundle import Bundle
from elec.serving.golden import Golden
from elec.serving.manifest import Manifest
from elec.serving.network import DEFAULT_SETTINGS, Network
from elec.serving.semantic_ids import SemanticIds
from elec.spec.fields import Entity, FieldSpec
from elec.spec.serving import ServingSpec

#: Rows a run of the network, which bounds the memory of its activations.
_ROWS = 8192


class FeatureLookupError(ElecError):
    """The feature store cannot be asked now, so nothing is ranked: a score from invented features would be a wrong one."""


Records: TypeAlias = pa.Table | pa.RecordBatch | Columns
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

    def user_and_items(self, key: object, items: Sequence[object]) -> tuple[dict[str, Any], pa.Table]:
        """What `user` and `items` give, asked for at once."""

    @property
    def pair_columns(self) -> tuple[str, ...]:
        """The columns that `pairs` reads."""

    def pairs(self, records: Columns) -> dict[str, pa.Array]:
        """The aggregates of several together, by field N numbers, for N records; null for what is unknown."""


class Predictor:
    """Scores records with a bundle's network.

    Args:
        bundle: An opened bundle.
        features: Where the text vectors of records are looked up, for a student that reads them.
        vectors: Where the text vectors of records come from instead, if not from `features`.
        settings: Where the network runs, and on how many threads.

    Attributes:
        manifest: The bundle's.
        network: In ONNX Runtime.
        encoder: Of all fields, and of the semantic ids behind them.
        semantic_ids: The items' ones, for a student that reads them.

    Raises:
        InputError: If the bundle's parts do not fit each other, or there is no GPU where one is asked for.
    """

    def __init__(
        self,
        bundle: Bundle,
        features: Features | None = None,
        *,
        vectors: Vectors | None = None,
        settings: ServingSpec = DEFAULT_SETTINGS,
    ) -> None:
        self.manifest: Manifest = bundle.manifest
        self._vectors = vectors or features
        self.encoder = FeatureEncoder.load(bundle.vocabulary)
        self.network = Network(bundle.folder, self.manifest, settings)
        encoded = [field.name for field in self.encoder.fields]
        fields = (*self.manifest.fields, *self.manifest.crossed)
        described = [*(field.name for field in fields), *self.manifest.semantic_ids]
        if encoded != described or self.encoder.slots != self.manifest.slots:
            raise InputError(
                f"{bundle.uri}: its vocabulary is of the fields {encoded}, its manifest of {described}; it is refused"
            )
        self.semantic_ids: SemanticIds | None = None
        if self.manifest.semantic_ids:
            self.semantic_ids = SemanticIds(bundle.semantic_ids, self.manifest.item, self.manifest.semantic_ids)
        self._golden = Golden.load(bundle.golden, self.manifest.fields, self.manifest.vector_size, self.manifest.llm_size)

    def score(self, records: Records, vectors_N2V: np.ndarray | None = None, llm_NL: np.ndarray | None = None) -> np.ndarray:
        """Scores records.

        Args:
            records: N rows with a raw column for every field; null is a missing value. Other columns are not looked at.
            vectors_N2V: The text vectors of the rows, float32, for a student that reads them; looked up when left out.
            llm_NL: The M-LLM's representations of the rows, float32, for a gain network.

        Returns:
            float32 [N], probabilities of a click.

        Raises:
            InputError: If a field's column is missing or cannot be read as the field's kind, or representations are missing.
            FeatureLookupError: If there is nowhere to look the vectors up.
        """
        columns = columns_of(records)
        rows = len(next(iter(columns.values()), ()))
        scores = np.empty(rows, dtype=np.float32)
        for start in range(0, rows, _ROWS):
            part = {name: values[start : start + _ROWS] for name, values in columns.items()}
            vectors_P2V = None
            if self.manifest.vectors is not None:
                vectors_P2V = self.look_up(part) if vectors_N2V is None else vectors_N2V[start : start + _ROWS]
            llm_PL = None if llm_NL is None else llm_NL[start : start + _ROWS]
            scores[start : start + _ROWS] = self.run(self.encode(part), vectors_P2V, llm_PL)
        return scores

    def run(self, slots_NS: np.ndarray, vectors_N2V: np.ndarray | None = None, llm_NL: np.ndarray | None = None) -> np.ndarray:
        """Runs the network on encoded rows, int64 [N, S], and on what else it reads of them; gives float32 [N]."""
        return self.network.run(slots_NS, vectors_N2V, llm_NL)

    def encode(self, records: Records) -> np.ndarray:
        """The ids of raw records, int64 [N, S]."""
        return self.encoder.encode(records if self.semantic_ids is None else self.semantic_ids.add(records))

    def look_up(self, records: Records) -> np.ndarray:
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
        columns = columns_of(records)
        keys = []
        for name, of in ((self.manifest.user, Entity.USER), (self.manifest.item, Entity.ITEM)):
            if name not in columns:
                raise InputError(f"field '{name}': the column is missing; send it, with null where the value is unknown")
            keys.append(arrow_column(FieldSpec(name=name, of=of), columns[name]))
        return self._vectors.vectors(*keys)

    def warm_up(self) -> None:
        """Runs everything once, so that the first request is as fast as the next."""
        self.score(self._golden.records, self._golden.vectors, self._golden.llm)
