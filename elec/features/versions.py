"""Which feature views and which feature service a spec gets, beside those that earlier specs left in the registry.

A bundle reads the service that its training read, and may stay in service while the spec goes on. So nothing that a service
offers is ever taken away or given another meaning:

- Each set of (view, feature, type) is a version of the service, `shop_v1`, `shop_v2`, ...; an equal set is the same version.
- A view has every feature that a version offers of it. A field that the spec drops stays there: nothing is written to it any
  more, so the newest value that a key had stays its answer, as a view without time to live says, and a new key has none.
- A field that changes its type, or a key that changes its name, cannot stay in its view: the view gets a second one beside it,
  `users_v2`. The first is still filled with all fields that are the same.

All of it is read from the registry's services. Feast has versions of views too, but neither its Redis nor its file of SQLite
keeps the values of two of them. No Feast and no DuckDB: look-ups use this.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import pyarrow as pa

from elec.errors import InputError
from elec.features.feast_registry import Registry
from elec.features.feast_values import VALUE_TYPES

_TYPES = {number: kind for kind, number in VALUE_TYPES.items()}


@dataclass(frozen=True)
class WantedView:
    """A view as a spec asks for it.

    Attributes:
        name: The view's name, and that of the Parquet file with its rows.
        keys: The join keys, which are entities of the same name, and columns of the rows.
        features: The features and their types, which are columns of the rows.
        description: For whoever looks at Feast's pages.
    """

    name: str
    keys: tuple[str, ...]
    features: Mapping[str, pa.DataType]
    description: str = ""


@dataclass(frozen=True)
class View:
    """A view as Feast gets it.

    Attributes:
        name: Feast's name of it.
        keys: The join keys.
        features: All of its features, those that no spec fills any more included.
        filled: Those that the rows have.
        rows: The wanted view that the rows are of; None where nothing is filled.
        description: For whoever looks at Feast's pages.
    """

    name: str
    keys: tuple[str, ...]
    features: Mapping[str, pa.DataType]
    filled: tuple[str, ...] = ()
    rows: str | None = None
    description: str = ""


@dataclass(frozen=True)
class Versions:
    """All views and all versions of the feature service.

    Attributes:
        views: By name.
        services: What each version offers, as view and feature.
        service: The version of the spec; None if it has no features.
        chosen: The view in which each wanted one's features are.
    """

    views: Mapping[str, View]
    services: Mapping[str, Sequence[tuple[str, str]]]
    service: str | None
    chosen: Mapping[str, str]


def versions(project: str, wanted: Iterable[WantedView], registry: Registry) -> Versions:
    """Finds the place of a spec's views beside what is there.

    Args:
        project: Feast's project, which the service's versions are called after.
        wanted: The views of the spec, those with features.
        registry: What is there.

    Raises:
        InputError: If a version of the service was made by somebody else, of types that no view of elec has.
    """
    names = sorted((name for name in registry.services if _is_version(name, project)), key=_number)
    offers = {name: _typed(name, registry.services[name]) for name in names}
    kept: dict[str, dict[str, pa.DataType]] = {}
    for offer in offers.values():
        for (view, feature), kind in offer.items():
            kept.setdefault(view, {})[feature] = kind
    views = {name: View(name, registry.entities.get(name, ()), features) for name, features in kept.items()}
    chosen: dict[str, str] = {}
    offered: dict[tuple[str, str], pa.DataType] = {}
    for want in wanted:
        there = [views[name] for name in sorted(views, key=_number) if _is_version(name, want.name, first=want.name)]
        name = next((view.name for view in there if _fits(view, want)), None)
        if name is None:
            name = f"{want.name}_v{_number(there[-1].name) + 1}" if there else want.name
            there.append(View(name, want.keys, {}))
        for one in there:
            features = {**one.features, **(want.features if one.name == name else {})}
            filled = tuple(
                feature for feature, kind in want.features.items() if one.keys == want.keys and features.get(feature) == kind
            )
            views[one.name] = View(
                one.name, one.keys, features, filled, want.name if filled else None, want.description if filled else ""
            )
        chosen[want.name] = name
        offered |= {(name, feature): kind for feature, kind in want.features.items()}
    services: dict[str, Sequence[tuple[str, str]]] = {version: tuple(offer) for version, offer in offers.items()}
    service = None
    if offered:
        service = next((version for version, offer in offers.items() if offer == offered), None)
        if service is None:
            service = f"{project}_v{max(map(_number, offers), default=0) + 1}"
            services[service] = tuple(offered)
    return Versions(views, services, service, chosen)


def _typed(service: str, offer: Mapping[tuple[str, str], int]) -> dict[tuple[str, str], pa.DataType]:
    for (view, feature), number in offer.items():
        if number not in _TYPES:
            raise InputError(
                f"feature service '{service}': offers '{view}:{feature}', of a type that elec does not write; "
                "give it a name without a number at the end"
            )
    return {feature: _TYPES[number] for feature, number in offer.items()}


def _fits(view: View, wanted: WantedView) -> bool:
    """Whether a view can have the wanted features beside its own."""
    return view.keys == wanted.keys and all(view.features.get(name, kind) == kind for name, kind in wanted.features.items())


def _is_version(name: str, base: str, *, first: str | None = None) -> bool:
    return name == first or re.fullmatch(rf"{re.escape(base)}_v[1-9]\d*", name) is not None


def _number(name: str) -> int:
    """The number at a name's end; 1 where there is none."""
    found = re.search(r"_v([1-9]\d*)$", name)
    return int(found[1]) if found else 1
