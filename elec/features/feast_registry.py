"""What serving has to know of Feast's registry: which views there are, of which types, and what a feature service offers.

The registry is one protobuf message (`feast.core.Registry`, registry_schema_version 1). The handful of its fields that matter
here are read off the wire, for importing Feast takes longer than a server may take to start.
Field numbers: protos/feast/core/{Registry,FeatureView,FeatureService,FeatureViewProjection,Feature}.proto of Feast 0.67.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from elec import storage
from elec.errors import InputError

_SCHEMA_VERSION = "1"
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5

_Message: TypeAlias = dict[int, list[bytes | int]]


@dataclass(frozen=True)
class Registry:
    """The definitions of one project.

    Attributes:
        views: Each feature view's features, and the number of each feature's type (`feast.types.ValueType`).
        entities: The entities of each feature view.
        disabled: Views that Feast does not serve from.
        services: What each feature service offers, as view and feature, and the number of its type.
    """

    views: Mapping[str, Mapping[str, int]]
    entities: Mapping[str, tuple[str, ...]]
    disabled: frozenset[str]
    services: Mapping[str, Mapping[tuple[str, str], int]]


def read_registry(path: str, project: str) -> Registry:
    """Reads the definitions of a project.

    Args:
        path: The registry's file, or `s3://`; one that is not there defines nothing.
        project: Feast's project.

    Raises:
        InputError: If the file is no registry, or is one of another schema.
    """
    try:
        content = storage.read_bytes(path)
    except FileNotFoundError:
        return Registry({}, {}, frozenset(), {})
    try:
        registry = _message(content)
        version = _text(registry, 3)
        # A view and a service hold their `spec` first, and that its name, project and features.
        views = [spec for spec in map(_spec, registry.get(6, [])) if _text(spec, 2) == project]
        services = [spec for spec in map(_spec, registry.get(7, [])) if _text(spec, 2) == project]
        found = Registry(
            views={_text(spec, 1): _features(spec, 4) for spec in views},
            entities={_text(spec, 1): tuple(_bytes(name).decode() for name in spec.get(3, [])) for spec in views},
            disabled=frozenset(_text(spec, 1) for spec in views if spec.get(20, [0])[-1]),
            services={_text(spec, 1): _offered(spec) for spec in services},
        )
    except (ValueError, IndexError) as error:
        raise InputError(f"{path}: no Feast registry ({error}); run the pipeline again, which writes it anew") from None
    if version != _SCHEMA_VERSION:
        raise InputError(
            f"{path}: registry_schema_version is {version!r}, this code knows {_SCHEMA_VERSION!r}; "
            "write it with the version of Feast that elec asks for"
        )
    return found


def _spec(content: bytes | int) -> _Message:
    return _message(_message(content).get(1, [b""])[-1])


def _features(message: _Message, number: int) -> dict[str, int]:
    """Names and types of the features (`FeatureSpecV2`) in a field."""
    features = [_message(part) for part in message.get(number, [])]
    return {_text(feature, 1): _integer(feature.get(2, [0])[-1]) for feature in features}


def _offered(service: _Message) -> dict[tuple[str, str], int]:
    projections = [_message(part) for part in service.get(3, [])]
    return {(_text(view, 1), name): kind for view in projections for name, kind in _features(view, 2).items()}


def _text(message: _Message, number: int) -> str:
    """A text field; the last one counts, and one that is not there is empty."""
    return _bytes(message.get(number, [b""])[-1]).decode()


def _bytes(value: bytes | int) -> bytes:
    if isinstance(value, int):
        raise ValueError("a number where a message or text should be")
    return value


def _integer(value: bytes | int) -> int:
    if not isinstance(value, int):
        raise ValueError("a message or text where a number should be")
    return value


def _message(content: bytes | int) -> _Message:
    """The fields of a message by number, each with its values in order."""
    message: _Message = {}
    for number, value in _fields(_bytes(content)):
        message.setdefault(number, []).append(value)
    return message


def _fields(content: bytes) -> Iterator[tuple[int, bytes | int]]:
    """The fields of a message as they stand there; https://protobuf.dev/programming-guides/encoding/."""
    place = 0
    while place < len(content):
        tag, place = _varint(content, place)
        wire = tag & 7
        if wire == _VARINT:
            number, place = _varint(content, place)
            yield tag >> 3, number
            continue
        if wire == _BYTES:
            size, place = _varint(content, place)
        elif wire in (_FIXED64, _FIXED32):
            size = 8 if wire == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {wire}")
        if place + size > len(content):
            raise ValueError("cut short")
        yield tag >> 3, content[place : place + size]
        place += size


def _varint(content: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7
