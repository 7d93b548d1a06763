"""Columns are written byte for byte as Feast writes them, row by row."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elec.features.feast_bytes import entity_keys, moments, values
from elec.features.feast_values import VALUE_TYPES, decode
from elec.features.library import feast

TEXTS = st.text(max_size=6) | st.sampled_from(["", "x" * 127, "x" * 128, "ö" * 9000])
NUMBERS = st.floats(width=64) | st.sampled_from([0.0, -0.0, 1.0])
COLUMNS: dict[pa.DataType, Any] = {
    pa.string(): TEXTS,
    pa.float64(): NUMBERS,
    pa.list_(pa.string()): st.lists(TEXTS | st.none(), max_size=4),
    pa.list_(pa.float32()): st.lists(st.floats(width=32), max_size=40),
}
WHENS = st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1), timezones=st.just(UTC))


def by_feast(column: pa.Array) -> list[bytes]:
    """What Feast's own materialisation writes."""
    feast()
    from feast.type_map import python_values_to_proto_values
    from feast.value_type import ValueType

    kind = ValueType(VALUE_TYPES[column.type])
    return [
        message.SerializeToString() for message in python_values_to_proto_values(column.to_numpy(zero_copy_only=False), kind)
    ]


@pytest.mark.parametrize("kind", COLUMNS, ids=str)
@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_values(kind: pa.DataType, data: st.DataObject) -> None:
    column = pa.array(data.draw(st.lists(COLUMNS[kind] | st.none(), max_size=12)), kind)
    cut = column.slice(data.draw(st.integers(0, 2)))
    for part in (column, cut):
        written = values(part)
        assert written.to_pylist() == by_feast(part)
        if kind != pa.list_(pa.string()):
            # Null within a list of texts is an empty text afterwards, and what is not a number is null.
            expected = [None if value is None or value != value else value for value in part.to_pylist()]
            assert str(decode(written.to_pylist(), kind).to_pylist()) == str(expected)


@given(
    keys=st.lists(st.tuples(TEXTS, TEXTS), max_size=8),
    names=st.lists(st.sampled_from("abcz"), min_size=2, max_size=2, unique=True),
)
@settings(max_examples=60, deadline=None)
def test_entity_keys(keys: list[tuple[str, str]], names: list[str]) -> None:
    feast()
    from feast.infra.key_encoding_utils import serialize_entity_key
    from feast.protos.feast.types.EntityKey_pb2 import EntityKey
    from feast.protos.feast.types.Value_pb2 import Value

    for count in (1, 2):
        columns = {name: pa.array([key[place] for key in keys], pa.string()) for place, name in enumerate(names[:count])}
        expected = [
            serialize_entity_key(
                EntityKey(join_keys=names[:count], entity_values=[Value(string_val=text) for text in key[:count]]), 3
            )
            for key in keys
        ]
        assert entity_keys(columns).to_pylist() == expected


@given(st.lists(WHENS, max_size=10))
@settings(max_examples=60, deadline=None)
def test_moments(whens: list[datetime]) -> None:
    from google.protobuf.timestamp_pb2 import Timestamp  # type: ignore[import-untyped]

    expected = []
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    whens = [*whens, epoch, epoch - timedelta(microseconds=1)]
    for when in whens:
        message = Timestamp()
        message.FromDatetime(when)
        expected.append(message.SerializeToString())
    assert moments(pa.array(whens, pa.timestamp("us", tz="UTC"))).to_pylist() == expected
