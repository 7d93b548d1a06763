"""Feast's definitions, made from the spec: two entities, a view of each that has fields, and the feature service.

`feature_repo/` is the thin Feast repository that calls this; so `feast plan`, training and serving see the same objects.
"""

import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

from elec import storage
from elec.errors import InputError
from elec.features.library import feast, quiet
from elec.features.vectors import VECTOR, VectorViews
from elec.spec import DatasetSpec, Entity, FieldSpec, Kind

#: The view, and the file of its data, of each entity.
VIEWS = {Entity.USER: "users", Entity.ITEM: "items"}

# Names that Feast's point-in-time join uses for columns of its own: a feature called so would be lost or mixed up.
_JOIN_COLUMNS = frozenset({"rn", "entity_row_id", "event_expire_timestamp", "__log_date"})


def project_name(dataset: str) -> str:
    """The Feast project of a data set."""
    return re.sub(r"\W", "_", dataset)


def view_fields(fields: Iterable[FieldSpec], entity: Entity, keys: Iterable[str]) -> tuple[FieldSpec, ...]:
    """The fields of an entity's feature view: every field of that entity, the keys left out."""
    left_out = set(keys)
    return tuple(field for field in fields if field.of is entity and field.name not in left_out)


def data_file(data_folder: str, entity: Entity) -> str:
    """Where Feast reads the rows of an entity's view."""
    return storage.join(data_folder, f"{VIEWS[entity]}.parquet")


def definitions(dataset: DatasetSpec, data_folder: str) -> list[Any]:
    """The Feast objects of a data set.

    Views have no time to live: the newest value from before the event counts, however old it is. An entity without fields
    of its own has no view; a data set without any such field has no service.

    Args:
        dataset: The spec.
        data_folder: The folder (absolute, or a URI) of `users.parquet` and `items.parquet`.

    Returns:
        Entities, sources, views and the service, ready for `FeatureStore.apply`.

    Raises:
        InputError: If a field's name cannot be used; see `check_names`.
    """
    check_names(dataset)
    library = feast()
    from feast.types import Array, Float64, String

    types = {Kind.CATEGORICAL: String, Kind.NUMERIC: Float64, Kind.MULTIVALUED: Array(String), Kind.TEXT: String}
    objects: list[Any] = []
    views: list[Any] = []
    with quiet():
        for entity in VIEWS:
            key = dataset.key_of(entity)
            described = library.Entity(name=key, join_keys=[key], value_type=library.ValueType.STRING)
            objects.append(described)
            fields = dataset.fields_of(entity)
            if not fields:
                continue
            source = library.FileSource(
                name=f"{VIEWS[entity]}_source",
                path=data_file(data_folder, entity),
                timestamp_field="event_timestamp",
            )
            view = library.FeatureView(
                name=VIEWS[entity],
                entities=[described],
                ttl=timedelta(0),
                schema=[
                    library.Field(name=key, dtype=String),
                    *(library.Field(name=field.name, dtype=types[field.kind]) for field in fields),
                ],
                source=source,
                description=f"{entity.capitalize()} of {dataset.name}",
            )
            objects += [source, view]
            views.append(view)
        if views:
            objects.append(library.FeatureService(name=dataset.feature_service, features=views))
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
            described = library.Entity(name=key, join_keys=[key], value_type=library.ValueType.STRING)
            source = library.FileSource(
                name=f"{name}_source", path=views.file(data_folder, entity), timestamp_field="event_timestamp"
            )
            view = library.FeatureView(
                name=name,
                entities=[described],
                ttl=timedelta(0),
                schema=[library.Field(name=key, dtype=String), library.Field(name=VECTOR, dtype=Array(Float32))],
                source=source,
                description=f"Text vectors of the {VIEWS[entity]} of {dataset.name}, {views.size} numbers each",
            )
            objects += [described, source, view]
    return objects


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
