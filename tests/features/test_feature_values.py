"""Keys and values are read as Feast itself reads them, and what is something else is refused."""

import warnings
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from elec.features.feast_values import VALUE_TYPES, ValueFormatError, decode, entity_keys
from elec.features.library import feast

TEXTS = ["", "a", "x" * 125, "x" * 126, "x" * 127, "x" * 128, "Köln 🚲", "y" * 16_383, "y" * 16_384, "z" * 70_000, "\x00", "\n"]
NUMBERS = [0.0, -0.0, 1.5, -1e300, float("inf"), 5e-324, 2.0**53]


def drawn(kind: pa.DataType, draw: np.random.Generator) -> Any:
    if draw.random() < 0.2:
        return None
    if kind == pa.string():
        return TEXTS[draw.integers(len(TEXTS))]
    if kind == pa.float64():
        return NUMBERS[draw.integers(len(NUMBERS))]
    size = [0, 1, 2, 3, 40, 5000][draw.choice(6, p=[0.2, 0.2, 0.2, 0.2, 0.19, 0.01])]
    if kind == pa.list_(pa.string()):
        return [TEXTS[draw.integers(8)] for _ in range(size)]
    return draw.normal(size=size).astype(np.float32).tolist()


def stored(values: list[Any], kind: pa.DataType) -> list[bytes]:
    """The values as Feast writes them to an online store."""
    feast()
    from feast.type_map import python_values_to_proto_values
    from feast.value_type import ValueType

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        protos = python_values_to_proto_values(values, ValueType(VALUE_TYPES[kind]))
    return [proto.SerializeToString() for proto in protos]


def by_feast(messages: list[bytes | None]) -> list[Any]:
    """The values as Feast gives them to whoever looks up."""
    from feast.protos.feast.types.Value_pb2 import Value
    from feast.type_map import feast_value_type_to_python_type

    return [feast_value_type_to_python_type(Value.FromString(message or b"")) for message in messages]


@pytest.mark.parametrize("kind", list(VALUE_TYPES), ids=str)
def test_values_are_those_that_feast_reads(kind: pa.DataType) -> None:
    draw = np.random.default_rng(7)
    for rows in (0, 1, 2, 3, 100, 1000):
        messages: list[bytes | None] = list(stored([drawn(kind, draw) for _ in range(rows)], kind))
        for place in np.flatnonzero(draw.random(rows) < 0.1):
            messages[place] = None
        column = decode(messages, kind)
        column.validate(full=True)
        assert column.equals(pa.array(by_feast(messages), kind)), rows


@pytest.mark.parametrize("kind", list(VALUE_TYPES), ids=str)
def test_all_null_and_not_a_number(kind: pa.DataType) -> None:
    assert decode([None, b"", None], kind).to_pylist() == [None, None, None]
    if kind == pa.float64():
        from feast.protos.feast.types.Value_pb2 import Value

        assert np.isnan(decode([Value(double_val=float("nan")).SerializeToString()], kind)[0].as_py())


@pytest.mark.parametrize("kind", list(VALUE_TYPES), ids=str)
def test_values_of_another_type_are_refused(kind: pa.DataType) -> None:
    good = stored([drawn(kind, np.random.default_rng(seed)) for seed in range(9)], kind)
    for other in VALUE_TYPES:
        wrong = [
            message for message in stored([drawn(other, np.random.default_rng(seed)) for seed in range(9)], other) if message
        ]
        if other != kind:
            with pytest.raises(ValueFormatError):
                decode([*good, wrong[0], *good], kind)


@pytest.mark.parametrize("kind", list(VALUE_TYPES), ids=str)
def test_damaged_values_are_refused_or_read_as_feast_reads_them(kind: pa.DataType) -> None:
    feast()
    from google.protobuf.message import DecodeError

    draw = np.random.default_rng(3)
    refused = 0
    for _ in range(500):
        whole = ["a", "b"] if kind == pa.list_(pa.string()) else [1.0, 2.0] if pa.types.is_list(kind) else drawn(kind, draw)
        message = bytearray(stored([whole], kind)[0][:90])
        for _ in range(draw.integers(1, 3)):
            if len(message):
                message[draw.integers(len(message))] = draw.integers(256)
        try:
            column = decode([bytes(message), None], kind)
        except ValueFormatError:
            refused += 1
            continue
        try:
            expected = by_feast([bytes(message)])
        except (DecodeError, UnicodeDecodeError):
            pytest.fail(f"{bytes(message)!r} is no value for Feast, and {column[0]} here")
        assert column.equals(pa.array([*expected, None], kind)) or kind == pa.float64(), bytes(message)
    assert refused > 50


def test_keys_are_those_that_feast_writes() -> None:
    feast()
    from feast.infra.key_encoding_utils import serialize_entity_key
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    keys = ["", "u1", "Köln", "x" * 300, "\x00"]
    expected = [
        serialize_entity_key(EntityKey(join_keys=["user_id"], entity_values=[Value(string_val=key)]), 3) for key in keys
    ]
    assert entity_keys({"user_id": keys}) == expected
