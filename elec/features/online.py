"""Feature look-ups at serving time: the user once a request, the items in one batch, from Feast's online store.

No torch, no DuckDB, and no Feast, the import of which takes seconds: the registry and the online store are read as Feast lays
them out. Whatever else is needed stands in a bundle's manifest.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elec.errors import InputError
from elec.features.definitions import VIEWS, project_name, view_fields
from elec.features.feast_registry import Registry, read_registry
from elec.features.feast_values import VALUE_TYPES, ValueFormatError, decode, entity_keys
from elec.features.online_stores import OnlineStore, online_store
from elec.features.raw import TYPES
from elec.features.store_config import OnlineStoreError, feature_store_settings, online_store_errors, with_secrets
from elec.features.vectors import VECTOR, VectorViews, dense, key_column
from elec.spec import DatasetSpec, Entity, FieldSpec
from elec.spec.run import FeastSpec

# Stores take a bounded number of keys in one exchange.
_KEYS_A_LOOK_UP = 10_000

_VECTOR_TYPE = pa.list_(pa.float32())


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
        # What is read of an entity: its view's features, and the vectors' one, with their types.
        self._features: dict[Entity, dict[tuple[str, str], pa.DataType]] = {
            entity: {(VIEWS[entity], field.name): TYPES[field.kind] for field in fields}
            | ({(vectors.name(entity), VECTOR): _VECTOR_TYPE} if vectors is not None else {})
            for entity, fields in self._fields.items()
        }
        self._store: OnlineStore | None = None
        if any(self._features.values()):
            content = feature_store_settings(project_name(dataset), feast_folder, settings)
            self._store = online_store(with_secrets(content["online_store"]), content["project"])
            path = content["registry"]["path"]
            registry = read_registry(path, content["project"])
            if any(self._fields.values()):
                self._check_service(registry, feature_service, path)
            if vectors is not None:
                self._check_vectors(registry, vectors, path)
            self._check_types(registry, path)

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
        row: dict[str, Any] = self._look_up((Entity.USER, [key]))[0].to_pylist()[0]
        return row

    def items(self, keys: Sequence[object]) -> pa.Table:
        """The items' values, one row a key in the order of the keys; null where there is none, or the item is not known.

        Raises:
            OnlineStoreError: If the online store cannot be reached.
        """
        return self._look_up((Entity.ITEM, keys))[0]

    def user_and_items(self, key: object, items: Sequence[object]) -> tuple[dict[str, Any], pa.Table]:
        """What `user` and `items` give, in one exchange with the store.

        Raises:
            OnlineStoreError: If the online store cannot be reached.
        """
        user, described = self._look_up((Entity.USER, [key]), (Entity.ITEM, items))
        return user.to_pylist()[0], described

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
            feature = (self._vectors.name(entity), VECTOR)
            distinct_KV = dense(self._ask([(entity, encoded.dictionary, [feature])])[0][feature], self._vectors.size)
            vectors_N2V[:, place] = distinct_KV[encoded.indices.to_numpy()]
        return vectors_N2V

    def _look_up(self, *asked: tuple[Entity, Sequence[object]]) -> list[pa.Table]:
        named = [(entity, key_column(self._key_fields[entity], keys)) for entity, keys in asked]
        answers = self._ask([(entity, names, list(self._features[entity])) for entity, names in named])
        tables = []
        for (entity, names), answer in zip(named, answers, strict=True):
            columns = {self._key_fields[entity].name: names}
            # The vectors' column has the name of their view, for a field may be called as their feature.
            columns |= {name if view == VIEWS[entity] else view: values for (view, name), values in answer.items()}
            tables.append(pa.table(columns))
        return tables

    def _ask(
        self, asked: Sequence[tuple[Entity, pa.Array, Sequence[tuple[str, str]]]]
    ) -> list[dict[tuple[str, str], pa.Array]]:
        """The values of entities' keys, by view and feature."""
        # An unknown key and no key at all have the same answer.
        keys = [
            entity_keys(self._key_fields[entity].name, ["" if key is None else key for key in names.to_pylist()])
            for entity, names, _ in asked
        ]
        parts: list[list[list[pa.Array]]] = [[[] for _ in features] for _, _, features in asked]
        for start in range(0, max(1, *map(len, keys)), _KEYS_A_LOOK_UP):
            # What has no features is not asked for, and what is short is done before the rest.
            places = [
                place for place, (_, _, features) in enumerate(asked) if features and (start == 0 or start < len(keys[place]))
            ]
            if not places:
                break
            assert self._store is not None
            with online_store_errors(self._settings):
                found = self._store.read([(keys[place][start : start + _KEYS_A_LOOK_UP], asked[place][2]) for place in places])
            for place, stored in zip(places, found, strict=True):
                entity, _, features = asked[place]
                for (view, name), values, decoded in zip(features, stored, parts[place], strict=True):
                    decoded.append(self._decoded(entity, view, name, values))
        return [
            {
                feature: part[0] if len(part) == 1 else pa.concat_arrays(part)
                for feature, part in zip(features, of_entity, strict=True)
            }
            for (_, _, features), of_entity in zip(asked, parts, strict=True)
        ]

    def _decoded(self, entity: Entity, view: str, name: str, values: Sequence[bytes | None]) -> pa.Array:
        kind = self._features[entity][view, name]
        try:
            return decode(values, kind)
        except ValueFormatError as error:
            raise OnlineStoreError(
                f"the online store holds, as feature '{name}' of view '{view}', what is no {kind} ({error}); "
                "a later spec has changed the field, so serve a bundle that was trained since"
            ) from None

    def _check_service(self, registry: Registry, name: str, path: str) -> None:
        """Serving reads what training read: the service has to know every field."""
        offered = registry.services.get(name)
        if offered is None:
            raise InputError(
                f"{path}: no feature service '{name}' there; give the workspace of the run that published the bundle"
            )
        missing = [
            field.name
            for entity, fields in self._fields.items()
            for field in fields
            if (VIEWS[entity], field.name) not in offered
        ]
        if missing:
            raise InputError(
                f"{path}: feature service '{name}' has no field {', '.join(missing)}; "
                "a later spec dropped it, so serve a bundle that was trained since"
            )

    def _check_vectors(self, registry: Registry, vectors: VectorViews, path: str) -> None:
        for entity in VIEWS:
            if vectors.name(entity) not in registry.views:
                raise InputError(
                    f"{path}: no feature view '{vectors.name(entity)}' of text vectors there; "
                    "give the workspace of the run that published the bundle"
                )

    def _check_types(self, registry: Registry, path: str) -> None:
        for (view, name), kind in (feature for features in self._features.values() for feature in features.items()):
            if view in registry.disabled:
                raise InputError(
                    f"{path}: feature view '{view}' is disabled; enable it with `feast feature-views enable {view}`"
                )
            if registry.views.get(view, {}).get(name) != VALUE_TYPES[kind]:
                raise InputError(
                    f"{path}: feature '{name}' of view '{view}' is no {kind}; "
                    "a later spec has changed the field, so serve a bundle that was trained since"
                )
