"""Raw values to ids: what training learns, what serving sends, and that both read it alike."""

import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elec.errors import InputError
from elec.features import FIRST_VALUE, MISSING, OUT_OF_VOCABULARY, PADDING, FeatureEncoder
from elec.features.buckets import Buckets
from elec.features.raw import raw_column, raw_table
from elec.features.vocabulary import Vocabulary
from elec.spec import DatasetSpec, FieldSpec, Kind


def dataset(*fields: dict[str, object]) -> DatasetSpec:
    return DatasetSpec.model_validate(
        {
            "name": "d",
            "source": {"path": "/x.csv"},
            "label": {"column": "c"},
            "timestamp": {"column": "t"},
            "user": "user",
            "item": "item",
            "fields": list(fields),
        }
    )


def fit(tmp_path: Path, spec: DatasetSpec, **columns: object) -> FeatureEncoder:
    rows = len(next(iter(columns.values())))  # type: ignore[arg-type]
    types = {
        Kind.CATEGORICAL: pa.string(),
        Kind.NUMERIC: pa.float64(),
        Kind.MULTIVALUED: pa.list_(pa.string()),
        Kind.TEXT: pa.string(),
    }
    table = {
        field.name: pa.array(columns.get(field.name, ["k"] * rows), types[field.kind])  # type: ignore[call-overload]
        for field in spec.all_fields
    }
    file = tmp_path / "train.parquet"
    pq.write_table(pa.table(table), file)
    return FeatureEncoder.fit(spec, file)


def encode(encoder: FeatureEncoder, name: str, values: object) -> np.ndarray:
    """The slots of one field, the keys being missing."""
    array = values if isinstance(values, pa.Array) else pa.array(values)
    columns = {field.name: pa.nulls(len(array), pa.string()) for field in encoder.fields} | {name: array}
    slots = encoder.encode(pa.table(columns))
    start = 0
    for field in encoder.fields:
        if field.name == name:
            return slots[:, start : start + field.width]
        start += field.width
    raise AssertionError(name)


def test_ids_follow_falling_count_then_the_value(tmp_path: Path) -> None:
    spec = dataset({"name": "city", "min_count": 2})
    encoder = fit(tmp_path, spec, city=["b", "b", "c", "c", "a", "a", "a", "once", None, ""])
    vocabulary = encoder._codes[2].values.to_pylist()
    assert vocabulary == ["a", "b", "c"]
    assert encoder.fields[2].size == 3 + 3
    assert encode(encoder, "city", ["a", "b", "c", "once", "never", None, ""]).ravel().tolist() == [
        FIRST_VALUE,
        FIRST_VALUE + 1,
        FIRST_VALUE + 2,
        OUT_OF_VOCABULARY,
        OUT_OF_VOCABULARY,
        MISSING,
        MISSING,
    ]


def test_fields_are_the_keys_then_the_spec_without_text(tmp_path: Path) -> None:
    spec = dataset(
        {"name": "title", "of": "item", "kind": "text"},
        {"name": "age", "of": "user", "kind": "numeric"},
        {"name": "tags", "of": "item", "kind": "multivalued", "max_values": 3},
    )
    encoder = fit(tmp_path, spec, age=[1.0, 2.0])
    assert [(field.name, field.width, field.of) for field in encoder.fields] == [
        ("user", 1, "user"),
        ("item", 1, "item"),
        ("age", 1, "user"),
        ("tags", 3, "item"),
    ]
    assert encoder.slots == 6


def test_multivalued_is_deduplicated_cut_and_padded(tmp_path: Path) -> None:
    spec = dataset({"name": "tags", "kind": "multivalued", "max_values": 3, "min_count": 1})
    # A value counts once a row: `b` is in three rows, `a` in two.
    encoder = fit(tmp_path, spec, tags=[["a", "a", "a", "b"], ["b"], ["b", "a"], ["c"]])
    b, a, c = FIRST_VALUE, FIRST_VALUE + 1, FIRST_VALUE + 2
    rows = [["a", "b", "a"], ["x", "y", "c"], ["c", "b", "a", "b"], [], None, [None, ""], [None, "c"], ["b", "a", "c", "x"]]
    assert encode(encoder, "tags", rows).tolist() == [
        [a, b, PADDING],
        [OUT_OF_VOCABULARY, c, PADDING],
        [c, b, a],
        [MISSING, PADDING, PADDING],
        [MISSING, PADDING, PADDING],
        [MISSING, PADDING, PADDING],
        [c, PADDING, PADDING],
        [b, a, c],
    ]


def test_numbers_fall_into_quantile_buckets(tmp_path: Path) -> None:
    spec = dataset({"name": "age", "kind": "numeric", "buckets": 4})
    encoder = fit(tmp_path, spec, age=[*(float(n) for n in range(1, 101)), None, float("nan"), float("inf")])
    lowest, highest = FIRST_VALUE, FIRST_VALUE + 3
    assert encoder.fields[2].size == 3 + 4
    values = [-1e300, 1.0, 24.0, 100.0, 1e300, None, float("nan"), float("-inf")]
    ids = encode(encoder, "age", pa.array(values, pa.float64())).ravel().tolist()
    assert ids == [lowest, lowest, lowest, highest, highest, MISSING, MISSING, MISSING]
    counts = np.bincount(encode(encoder, "age", [float(n) for n in range(1, 101)]).ravel(), minlength=7)[3:]
    assert counts.min() >= 24
    assert counts.max() <= 26


def test_equal_quantiles_make_one_bucket(tmp_path: Path) -> None:
    spec = dataset({"name": "age", "kind": "numeric", "buckets": 32})
    encoder = fit(tmp_path, spec, age=[0.0] * 90 + [1.0] * 10)
    assert encoder.fields[2].size == 3 + 2
    assert encode(encoder, "age", [0.0, 0.5, 1.0, 7.0]).ravel().tolist() == [3, 3, 4, 4]


def test_a_numeric_field_that_training_never_saw_is_out_of_vocabulary(tmp_path: Path) -> None:
    encoder = fit(tmp_path, dataset({"name": "age", "kind": "numeric"}), age=[None, float("nan")])
    assert encoder.fields[2].size == FIRST_VALUE
    assert encode(encoder, "age", [5.0, None]).ravel().tolist() == [OUT_OF_VOCABULARY, MISSING]


def test_json_values_are_read_as_training_read_them(tmp_path: Path) -> None:
    spec = dataset(
        {"name": "city", "min_count": 1},
        {"name": "age", "kind": "numeric", "buckets": 2},
        {"name": "tags", "kind": "multivalued", "separator": "|", "min_count": 1},
    )
    encoder = fit(tmp_path, spec, city=["7", "8"], age=[1.0, 2.0], tags=[["1", "2"], ["1"]])
    seven = encode(encoder, "city", ["7"]).tolist()
    for written in (
        [7],
        [7.0],
        pa.array(["7"]).dictionary_encode(),
        pa.array([7], pa.int16()),
        pa.array(["7"], pa.large_string()),
    ):
        assert encode(encoder, "city", written).tolist() == seven
    assert encode(encoder, "age", ["1.0", " 2 ", ""]).tolist() == encode(encoder, "age", [1, 2, None]).tolist()
    expected = encode(encoder, "tags", [["1", "2"]]).tolist()
    assert encode(encoder, "tags", ["1| 2|"]).tolist() == expected
    assert encode(encoder, "tags", [[1, 2]]).tolist() == expected
    mixed = raw_table(
        encoder.specs, {"user": [1, "1"], "item": [2.0, "x"], "city": [2**70, None], "age": ["3", 4], "tags": ["1|2", ["1", 2]]}
    )
    assert mixed.to_pydict() == {
        "user": ["1", "1"],
        "item": ["2", "x"],
        "city": [str(2**70), None],
        "age": [3.0, 4.0],
        "tags": [["1", "2"], ["1", "2"]],
    }


@pytest.mark.parametrize(
    ("kind", "values", "said"),
    [
        ("numeric", ["12", "old"], "'old'"),
        ("categorical", [["a"]], "list"),
        ("numeric", [[1.0]], "numeric"),
    ],
)
def test_a_value_of_the_wrong_kind_is_named(kind: str, values: list[object], said: str) -> None:
    with pytest.raises(InputError, match=said) as error:
        raw_column(FieldSpec(name="age", kind=Kind(kind)), pa.array(values))
    assert "'age'" in str(error.value)


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    encoder = fit(tmp_path, dataset({"name": "city"}), city=["a"])
    with pytest.raises(InputError, match="'city'"):
        encoder.encode(pa.table({"user": ["1"], "item": ["2"]}))


RECORDS = st.lists(
    st.fixed_dictionaries(
        {
            "user": st.none() | st.sampled_from(["1", "2", "", "ü", "x"]),
            "item": st.none() | st.text(max_size=3),
            "age": st.none() | st.floats(width=64),
            "tags": st.none() | st.lists(st.none() | st.sampled_from(["a", "b", "c", "z", "y", ""]), max_size=6),
        }
    ),
    min_size=1,
    max_size=12,
)
SCHEMA = pa.schema([("user", pa.string()), ("item", pa.string()), ("age", pa.float64()), ("tags", pa.list_(pa.string()))])


@given(records=RECORDS, cut=st.integers(0, 11))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_batch_is_encoded_like_its_rows(encoder: FeatureEncoder, records: list[dict[str, object]], cut: int) -> None:
    table = pa.Table.from_pylist(records, SCHEMA)
    together = encoder.encode(table)
    assert together.dtype == np.int64
    assert together.shape == (len(records), encoder.slots)
    alone = np.concatenate([encoder.encode(table.slice(row, 1)) for row in range(len(records))])
    assert (together == alone).all()
    assert (encoder.encode(table.slice(cut)) == together[cut:]).all()
    requested = raw_table(encoder.specs, {name: [record[name] for record in records] for name in SCHEMA.names})
    assert (encoder.encode(requested) == together).all()
    start = 0
    for field in encoder.fields:
        part = together[:, start : start + field.width]
        assert part.min() >= (PADDING if field.width > 1 else MISSING)
        assert part.max() < field.size
        assert (part[:, 0] != PADDING).all()
        start += field.width


TAGS: dict[str, object] = {"name": "tags", "kind": "multivalued", "max_values": 3}

# Of every kind that a request, a store or a file can have, and of what none should have.
VALUE = (
    st.none()
    | st.sampled_from(["1", "2", "196", "", " ", "ü", "a", "b|a", "a | b|", "|", "\x1fa|b\u2003", "true", "3.5", "1e5"])
    | st.text(max_size=4)
    | st.integers(-(2**70), 2**70)
    | st.sampled_from([1, 2, 196, 196.0, -0.0, 2.0**53, 2**53 + 1, 2.0**60, 0.1, 1e300, 1e16, True])
    | st.floats(width=64)
    | st.floats(width=32)
    | st.lists(st.none() | st.sampled_from(["a", "b", "c", "", "z", 1, 2.0]) | st.text(max_size=2), max_size=6)
)
#: Of one type, as columns mostly are, or of several.
COLUMN = st.sampled_from([str, int, float, list, None]).flatmap(
    lambda kind: st.lists(
        VALUE if kind is None else st.none() | VALUE.filter(lambda value: type(value) is kind), min_size=1, max_size=8
    )
)


#: What Arrow, or Python, could write any of these values as.
TEXTS = [
    *("1", "2", "196", "196.0", " ", "ü", "a", "b", "true", "True", "3.5", "0.1", "0", "-0", "1e5", "b|a", "nan", "inf", "z"),
    *(str(2**53), str(2**53 + 1), str(2**60), str(float(2**60)), "1e+16", "10000000000000000", "1e+300", "1e300", "1.0", "2.0"),
]


@given(values=COLUMN, name=st.sampled_from(["city", "age", "height", "tags"]))
@settings(max_examples=500, deadline=None)
def test_few_values_are_encoded_as_arrow_encodes_many(values: list[object], name: str) -> None:
    fields = dataset({"name": "city"}, {"name": "age", "kind": "numeric"}, {"name": "height", "kind": "numeric"}, TAGS).fields
    texts = pa.array(TEXTS)
    buckets = Buckets((-5.0, 0.0, 2.0, 196.0, 2.0**53, 2.0**60))
    codes: list[Vocabulary | Buckets] = [Vocabulary(texts), buckets, Buckets(None), Vocabulary(texts)]
    encoder = FeatureEncoder(fields, codes)
    columns = {field.name: [None] * len(values) for field in fields} | {name: values}

    def encoded(rows: Any) -> np.ndarray | str:
        try:
            return encoder.encode(rows)
        except InputError as error:
            return str(error)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("elec.features.encoding._FEW", 0)
        expected = encoded(columns)
    # What was looked up before is at hand the second time.
    for again in (columns, columns):
        np.testing.assert_array_equal(encoded(again), expected)
    try:
        arrow = pa.table({key: pa.array(column) for key, column in columns.items()})
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("elec.features.encoding._FEW", 0)
        expected = encoded(arrow)
    for same in (arrow, arrow.to_batches()[0], pa.concat_tables([arrow.slice(0, 1), arrow.slice(1)])):
        np.testing.assert_array_equal(encoded(same), expected)


def test_the_ids_at_hand_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("elec.features.vocabulary._KEPT", 100)
    texts = [str(number) for number in range(1000)]
    vocabulary = Vocabulary(pa.array(texts))
    for start in range(0, 1000, 7):
        asked = [*texts[start : start + 7], "unknown", None, ""]
        ids = [*range(start + FIRST_VALUE, FIRST_VALUE + min(start + 7, 1000)), OUT_OF_VOCABULARY, MISSING, MISSING]
        assert vocabulary.few_ids(asked) == vocabulary.ids(pa.array([text or None for text in asked])).tolist() == ids
        assert vocabulary.at_hand(asked) is None
        assert vocabulary.at_hand(asked[:-3]).tolist() == ids[:-3]
        assert len(vocabulary._kept) <= 100


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> FeatureEncoder:
    folder = tmp_path_factory.mktemp("encoder")
    spec = dataset(
        {"name": "age", "kind": "numeric", "buckets": 5},
        {"name": "tags", "kind": "multivalued", "max_values": 3, "min_count": 1},
    )
    return fit(
        folder,
        spec,
        user=["1", "1", "2", "2", "ü", "ü"],
        item=["a", "a", "b", "b", "", None],
        age=[1.0, 2.0, 3.0, None, 5.0, -1.0],
        tags=[["a"], ["b", "a"], ["c"], [], None, ["b"]],
    )


def test_saved_and_loaded_encodes_the_same(tmp_path: Path, encoder: FeatureEncoder) -> None:
    encoder.save(tmp_path / "vocabulary")
    loaded = FeatureEncoder.load(tmp_path / "vocabulary")
    table = pa.Table.from_pylist(
        [{"user": "2", "item": "b", "age": 2.5, "tags": ["b", "q"]}, {"user": "q", "item": None, "age": None, "tags": None}],
        SCHEMA,
    )
    assert loaded.fields == encoder.fields
    assert (loaded.encode(table) == encoder.encode(table)).all()
    names = {"encoder.json", "item.arrow", "tags.arrow", "user.arrow"}
    assert {path.name for path in (tmp_path / "vocabulary").iterdir()} == names


def test_a_state_of_the_first_version_is_read(tmp_path: Path, encoder: FeatureEncoder) -> None:
    encoder.save(tmp_path)
    for field, code in zip(encoder.fields, encoder.codes, strict=True):
        if isinstance(code, Vocabulary):
            (tmp_path / f"{field.name}.arrow").unlink()
            pq.write_table(pa.table({"value": code.values}), tmp_path / f"{field.name}.parquet")
    file = tmp_path / "encoder.json"
    file.write_bytes(orjson.dumps(orjson.loads(file.read_bytes()) | {"schema_version": 1}))
    loaded = FeatureEncoder.load(tmp_path)
    table = pa.Table.from_pylist([{"user": "2", "item": "b", "age": 2.5, "tags": ["b", "q"]}], SCHEMA)
    assert loaded.fields == encoder.fields
    assert (loaded.encode(table) == encoder.encode(table)).all()
    # What is read from the old state is written as the new one.
    loaded.save(tmp_path / "again")
    encoder.save(tmp_path / "new")
    for path in (tmp_path / "new").iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"schema_version": 99}, "schema_version is 99, this code knows 1, 2, 3"),
        ({"schema_version": [2]}, "schema_version is"),
        ({"fields": [{"name": "../../etc/passwd"}]}, "wrong"),
        ("{", "not valid JSON"),
        (None, "no such file"),
    ],
)
def test_a_damaged_state_is_refused(tmp_path: Path, encoder: FeatureEncoder, change: object, said: str) -> None:
    encoder.save(tmp_path)
    file = tmp_path / "encoder.json"
    if change is None:
        file.unlink()
    elif isinstance(change, str):
        file.write_text(change)
    else:
        file.write_bytes(orjson.dumps(orjson.loads(file.read_bytes()) | change))
    with pytest.raises(InputError, match=said):
        FeatureEncoder.load(tmp_path)


def test_a_field_name_that_leads_elsewhere_is_refused(tmp_path: Path, encoder: FeatureEncoder) -> None:
    encoder.save(tmp_path)
    file = tmp_path / "encoder.json"
    file.write_bytes(file.read_bytes().replace(b'"tags"', b'"../tags"'))
    with pytest.raises(InputError, match="wrong"):
        FeatureEncoder.load(tmp_path)


@pytest.mark.parametrize("damage", ["gone", "short", "cut", "no Arrow file", "empty", "of another field"])
def test_a_damaged_vocabulary_is_refused(tmp_path: Path, encoder: FeatureEncoder, damage: str) -> None:
    encoder.save(tmp_path)
    file = tmp_path / "tags.arrow"
    if damage == "gone":
        file.unlink()
    elif damage == "short":
        Vocabulary(pa.array(["a", "b"])).save(file)
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    elif damage == "of another field":
        shutil.copy(tmp_path / "item.arrow", file)
    else:
        file.write_text("" if damage == "empty" else damage)
    with pytest.raises(InputError, match=r"tags\.arrow") as error:
        FeatureEncoder.load(tmp_path)
    assert "take the folder from a whole bundle" in str(error.value)


def test_encoding_needs_neither_torch_nor_duckdb_nor_feast(tmp_path: Path, encoder: FeatureEncoder) -> None:
    encoder.save(tmp_path)
    program = f"""
import sys
for name in ("torch", "duckdb", "feast", "evidently"):
    sys.modules[name] = None
from pathlib import Path
from elec.features import FeatureEncoder
from elec.features.raw import raw_table
encoder = FeatureEncoder.load(Path({str(tmp_path)!r}))
print(encoder.encode(raw_table(encoder.specs, {{"user": [1], "item": ["a"], "age": [2], "tags": ["a|b"]}})).tolist())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("[[")


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.string()),
        pa.large_list(pa.string()),
        pa.list_(pa.int64()),
        pa.list_(pa.large_string()),
        pa.list_(pa.int8(), 2),
    ],
)
def test_lists_of_every_kind_are_read(kind: pa.DataType) -> None:
    field = FieldSpec(name="tags", kind=Kind.MULTIVALUED)
    values = [[1, 2], None, [3, None]] if pa.types.is_integer(kind.value_type) else [["1", "2"], None, ["3", None]]
    array = pa.array([[9, 9] if pa.types.is_integer(kind.value_type) else ["9"], *values], kind).slice(1)
    assert raw_column(field, array).to_pylist() == [["1", "2"], None, ["3", None]]
    assert raw_column(field, pa.array([[None, None]])).to_pylist() == [[None, None]]
    assert raw_column(field, pa.nulls(2)).to_pylist() == [None, None]
