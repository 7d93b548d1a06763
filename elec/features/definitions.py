"""Feast's definitions, made from the spec: two entities, a view of each that has fields, and the feature service.

What earlier specs have defined stays beside it (`elec.features.versions`).

`feature_repo/` is the thin Feast repository that calls this; so `feast plan`, training and serving see the same objects.
"""

import copy
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa

from elec import storage
from elec.errors import InputError
from elec.features.library import feast, quiet
from elec.features.raw import TYPES
from elec.features.vectors import VECTOR, VectorViews
from elec.features.versions import Versions, WantedView
from elec.spec import DatasetSpec, Entity, FieldSpec, Kind

#: The view of each entity, and the file of its rows as ingest leaves them.
VIEWS = {Entity.USER: "users", Entity.ITEM: "items"}

# When a source was made; see `apply`.
_NO_TIME = datetime(1970, 1, 1, tzinfo=UTC)

# Names that Feast's point-in-time join uses for columns of its own: a feature called so would be lost or mixed up.
_JOIN_COLUMNS = frozenset({"rn", "entity_row_id", "event_expire_timestamp", "__log_date"})


def project_name(dataset: str) -> str:
    """The Feast project of a data set."""
    return re.sub(r"\W", "_", dataset)


def view_fields(fields: Iterable[FieldSpec], entity: Entity, keys: Iterable[str]) -> tuple[FieldSpec, ...]:
    """The fields of an entity's feature view: every field of that entity, the keys left out."""
    left_out = set(keys)
    return tuple(field for field in fields if field.of is entity and field.name not in left_out)


def data_file(data_folder: str, view: str) -> str:
    """Where Feast reads the rows of a view."""
    return storage.join(data_folder, f"{view}.parquet")


def wanted_views(dataset: DatasetSpec) -> list[WantedView]:
    """The views of a data set: of the users and of the items, where they have fields of their own, and of its aggregates.

    Raises:
        InputError: If a field's name cannot be used; see `check_names`.
    """
    check_names(dataset)
    views = [
        WantedView(
            name=name,
            keys=(dataset.key_of(entity),),
            features={field.name: TYPES[field.kind] for field in dataset.fields_of(entity)},
            description=f"{entity.capitalize()} of {dataset.name}",
        )
        for entity, name in VIEWS.items()
        if dataset.fields_of(entity)
    ]
    for aggregate, view in zip(dataset.aggregates, dataset.aggregate_views, strict=True):
        features = dict.fromkeys(view.features, TYPES[Kind.NUMERIC])
        about = f"{' and '.join(aggregate.what)} by {' and '.join(aggregate.by)} of {dataset.name}, every {aggregate.every}"
        views.append(WantedView(view.name, view.join_keys, features, about))
    return views


def definitions(dataset: DatasetSpec, found: Versions, data_folder: str) -> list[Any]:
    """The Feast objects of a data set.

    Views have no time to live: the newest value from before the event counts, however old it is. An entity without fields
    of its own has no view; a data set without any such field has no service.

    Args:
        dataset: The spec.
        found: Its views and services, and those of earlier specs.
        data_folder: The folder (absolute, or a URI) of the views' Parquet files.

    Returns:
        Entities, views and services, for `apply`.
    """
    library = feast()
    from feast.types import Array, Float64, String

    types = {pa.string(): String, pa.float64(): Float64, pa.list_(pa.string()): Array(String)}
    keys = [*(dataset.key_of(entity) for entity in VIEWS), *(key for view in found.views.values() for key in view.keys)]
    views: dict[str, Any] = {}
    with quiet():
        entities = {key: _entity(key) for key in dict.fromkeys(keys)}
        objects: list[Any] = list(entities.values())
        for view in found.views.values():
            schema = [
                *(library.Field(name=key, dtype=String) for key in view.keys),
                *(library.Field(name=name, dtype=types[kind]) for name, kind in view.features.items()),
            ]
            file = data_file(data_folder, view.name)
            views[view.name] = _view(view.name, [entities[key] for key in view.keys], schema, file, view.description)
            objects.append(views[view.name])
        for name, offered in found.services.items():
            of_views: dict[str, list[str]] = {}
            for view_name, feature in offered:
                of_views.setdefault(view_name, []).append(feature)
            objects.append(library.FeatureService(name=name, features=[views[of][names] for of, names in of_views.items()]))
    return objects


def vector_definitions(dataset: DatasetSpec, views: VectorViews, data_folder: str) -> list[Any]:
    """The Feast objects of one projection's text vectors: a view of the users' and one of the items'.

    Args:
        dataset: The spec.
        views: Which projection.
        data_folder: The folder (absolute, or a URI) of the views' Parquet files.
    """
    library = feast()
    from feast.types import Array, Float32, String

    objects: list[Any] = []
    with quiet():
        for entity in VIEWS:
            key, name = dataset.key_of(entity), views.name(entity)
            described, file = _entity(key), views.file(data_folder, entity)
            schema = [library.Field(name=key, dtype=String), library.Field(name=VECTOR, dtype=Array(Float32))]
            about = f"Text vectors of the {VIEWS[entity]} of {dataset.name}, {views.size} numbers each"
            objects += [described, _view(name, [described], schema, file, about)]
    return objects


def apply(store: Any, objects: Sequence[Any]) -> None:
    """Applies definitions, after which Feast finds nothing changed in the same ones.

    Feast notes in a source when it was applied, and takes a view for changed the source of which has another time. So it gets
    copies of the sources for that, and those of the views stay as they are.

    Args:
        store: The `feast.FeatureStore`.
        objects: Of `definitions` or `vector_definitions`.
    """
    sources = [copy.copy(view.batch_source) for view in objects if isinstance(view, feast().FeatureView)]
    with quiet():
        store.apply([*sources, *objects])


def _entity(key: str) -> Any:
    library = feast()
    return library.Entity(name=key, join_keys=[key], value_type=library.ValueType.STRING)


def _view(name: str, entities: list[Any], schema: list[Any], file: str, description: str) -> Any:
    source = feast().FileSource(name=f"{name}_source", path=file, timestamp_field="event_timestamp")
    source.created_timestamp = source.last_updated_timestamp = _NO_TIME
    return feast().FeatureView(
        name=name, entities=entities, ttl=timedelta(0), schema=schema, source=source, description=description
    )


def check_names(dataset: DatasetSpec) -> None:
    """Refuses names that Feast's join, or the SQL under it, would mix up.

    Raises:
        InputError: If a field of a view is called like a column of the join's own, or two names differ in case only.
    """
    way_out = "rename the column with the source's `columns`"
    seen: dict[str, str] = {}
    for field in dataset.all_fields:
        other = seen.setdefault(field.name.casefold(), field.name)
        if other != field.name:
            raise InputError(f"field '{field.name}': differs from '{other}' in case only, which SQL does not see; {way_out}")
    for entity in VIEWS:
        for field in dataset.fields_of(entity):
            if field.name in _JOIN_COLUMNS or field.name.endswith("_y"):
                raise InputError(
                    f"field '{field.name}': Feast's join uses this name itself (as any that ends in '_y'); {way_out}"
                )
