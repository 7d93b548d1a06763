"""Hashed fields, logarithmic buckets and crossed fields: what they mean, and that every way to encode gives the same ids."""

import itertools
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elec.engine import LocalEngine
from elec.errors import InputError
from elec.features import FIRST_VALUE, MISSING, OUT_OF_VOCABULARY, PADDING, FeatureEncoder
from elec.features.buckets import Buckets
from elec.features.crossed import CrossedVocabulary
from elec.features.encoded import fit_files
from elec.features.hashed import HashBuckets, few_hashes_of, hashes_of
from elec.features.lookup_hash import text_hash
from elec.features.raw import TYPES, raw_table
from elec.serving.pairs import Pairs
from elec.spec import CrossedField, DatasetSpec, Entity
from elec.training.warm_start import matching_rows


def dataset(fields: list[dict[str, object]], crossed: list[object] | None = None) -> DatasetSpec:
    return DatasetSpec.model_validate(
        {
            "name": "d",
            "source": {"path": "/x.csv"},
            "label": {"column": "c"},
            "timestamp": {"column": "t"},
            "user": "user",
            "item": "item",
            "fields": fields,
            "crossed": crossed or [],
        }
    )


def table(spec: DatasetSpec, columns: dict[str, list[Any]]) -> pa.Table:
    """Rows of all fields; those that are not given are missing."""
    rows = len(next(iter(columns.values())))
    return pa.table(
        {field.name: pa.array(columns.get(field.name, [None] * rows), TYPES[field.kind]) for field in spec.all_fields}
    )


def fit(folder: Path, spec: DatasetSpec, columns: dict[str, list[Any]]) -> FeatureEncoder:
    pq.write_table(table(spec, columns), folder / "train.parquet", row_group_size=5)
    return FeatureEncoder.fit(spec, folder / "train.parquet")


def ids_of(encoder: FeatureEncoder, name: str, spec: DatasetSpec, columns: dict[str, list[Any]]) -> np.ndarray:
    slots = encoder.encode(table(spec, columns))
    start = 0
    for field in encoder.fields:
        if field.name == name:
            return slots[:, start] if field.width == 1 else slots[:, start : start + field.width]
        start += field.width
    raise AssertionError(name)


def test_a_hashed_field_needs_no_training_and_no_file(tmp_path: Path) -> None:
    spec = dataset([{"name": "query", "hash_buckets": 1000}, {"name": "user", "of": "user", "hash_buckets": 10}])
    encoder = fit(tmp_path, spec, {"query": ["a", "b"]})
    queries = ["shoes", "never seen", None, "", "shoes", "schön"]
    ids = ids_of(encoder, "query", spec, {"query": queries})
    expected = [FIRST_VALUE + text_hash(text.encode()) % 1000 if text else MISSING for text in queries]
    assert ids.tolist() == expected
    # The ids are part of every model that was trained with them: they may never change.
    assert ids[:2].tolist() == [603, 893]
    assert [field.size for field in encoder.fields] == [13, 3, 1003]
    encoder.save(tmp_path / "vocabulary")
    assert {file.name for file in (tmp_path / "vocabulary").iterdir()} == {"encoder.json", "item.arrow"}
    assert FeatureEncoder.load(tmp_path / "vocabulary").codes[2] == HashBuckets(1000)


def test_values_of_a_list_that_share_a_bucket_count_once(tmp_path: Path) -> None:
    spec = dataset([{"name": "tags", "kind": "multivalued", "max_values": 3, "hash_buckets": 2}])
    encoder = fit(tmp_path, spec, {"tags": [["a"]]})
    lists = [[str(number) for number in range(50)], [], None, ["", "x", None]]
    ids = ids_of(encoder, "tags", spec, {"tags": lists})
    assert sorted(ids[0].tolist()) == [PADDING, FIRST_VALUE, FIRST_VALUE + 1]
    assert ids[1:3].tolist() == [[MISSING, PADDING, PADDING]] * 2
    assert ids[3].tolist() == [FIRST_VALUE + text_hash(b"x") % 2, PADDING, PADDING]


@given(texts=st.lists(st.none() | st.text(max_size=20), max_size=80))
@settings(deadline=None)
def test_few_texts_have_the_hashes_of_many(texts: list[str | None]) -> None:
    nulled = pa.array([text or None for text in texts], pa.string())
    np.testing.assert_array_equal(few_hashes_of(texts), hashes_of(nulled))
    np.testing.assert_array_equal(hashes_of(pa.chunked_array([nulled]).combine_chunks()[3:]), hashes_of(nulled)[3:])


@given(
    numbers=st.lists(st.none() | st.floats(width=64) | st.sampled_from([0.0, -1.0, 5.0, 1e9]), min_size=1, max_size=40),
    buckets=st.integers(2, 12),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_steps_of_the_logarithm_begin_at_values_that_occur(tmp_path: Path, numbers: list[float | None], buckets: int) -> None:
    spec = dataset([{"name": "price", "kind": "numeric", "scale": "log", "buckets": buckets}])
    encoder = fit(tmp_path, spec, {"price": numbers})
    code = encoder.codes[2]
    assert isinstance(code, Buckets)
    finite = np.array([number for number in numbers if number is not None and np.isfinite(number)])
    if not len(finite):
        assert code.edges is None
        return
    assert code.edges is not None
    assert set(code.edges) <= set(finite.tolist())
    assert len(code.edges) < buckets
    ids = ids_of(encoder, "price", spec, {"price": finite.tolist()})
    assert set(ids.tolist()) == set(range(FIRST_VALUE, code.size))
    # No two of a bucket are further apart than a step, but for what rounding does.
    logs = np.copysign(np.log1p(np.abs(finite)), finite)
    step = (logs.max() - logs.min()) / buckets
    for own in set(ids.tolist()):
        assert np.ptp(logs[ids == own]) <= step * (1 + 1e-9) + 1e-9


def test_a_long_tail_is_cut_at_powers(tmp_path: Path) -> None:
    spec = dataset([{"name": "price", "kind": "numeric", "scale": "log", "buckets": 6}])
    prices = [0.0, 10.0**6 - 1, *(1.5 * 10.0**power for power in range(1, 6))] * 3 + [5.0] * 1000
    code = fit(tmp_path, spec, {"price": prices}).codes[2]
    assert isinstance(code, Buckets)
    # The least values from 9, 99, ... on, however many rows lie between.
    assert code.edges == (15.0, 150.0, 1_500.0, 15_000.0, 150_000.0)


CROSSED = dataset(
    [
        {"name": "age", "of": "user", "kind": "numeric", "buckets": 2},
        {"name": "city", "of": "user", "min_count": 1},
        {"name": "category", "of": "item"},
        {"name": "price", "of": "item", "kind": "numeric", "buckets": 3, "scale": "log"},
        {"name": "tags", "of": "item", "kind": "multivalued", "max_values": 2, "hash_buckets": 50},
        {"name": "hour"},
        {"name": "labels", "of": "item", "kind": "multivalued", "max_values": 3, "min_count": 1},
        {"name": "interests", "of": "user", "kind": "multivalued", "max_values": 2},
    ],
    [
        ["age", "category"],
        {"fields": ["city", "category", "hour"], "min_count": 1, "name": "where_what_when"},
        {"fields": ["user", "category"], "hash_buckets": 100},
        {"fields": ["category", "price"], "min_count": 1},
        {"fields": ["city", "hour"], "min_count": 1},
        {"fields": ["user", "city"], "min_count": 1},
        {"fields": ["tags", "city"], "min_count": 1},
        {"fields": ["tags", "labels"], "min_count": 1, "max_values": 3},
        {"fields": ["interests", "tags", "price"], "hash_buckets": 60},
        {"fields": ["labels", "category"], "min_count": 2},
        {"fields": ["hour", "interests"], "min_count": 1},
    ],
)


def test_whom_a_cross_describes_and_where_it_stands() -> None:
    assert [(field.name, field.of) for field in CROSSED.crossed_fields] == [
        ("age_x_category", Entity.PAIR),
        ("where_what_when", Entity.PAIR),
        ("user_x_category", Entity.PAIR),
        ("category_x_price", Entity.ITEM),
        ("city_x_hour", Entity.CONTEXT),
        ("user_x_city", Entity.USER),
        ("tags_x_city", Entity.PAIR),
        ("tags_x_labels", Entity.ITEM),
        ("interests_x_tags_x_price", Entity.PAIR),
        ("labels_x_category", Entity.ITEM),
        ("hour_x_interests", Entity.CONTEXT),
    ]
    assert [field.width for field in CROSSED.crossed_fields] == [1, 1, 1, 1, 1, 1, 2, 3, 4, 3, 2]
    names = [field.name for field in CROSSED.encoded_fields]
    assert names == [*(field.name for field in CROSSED.tabular_fields), *(field.name for field in CROSSED.crossed_fields)]
    # No record, no text and no feature view has them.
    assert not {field.name for field in CROSSED.all_fields} & {field.name for field in CROSSED.crossed_fields}
    assert not any(field.in_text for field in CROSSED.crossed_fields)
    assert DatasetSpec.model_validate_json(CROSSED.model_dump_json()) == CROSSED


def test_combinations_are_counted_and_missing_if_a_part_is(tmp_path: Path) -> None:
    rows = [(20.0, "a")] * 3 + [(50.0, "a")] * 4 + [(20.0, "b"), (50.0, None), (None, "a"), (None, None)]
    columns = {"age": [age for age, _ in rows], "category": [category for _, category in rows]}
    encoder = fit(tmp_path, CROSSED, columns)
    asked = {
        "age": [20.0, 50.0, 20.0, 1e9, 50.0, None, float("nan"), 20.0],
        "category": ["a", "a", "b", "a", "", "a", "a", "?"],
    }
    ids = ids_of(encoder, "age_x_category", CROSSED, asked)
    # 20 is below the one edge and 50 is not; nor is 1e9, which is the same bucket as 50.
    fifty, twenty = FIRST_VALUE, FIRST_VALUE + 1
    assert ids.tolist() == [twenty, fifty, OUT_OF_VOCABULARY, fifty, MISSING, MISSING, MISSING, OUT_OF_VOCABULARY]
    assert encoder.fields[10].size == FIRST_VALUE + 2


VALUES = {
    "user": st.none() | st.sampled_from(["u1", "u2", "u3", "ü", ""]),
    "item": st.none() | st.text(max_size=3),
    "age": st.none() | st.floats(width=64) | st.sampled_from([20.0, 30.0, 40.0]),
    "city": st.none() | st.sampled_from(["NL", "DE", "New York, New York", "", "\x1f"]),
    "category": st.none() | st.sampled_from(["a", "b", "a much longer name of a category", ""]),
    "price": st.none() | st.floats(0, 1e6),
    "tags": st.none() | st.lists(st.none() | st.sampled_from(["x", "y", "z", ""]), max_size=4),
    "labels": st.none() | st.lists(st.none() | st.sampled_from(["x", "ä|", "new", ""]), max_size=20),
    "interests": st.none() | st.lists(st.none() | st.sampled_from(["golf", "opera", "new", ""]), max_size=4),
    "hour": st.none() | st.sampled_from([str(hour) for hour in range(24)]),
}
RECORDS = st.lists(st.fixed_dictionaries(VALUES), min_size=1, max_size=30)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> FeatureEncoder:
    draw = np.random.default_rng(3)
    folder = tmp_path_factory.mktemp("trained")

    def some(values: list[Any]) -> list[Any]:
        return [values[place] for place in draw.integers(0, len(values), 400)]

    columns = {
        "user": some(["u1", "u2", "u3", "ü", None]),
        "item": some(["1", "2"]),
        "age": some([20.0, 30.0, 40.0, None]),
        "city": some(["NL", "DE", "New York, New York", None, "\x1f"]),
        "category": some(["a", "b", "a much longer name of a category", None]),
        "price": some([0.0, 5.0, 50.0, 5000.0]),
        "tags": some([["x"], ["y", "z"], None]),
        "hour": some([str(hour) for hour in range(24)]),
        "labels": some([["x", "ä|"], ["ä|", "x", "y", "new", ""], [], None]),
        "interests": some([["golf", "opera", "golf"], ["opera"], None]),
    }
    FeatureEncoder.fit(CROSSED, _written(folder / "train.parquet", table(CROSSED, columns))).save(folder / "vocabulary")
    return FeatureEncoder.load(folder / "vocabulary")


def _written(file: Path, rows: pa.Table) -> Path:
    pq.write_table(rows, file, row_group_size=100)
    return file


def as_dictionaries(column: pa.Array) -> pa.Array:
    """A column as Parquet's dictionaries are read."""
    if pa.types.is_string(column.type):
        return column.dictionary_encode()
    if not pa.types.is_list(column.type) or column.null_count:
        return column
    return pa.ListArray.from_arrays(column.offsets, column.values.dictionary_encode())


@given(records=RECORDS)
@settings(max_examples=50, deadline=None)
def test_training_batch_scoring_and_serving_give_the_same_ids(trained: FeatureEncoder, records: list[dict[str, Any]]) -> None:
    columns = {name: [record[name] for record in records] for name in VALUES}
    rows = table(CROSSED, columns)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("elec.features.encoding._FEW", 0)
        training = trained.encode(rows)
        coded = {
            name: as_dictionaries(column.combine_chunks()) for name, column in zip(rows.column_names, rows.columns, strict=True)
        }
        np.testing.assert_array_equal(trained.encode(pa.record_batch(coded)), training)
        np.testing.assert_array_equal(trained.encode(columns), training)
    for few in (rows, rows.to_batches()[0], columns, raw_table(CROSSED.all_fields, columns)):
        np.testing.assert_array_equal(trained.encode(few), training)
    alone = np.concatenate([trained.encode(rows.slice(row, 1)) for row in range(min(len(rows), 5))])
    np.testing.assert_array_equal(alone, training[:5])
    for field, column in zip(
        trained.fields, np.split(training, np.cumsum([f.width for f in trained.fields])[:-1], 1), strict=True
    ):
        assert column.max() < field.size, field.name
    # As a server ranks: the items' part is kept as hashes, the request has one row.
    pairs = Pairs(trained)
    sides = [spec.of is not Entity.ITEM for spec in trained.specs for _ in range(spec.width)]
    of_pair = [isinstance(spec, CrossedField) and spec.of is Entity.PAIR for spec in trained.specs for _ in range(spec.width)]
    own = np.flatnonzero(np.array(sides) & ~np.array(of_pair))
    request = {name: values[:1] for name, values in columns.items()}
    ranked = pairs.requests(training[:1, own], pairs.request(request), pairs.items(rows))
    together = {
        name: values if name in {"item", "category", "price", "tags", "labels"} else values[:1] * len(records)
        for name, values in columns.items()
    }
    np.testing.assert_array_equal(ranked, trained.encode(together)[:, np.flatnonzero(sides)])


def test_a_combination_is_its_parts_in_order_and_not_their_text(tmp_path: Path) -> None:
    spec = dataset(
        [{"name": "a"}, {"name": "b"}, {"name": "other"}], [{"fields": ["a", "b"], "min_count": 1}, ["b", "a"], ["a", "other"]]
    )
    pairs = [("x", "y"), ("y", "x"), ("xy", "x"), ("x", "yx"), ("x", "x"), ("", "xyx")]
    columns = {"a": [a for a, _ in pairs], "b": [b for _, b in pairs], "other": [b for _, b in pairs]}
    encoder = fit(tmp_path, spec, columns)
    assert len(set(ids_of(encoder, "a_x_b", spec, columns)[:-1].tolist())) == 5
    assert ids_of(encoder, "a_x_b", spec, columns)[-1] == MISSING
    first, second, third = encoder.crossing(spec.crossed_fields).fields
    assert (first.parents, second.parents, third.parents) == (("a", "b"), ("b", "a"), ("a", "other"))


def test_counts_are_exact_and_ids_fall_with_them(tmp_path: Path) -> None:
    spec = dataset([{"name": "a"}, {"name": "b"}], [{"fields": ["a", "b"], "min_count": 3}])
    draw = np.random.default_rng(1)
    columns = {name: [str(one) for one in draw.geometric(0.2, 3000)] for name in ("a", "b")}
    encoder = fit(tmp_path, spec, columns)
    pairs = list(zip(columns["a"], columns["b"], strict=True))
    counted = Counter(pairs)
    ids = ids_of(encoder, "a_x_b", spec, columns)
    of = dict(zip(pairs, ids.tolist(), strict=True))
    assert {pair for pair, own in of.items() if own == OUT_OF_VOCABULARY} == {pair for pair in counted if counted[pair] < 3}
    known = sorted((own, counted[pair]) for pair, own in of.items() if own != OUT_OF_VOCABULARY)
    assert [own for own, _ in known] == list(range(FIRST_VALUE, FIRST_VALUE + len(known)))
    assert [count for _, count in known] == sorted((count for _, count in known), reverse=True)


class Pieces(LocalEngine):
    """Cuts files as an engine with workers does, and computes the pieces here."""

    pieces = 3


def test_counts_of_pieces_add_up(tmp_path: Path) -> None:
    draw = np.random.default_rng(2)
    columns = {name: [str(one) for one in draw.geometric(0.3, 60)] for name in ("city", "category", "hour")}
    columns |= {"age": draw.normal(size=60).tolist(), "user": ["u"] * 60}
    whole = fit(tmp_path, CROSSED, columns)
    alone, _ = fit_files(CROSSED, tmp_path / "train.parquet", [])
    pieces, _ = fit_files(CROSSED, tmp_path / "train.parquet", [], Pieces())
    assert whole.fields == alone.fields == pieces.fields
    for place, code in enumerate(whole.codes):
        if isinstance(code, CrossedVocabulary):
            for other in (alone.codes[place], pieces.codes[place]):
                assert isinstance(other, CrossedVocabulary)
                np.testing.assert_array_equal(other.hashes, code.hashes)


LISTS = dataset(
    [
        {"name": "tags", "of": "item", "kind": "multivalued", "max_values": 3},
        {"name": "interests", "of": "user", "kind": "multivalued", "max_values": 2},
        {"name": "city", "of": "user"},
    ],
    [
        {"fields": ["tags", "interests"], "min_count": 2, "max_values": 4},
        {"fields": ["city", "tags"], "min_count": 1, "name": "here"},
    ],
)


def combinations(row: dict[str, Any], fields: dict[str, int], most: int) -> list[tuple[str, ...]]:
    """The first combinations of a row's values."""
    lists = []
    for name, width in fields.items():
        values = row[name] if isinstance(row[name], list) else [row[name]]
        lists.append([value for value in dict.fromkeys(values) if value][:width])
    return list(itertools.product(*lists))[:most]


def test_lists_are_crossed_value_by_value(tmp_path: Path) -> None:
    draw = np.random.default_rng(5)

    def lists(values: str, most: int) -> list[list[str | None] | None]:
        return [
            None if draw.random() < 0.1 else [str(one) if one != "-" else None for one in draw.choice([*values, "-", ""], size)]
            for size in draw.integers(0, most, 300)
        ]

    columns = {"tags": lists("abcde", 6), "interests": lists("abcxy", 5), "city": draw.choice(["x", "y", ""], 300).tolist()}
    rows = [dict(zip(columns, values, strict=True)) for values in zip(*columns.values(), strict=True)]
    encoder = fit(tmp_path, LISTS, columns)
    for name, parents, most, least in (
        ("tags_x_interests", {"tags": 3, "interests": 2}, 4, 2),
        ("here", {"city": 1, "tags": 3}, 3, 1),
    ):
        found = [combinations(row, parents, most) for row in rows]
        counted = Counter(one for row in found for one in row)
        known = {one for one in counted if counted[one] >= least}
        ids = ids_of(encoder, name, LISTS, columns)
        assert ids.shape == (300, most)
        id_of: dict[tuple[str, ...], int] = {}
        for expected, row_ids in zip(found, ids.tolist(), strict=True):
            # One id for all that are out of vocabulary, at the place of the first.
            places = list(dict.fromkeys(one if one in known else None for one in expected))
            assert row_ids[len(places) :] == [PADDING] * (most - len(places)) if places else row_ids[0] == MISSING
            for one, own in zip(places, row_ids, strict=False):
                assert own == OUT_OF_VOCABULARY if one is None else own == id_of.setdefault(one, own) >= FIRST_VALUE
        assert (
            len(set(id_of.values())) == len(id_of) == len(known) == encoder.fields[-2 if least == 2 else -1].size - FIRST_VALUE
        )
        by_id = sorted((own, counted[one]) for one, own in id_of.items())
        assert [count for _, count in by_id] == sorted((count for _, count in by_id), reverse=True)


@pytest.mark.parametrize("least", [1, 40, 1 << 20])
def test_many_combinations_are_made_some_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, least: int) -> None:
    columns = {"tags": [["a", "b"], None, ["b"]] * 20, "interests": [["x"], ["y"], []] * 20, "city": ["x", "y", None] * 20}
    encoder = fit(tmp_path, LISTS, columns)
    whole = encoder.encode(table(LISTS, columns))
    monkeypatch.setattr("elec.features.crossed._COMBINATIONS", least)
    np.testing.assert_array_equal(fit(tmp_path, LISTS, columns).encode(table(LISTS, columns)), whole)
    nobody = table(LISTS, columns).slice(0, 0)
    assert encoder.encode(nobody).shape == (0, encoder.slots)


def test_the_state_has_a_version_of_its_own_only_where_lists_are_crossed(tmp_path: Path) -> None:
    columns: dict[str, list[Any]] = {"tags": [["a"]] * 3, "interests": [["x"]] * 3, "city": ["y"] * 3}
    for spec, version in ((LISTS, 4), (LISTS.model_copy(update={"crossed": ()}), 3)):
        encoder = fit(tmp_path, spec, columns)
        encoder.save(tmp_path / str(version))
        assert orjson.loads((tmp_path / str(version) / "encoder.json").read_bytes())["schema_version"] == version
        loaded = FeatureEncoder.load(tmp_path / str(version))
        assert loaded.fields == encoder.fields
        np.testing.assert_array_equal(loaded.encode(table(spec, columns)), encoder.encode(table(spec, columns)))


def test_warm_start_matches_combinations_by_what_they_are(tmp_path: Path) -> None:
    fields = [{"name": "a"}, {"name": "n", "kind": "numeric", "buckets": 2}, {"name": "h", "hash_buckets": 9}]
    spec = dataset(fields, [{"fields": ["a", "n"], "min_count": 1}, {"fields": ["a", "h"], "hash_buckets": 7}])
    (tmp_path / "new").mkdir()
    old = fit(tmp_path, spec, {"a": ["x", "x", "y"], "n": [1.0, 2.0, 1.0]})
    new = fit(tmp_path / "new", spec, {"a": ["y", "y", "z", "x"], "n": [1.0, 1.0, 1.0, 2.0]})
    rows = matching_rows(old, new)
    starts_old = np.cumsum([0, *(field.size for field in old.fields)])
    starts_new = np.cumsum([0, *(field.size for field in new.fields)])
    records = {"a": ["x", "y", "z"], "n": [2.0, 1.0, 1.0]}
    before, after = (ids_of(encoder, "a_x_n", spec, records) for encoder in (old, new))
    assert before[2] == OUT_OF_VOCABULARY
    assert rows[starts_new[5] + after].tolist() == [*(starts_old[5] + before[:2]).tolist(), -1]
    hashed = slice(starts_new[6], starts_new[7])
    np.testing.assert_array_equal(rows[hashed], np.arange(starts_old[6], starts_old[7]))


@pytest.mark.parametrize("damage", ["gone", "cut", "empty", "of another kind"])
def test_a_damaged_file_of_a_cross_is_refused(tmp_path: Path, trained: FeatureEncoder, damage: str) -> None:
    trained.save(tmp_path)
    file = tmp_path / "age_x_category.arrow"
    if damage == "gone":
        file.unlink()
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-40])
    else:
        file.write_bytes(b"" if damage == "empty" else (tmp_path / "city.arrow").read_bytes())
    with pytest.raises(InputError, match=r"age_x_category\.arrow: cannot be read as a vocabulary .*whole bundle"):
        FeatureEncoder.load(tmp_path)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [("title", "made of 'title', which is not there"), ("tags", "categorical, and what it is made of makes it multivalued")],
)
def test_a_state_that_crosses_what_is_not_there_is_refused(
    tmp_path: Path, trained: FeatureEncoder, wrong: str, reason: str
) -> None:
    trained.save(tmp_path)
    file = tmp_path / "encoder.json"
    state = orjson.loads(file.read_bytes())
    state["fields"][10]["parents"] = ["age", wrong]
    file.write_bytes(orjson.dumps(state))
    with pytest.raises(InputError, match=f"'age_x_category' is {reason}"):
        FeatureEncoder.load(tmp_path)


def test_a_state_of_the_second_version_is_read(tmp_path: Path) -> None:
    spec = dataset([{"name": "age", "kind": "numeric"}, {"name": "city"}])
    columns = {"age": [1.0, 2.0, 3.0], "city": ["a", "a", "b"]}
    encoder = fit(tmp_path, spec, columns)
    encoder.save(tmp_path / "vocabulary")
    file = tmp_path / "vocabulary" / "encoder.json"
    state = orjson.loads(file.read_bytes())
    for field in state["fields"]:
        del field["hash_buckets"], field["parents"]
    file.write_bytes(orjson.dumps(state | {"schema_version": 2}))
    loaded = FeatureEncoder.load(tmp_path / "vocabulary")
    np.testing.assert_array_equal(loaded.encode(table(spec, columns)), encoder.encode(table(spec, columns)))


def test_a_cross_without_any_row_is_out_of_vocabulary() -> None:
    none = CrossedVocabulary.of(np.empty(0, np.uint64))
    assert none.of_hashes(np.array([0, 5], np.uint64)).tolist() == [MISSING, OUT_OF_VOCABULARY]
