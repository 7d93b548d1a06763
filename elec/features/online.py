"""Feature look-ups at serving time: the user once a request, the items in one batch, from Feast's online store.

No torch, no DuckDB, and no Feast, the import of which takes seconds: the registry and the online store are read as Feast lays
them out. Whatever else is needed stands in a bundle's manifest.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeAlias

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elec.features.aggregates.look_up import CountedView
from elec.features.definitions import VIEWS, project_name, view_fields, wanted_views
from elec.features.feast_registry import Registry, read_registry
from elec.features.feast_values import ValueFormatError, decode, entity_keys
from elec.features.online_stores import OnlineStore, online_store
from elec.features.raw import TYPES, Columns, arrow_column
from elec.features.registry_checks import check_types, check_vectors, views_of
from elec.features.store_config import OnlineStoreError, feature_store_settings, online_store_errors, with_secrets
from elec.features.vectors import VECTOR, VectorViews, dense, key_column
from elec.features.versions import versions
from elec.spec import DatasetSpec, Entity, FieldSpec
from elec.spec.run import FeastSpec

#: A view and a feature of it.
Feature: TypeAlias = tuple[str, str]

# Stores take a bounded number of keys in one exchange.
_KEYS_A_LOOK_UP = 10_000

_VECTOR_TYPE = pa.list_(pa.float32())

# Whose fields are looked up: all but those of the context.
_LOOKED_UP = (Entity.USER, Entity.ITEM, Entity.PAIR)


class OnlineFeatures:
    """Reads raw feature values as training saw them, ready for `FeatureEncoder`.

    Args:
        dataset: The data set's name.
        user: The user's key.
        item: The item's key.
        fields: The fields to look up, aggregates too; those of the context, and the keys themselves, are not looked up.
        feature_service: Its definition has to cover the fields, and says in which views they are.
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
        self._fields = {entity: view_fields(fields, entity, (user, item)) for entity in _LOOKED_UP}
        self._key_fields = {entity: FieldSpec(name=key, of=entity) for entity, key in self._keys.items()}
        self._settings = settings
        self._vectors = vectors
        # What is read of an entity by its key: its fields, and its vector.
        self._features: dict[Entity, list[Feature]] = {entity: [] for entity in VIEWS}
        # And what is read by what is known of it then.
        self._counted: dict[Entity, list[CountedView]] = {entity: [] for entity in _LOOKED_UP}
        self._types: dict[Feature, pa.DataType] = {}
        self._store: OnlineStore | None = None
        if vectors is not None or any(self._fields.values()):
            content = feature_store_settings(project_name(dataset), feast_folder, settings)
            self._store = online_store(with_secrets(content["online_store"]), content["project"])
            path = content["registry"]["path"]
            registry = read_registry(path, content["project"])
            if any(self._fields.values()):
                names = [field.name for entity in _LOOKED_UP for field in self._fields[entity]]
                self._place_fields(registry, views_of(registry, feature_service, names, path))
            if vectors is not None:
                check_vectors(registry, vectors, path)
                for entity, features in self._features.items():
                    features.append((vectors.name(entity), VECTOR))
                    self._types[features[-1]] = _VECTOR_TYPE
            check_types(registry, self._types, path)

    @classmethod
    def of_dataset(cls, dataset: DatasetSpec, feast_folder: str | Path, settings: FeastSpec) -> Self:
        """Look-ups of all fields of a data set, those for the LLM included.

        Raises:
            InputError: If there is no Feast registry in the folder, or no run has published just these fields.
        """
        project = project_name(dataset.name)
        registry = read_registry(feature_store_settings(project, feast_folder, settings)["registry"]["path"], project)
        return cls(
            dataset=dataset.name,
            user=dataset.user,
            item=dataset.item,
            fields=(*dataset.all_fields, *dataset.aggregate_fields),
            feature_service=versions(project, wanted_views(dataset), registry).service or "",
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
        """What `user` and `items` give, at once.

        Raises:
            OnlineStoreError: If the online store cannot be reached.
        """
        user, described = self._look_up((Entity.USER, [key]), (Entity.ITEM, items))
        return user.to_pylist()[0], described

    @property
    def pair_columns(self) -> tuple[str, ...]:
        """The columns that `pairs` reads."""
        return tuple(dict.fromkeys(name for view in self._counted[Entity.PAIR] for name in view.columns.values()))

    def pairs(self, records: Columns) -> dict[str, pa.Array]:
        """The fields that are of several together, such as a user and an item, or of the context: aggregates, all at once.

        Args:
            records: N rows of raw values by field, with what these fields are looked up by.

        Returns:
            By field N numbers, null where there is none.

        Raises:
            InputError: If a value cannot be read.
            OnlineStoreError: If the online store cannot be reached.
        """
        views = self._counted[Entity.PAIR]
        columns = {name: arrow_column(FieldSpec(name=name), records[name]) for name in self.pair_columns}
        return {name: values for found in self._count([(view, columns) for view in views]) for name, values in found.items()}

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
            distinct_KV = dense(
                self._ask([({self._keys[entity]: encoded.dictionary}, [feature])])[0][feature], self._vectors.size
            )
            vectors_N2V[:, place] = distinct_KV[encoded.indices.to_numpy()]
        return vectors_N2V

    def _look_up(self, *asked: tuple[Entity, Sequence[object]]) -> list[pa.Table]:
        named = [(entity, key_column(self._key_fields[entity], keys)) for entity, keys in asked]
        answers = self._ask([({self._keys[entity]: names}, self._features[entity]) for entity, names in named])
        tables = []
        for (entity, names), answer in zip(named, answers, strict=True):
            columns = {self._key_fields[entity].name: names}
            # The vectors' column has the name of their view, for a field may be called as their feature.
            vectors = self._vectors.name(entity) if self._vectors is not None else None
            columns |= {view if view == vectors else name: values for (view, name), values in answer.items()}
            tables.append(columns)
        counted = [
            (view, columns) for (entity, _), columns in zip(asked, tables, strict=True) for view in self._counted[entity]
        ]
        for (_, columns), found in zip(counted, self._count(counted), strict=True):
            columns |= found
        return [pa.table(columns) for columns in tables]

    def _count(self, asked: Sequence[tuple[CountedView, Mapping[str, pa.Array]]]) -> list[dict[str, pa.Array]]:
        """The features of views for the rows of some columns, each distinct key looked up once."""
        found = [(view, *view.distinct(columns)) for view, columns in asked]
        answers = self._ask([(keys, [(view.name, name) for name in view.features]) for view, keys, _ in found])
        return [
            {name: values.take(place_N) for (_, name), values in answer.items()}
            for answer, (_, _, place_N) in zip(answers, found, strict=True)
        ]

    def _ask(
        self, asked: Sequence[tuple[Mapping[str, pa.Array | Sequence[str | None]], Sequence[Feature]]]
    ) -> list[dict[Feature, pa.Array]]:
        """The values of entities' keys, which are given by join key, in one exchange with the store."""
        # An unknown key and no key at all have the same answer.
        keys = [entity_keys({name: _texts(column) for name, column in columns.items()}) for columns, _ in asked]
        parts: list[list[list[pa.Array]]] = [[[] for _ in features] for _, features in asked]
        for start in range(0, max([1, *map(len, keys)]), _KEYS_A_LOOK_UP):
            # What has no features is not asked for, and what is short is done before the rest.
            places = [
                place for place, (_, features) in enumerate(asked) if features and (start == 0 or start < len(keys[place]))
            ]
            if not places:
                break
            assert self._store is not None
            with online_store_errors(self._settings):
                found = self._store.read([(keys[place][start : start + _KEYS_A_LOOK_UP], asked[place][1]) for place in places])
            for place, stored in zip(places, found, strict=True):
                for feature, values, decoded in zip(asked[place][1], stored, parts[place], strict=True):
                    decoded.append(self._decoded(feature, values))
        return [
            {
                feature: part[0] if len(part) == 1 else pa.concat_arrays(part)
                for feature, part in zip(features, of_entity, strict=True)
            }
            for (_, features), of_entity in zip(asked, parts, strict=True)
        ]

    def _decoded(self, feature: Feature, values: Sequence[bytes | None]) -> pa.Array:
        (view, name), kind = feature, self._types[feature]
        try:
            return decode(values, kind)
        except ValueFormatError as error:
            raise OnlineStoreError(
                f"the online store holds, as feature '{name}' of view '{view}', what is no {kind} ({error}); "
                "a later spec has changed the field, so serve a bundle that was trained since"
            ) from None

    def _place_fields(self, registry: Registry, views: Mapping[str, str]) -> None:
        """Notes by what each field is looked up: by its entity's key, or by other columns, which are the keys of its view."""
        keys = set(self._keys.values())
        for entity, fields in self._fields.items():
            counted: dict[str, list[str]] = {}
            for field in fields:
                view = views[field.name]
                self._types[view, field.name] = TYPES[field.kind]
                if entity in self._keys and registry.entities[view] == (self._keys[entity],):
                    self._features[entity].append((view, field.name))
                else:
                    counted.setdefault(view, []).append(field.name)
            self._counted[entity] = [
                CountedView.of(view, registry.entities[view], names, keys) for view, names in counted.items()
            ]


def _texts(column: pa.Array | Sequence[str | None]) -> list[str]:
    """Keys as texts, the empty one for null, which no key is."""
    return ["" if key is None else key for key in (column.to_pylist() if isinstance(column, pa.Array) else column)]
