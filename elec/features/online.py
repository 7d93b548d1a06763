"""Feature look-ups at serving time: the user once a request, the items in one batch, through Feast's online store.

No torch and no DuckDB: whatever is needed stands in a bundle's manifest.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elec import storage
from elec.errors import InputError
from elec.features.definitions import VIEWS, project_name, view_fields
from elec.features.library import quiet
from elec.features.raw import TYPES
from elec.features.store_config import feature_store_settings, online_store_errors, open_store
from elec.features.vectors import VECTOR, VectorViews, dense, key_column
from elec.spec import DatasetSpec, Entity, FieldSpec
from elec.spec.run import FeastSpec

# SQLite takes a bounded number of keys in one query.
_KEYS_A_LOOK_UP = 10_000


class OnlineFeatures:
    """Reads raw feature values as training saw them, ready for `FeatureEncoder`.

    Args:
        dataset: The data set's name.
        user: The user's key.
        item: The item's key.
        fields: The fields to look up; those of the context, and the keys themselves, are not looked up.
        feature_service: Its definition has to cover the fields.
        feast_folder: The Feast folder of the workspace.
        settings: Of the online store.
        vectors: The views of the text vectors to look up too, in the same requests; a column of the view's name each.

    Raises:
        InputError: If there is no Feast registry in the folder, or it does not know the fields or the vectors.
    """

    def __init__(
        self,
        *,
        dataset: str,
        user: str,
        item: str,
        fields: Sequence[FieldSpec],
        feature_service: str,
        feast_folder: str | Path,
        settings: FeastSpec,
        vectors: VectorViews | None = None,
    ) -> None:
        self._keys = {Entity.USER: user, Entity.ITEM: item}
        self._fields = {entity: view_fields(fields, entity, (user, item)) for entity in VIEWS}
        self._key_fields = {entity: FieldSpec(name=key, of=entity) for entity, key in self._keys.items()}
        self._settings = settings
        self._vectors = vectors
        self._store: Any = None
        if any(self._fields.values()) or vectors is not None:
            # Training alone reads the offline store, and only its image has DuckDB.
            content = feature_store_settings(project_name(dataset), feast_folder, settings)
            self._store = open_store({name: value for name, value in content.items() if name != "offline_store"})
            registry = content["registry"]["path"]
            if any(self._fields.values()):
                self._check_service(feature_service, registry)
            if vectors is not None:
                self._check_vectors(vectors, registry)

    @classmethod
    def of_dataset(cls, dataset: DatasetSpec, feast_folder: str | Path, settings: FeastSpec) -> Self:
        """Look-ups of all fields of a data set, those for the LLM included."""
        return cls(
            dataset=dataset.name,
            user=dataset.user,
            item=dataset.item,
            fields=dataset.all_fields,
            feature_service=dataset.feature_service,
            feast_folder=feast_folder,
            settings=settings,
        )

    def user(self, key: object) -> dict[str, Any]:
        """A user's values by field, the key included; None where there is none, or the user is not known.

        Raises:
            OnlineStoreError: If the online store cannot be reached.
        """
        row: dict[str, Any] = self._look_up(Entity.USER, [key]).to_pylist()[0]
        return row

    def items(self, keys: Sequence[object]) -> pa.Table:
        """The items' values, one row a key in the order of the keys; null where there is none, or the item is not known.

        Raises:
            OnlineStoreError: If the online store cannot be reached.
        """
        return self._look_up(Entity.ITEM, keys)

    def vectors(
        self, users: Sequence[object] | pa.Array | pa.ChunkedArray, items: Sequence[object] | pa.Array | pa.ChunkedArray
    ) -> npt.NDArray[np.float32]:
        """The text vectors of N pairs, each user and each item looked up once.

        Returns:
            float32 [N, 2, V]: the user's vector, then the item's; zeros for what is not known.

        Raises:
            OnlineStoreError: If the online store cannot be reached.
        """
        assert self._vectors is not None, "made without vectors"
        vectors_N2V = np.empty((len(users), 2, self._vectors.size), dtype=np.float32)
        for place, (entity, given) in enumerate(((Entity.USER, users), (Entity.ITEM, items))):
            encoded = key_column(self._key_fields[entity], given).dictionary_encode(null_encoding="encode")
            view = self._vectors.name(entity)
            answer = self._ask(entity, encoded.dictionary, [(view, VECTOR)])[view, VECTOR]
            distinct_KV = dense(pa.array(answer, pa.list_(pa.float32())), self._vectors.size)
            vectors_N2V[:, place] = distinct_KV[encoded.indices.to_numpy()]
        return vectors_N2V

    def _look_up(self, entity: Entity, keys: Sequence[object]) -> pa.Table:
        key_field, fields = self._key_fields[entity], self._fields[entity]
        names = key_column(key_field, keys)
        features = [(VIEWS[entity], field.name) for field in fields]
        if self._vectors is not None:
            features.append((self._vectors.name(entity), VECTOR))
        answer = self._ask(entity, names, features)
        columns = {key_field.name: names}
        columns |= {field.name: pa.array(answer[VIEWS[entity], field.name], TYPES[field.kind]) for field in fields}
        if self._vectors is not None:
            view = self._vectors.name(entity)
            columns[view] = pa.array(answer[view, VECTOR], pa.list_(pa.float32()))
        return pa.table(columns)

    def _ask(self, entity: Entity, keys: pa.Array, features: Sequence[tuple[str, str]]) -> dict[tuple[str, str], list[Any]]:
        """Feast's answers for keys, by view and feature."""
        answer: dict[tuple[str, str], list[Any]] = {feature: [] for feature in features}
        if not features:
            return answer
        # An unknown key and no key at all have the same answer.
        known = ["" if key is None else key for key in keys.to_pylist()]
        references = [f"{view}:{name}" for view, name in features]
        for start in range(0, len(known), _KEYS_A_LOOK_UP):
            rows = {self._key_fields[entity].name: known[start : start + _KEYS_A_LOOK_UP]}
            with online_store_errors(self._settings):
                # With the views' names, for a field may be called as a feature of another view.
                found = self._store.get_online_features(features=references, entity_rows=rows, full_feature_names=True)
                part = found.to_dict()
            for view, name in features:
                answer[view, name] += part[f"{view}__{name}"]
        return answer

    def _check_service(self, name: str, registry: str) -> None:
        """Serving reads what training read: the service has to know every field."""
        from feast.errors import FeastObjectNotFoundException

        service = None
        if storage.exists(registry):
            with quiet(), suppress(FeastObjectNotFoundException):
                service = self._store.get_feature_service(name)
        if service is None:
            raise InputError(
                f"{registry}: no feature service '{name}' there; give the workspace of the run that published the bundle"
            )
        offered = {
            (projection.name, feature.name)
            for projection in service.feature_view_projections
            for feature in projection.features
        }
        missing = [
            field.name
            for entity, fields in self._fields.items()
            for field in fields
            if (VIEWS[entity], field.name) not in offered
        ]
        if missing:
            raise InputError(
                f"{registry}: feature service '{name}' has no field {', '.join(missing)}; "
                "a later spec dropped it, so serve a bundle that was trained since"
            )

    def _check_vectors(self, vectors: VectorViews, registry: str) -> None:
        from feast.errors import FeastObjectNotFoundException

        for entity in VIEWS:
            try:
                if not storage.exists(registry):
                    raise FeastObjectNotFoundException
                with quiet():
                    self._store.get_feature_view(vectors.name(entity))
            except FeastObjectNotFoundException:
                raise InputError(
                    f"{registry}: no feature view '{vectors.name(entity)}' of text vectors there; "
                    "give the workspace of the run that published the bundle"
                ) from None
