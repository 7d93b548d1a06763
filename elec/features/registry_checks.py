"""Whether Feast's registry has what is looked up, as training read it; what it has not is refused in a sentence."""

from collections.abc import Mapping, Sequence

import pyarrow as pa

from elec.errors import InputError
from elec.features.definitions import VIEWS
from elec.features.feast_registry import Registry
from elec.features.feast_values import VALUE_TYPES
from elec.features.vectors import VectorViews


def views_of(registry: Registry, service: str, fields: Sequence[str], path: str) -> dict[str, str]:
    """The view of each field: that from which training read it.

    Args:
        registry: Feast's.
        service: The feature service that training read.
        fields: That are looked up.
        path: Of the registry.

    Raises:
        InputError: If the registry does not know the service, or the service not all of the fields.
    """
    if service not in registry.services:
        raise InputError(
            f"{path}: no feature service '{service}' there; give the workspace of the run that published the bundle"
        )
    views = {feature: view for view, feature in registry.services[service]}
    missing = [name for name in fields if name not in views]
    if missing:
        raise InputError(
            f"{path}: feature service '{service}' has no field {', '.join(missing)}; "
            "a later spec dropped it, so serve a bundle that was trained since"
        )
    return views


def check_vectors(registry: Registry, vectors: VectorViews, path: str) -> None:
    """Looks for the views of text vectors.

    Args:
        registry: Feast's.
        vectors: The views.
        path: Of the registry.

    Raises:
        InputError: If one is not there.
    """
    for entity in VIEWS:
        if vectors.name(entity) not in registry.views:
            raise InputError(
                f"{path}: no feature view '{vectors.name(entity)}' of text vectors there; "
                "give the workspace of the run that published the bundle"
            )


def check_types(registry: Registry, types: Mapping[tuple[str, str], pa.DataType], path: str) -> None:
    """Looks whether features are of the types that they are read as.

    Args:
        registry: Feast's.
        types: By view and feature the type.
        path: Of the registry.

    Raises:
        InputError: If one is not, or its view is disabled.
    """
    for (view, name), kind in types.items():
        if view in registry.disabled:
            raise InputError(f"{path}: feature view '{view}' is disabled; enable it with `feast feature-views enable {view}`")
        if registry.views.get(view, {}).get(name) != VALUE_TYPES[kind]:
            raise InputError(
                f"{path}: feature '{name}' of view '{view}' is no {kind}; "
                "a later spec has changed the field, so serve a bundle that was trained since"
            )
