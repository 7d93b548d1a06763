"""A ranker's scores are those of the predictor on the same records, whatever is kept of the items."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pyarrow as pa
import pytest

from elec.errors import InputError
from elec.features.raw import TYPES
from elec.serving.bundle import Bundle, open_bundle
from elec.serving.manifest import Student
from elec.serving.predictor import Predictor
from elec.serving.ranker import Ranker
from elec.serving.start import open_features
from elec.spec.serving import ServingSpec
from tests.serving.made import ITEMS, SPEC, items_table, shared_students, unsplit, users_table

MANY = [f"i{i}" for i in range(ITEMS)] + ["never seen", "i3", "i3", "never seen"]


class Store:
    """A feature store in memory that tells what it was asked for."""

    def __init__(self) -> None:
        self.users: dict[object, dict[str, Any]] = {
            row["user_id"]: row for row in users_table().drop_columns("event_timestamp").to_pylist()
        }
        self.known: dict[object, dict[str, Any]] = {
            row["item_id"]: row for row in items_table().drop_columns("event_timestamp").to_pylist()
        }
        self.asked: list[Sequence[object]] = []
        self.asked_users: list[object] = []

    def user(self, key: object) -> dict[str, Any]:
        self.asked_users.append(key)
        return self.users.get(key, {"user_id": key})

    def items(self, keys: Sequence[object]) -> pa.Table:
        self.asked.append(keys)
        rows = [self.known.get(key, {"item_id": key}) for key in keys]
        return pa.Table.from_pylist(rows, schema=items_table().drop_columns("event_timestamp").schema)

    def user_and_items(self, key: object, items: Sequence[object]) -> tuple[dict[str, Any], pa.Table]:
        return self.user(key), self.items(items)

    def vectors(self, users: Any, items: Any) -> np.ndarray:
        raise NotImplementedError


class Clock:
    """Time that a test makes go on."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(scope="module")
def predictor(made: Path) -> Predictor:
    return Predictor(open_bundle(made / "bundle"))


def make(predictor: Predictor, **settings: Any) -> tuple[Ranker, Store, Clock]:
    store, clock = Store(), Clock()
    return Ranker(predictor, store, ServingSpec(**settings), clock=clock), store, clock


def expected(predictor: Predictor, user: str, items: Sequence[str], context: Mapping[str, Any]) -> np.ndarray:
    """The predictor's scores of the records that a store in memory gives."""
    store = Store()
    rows = [{**store.user(user), **store.known.get(item, {"item_id": item}), **context} for item in items]
    schema = pa.schema([(field.name, TYPES[field.kind]) for field in predictor.manifest.fields])
    return predictor.score(pa.Table.from_pylist(rows, schema=schema))


@pytest.mark.parametrize("items", [0, 7, 1000])
def test_scores_are_the_predictors_cold_and_warm(predictor: Predictor, items: int) -> None:
    ranker, _, _ = make(predictor, items=items)
    for user, context in (("u5", {"hour": "7"}), ("u9", {}), ("nobody", {"hour": "3"})):
        for some in (MANY[:10], MANY[5:20], MANY, MANY[::-1], ["never seen"]):
            ranked = ranker.rank(user, some, context)
            np.testing.assert_allclose(ranked.scores_N, expected(predictor, user, some, context), atol=1e-6, rtol=0)
            assert ranked.unknown_user == (user == "nobody")
            assert ranked.unknown_items == some.count("never seen")
            assert ranked.degraded == ()
            assert len(ranker.cache) <= items


@pytest.mark.parametrize("split", [True, False])
@pytest.mark.parametrize("student", get_args(Student))
def test_every_student_ranks_through_feast(student: Student, split: bool, tmp_path: Path) -> None:
    root = shared_students()
    bundle: Bundle = open_bundle(root / student if split else unsplit(root, student, tmp_path))
    features = open_features(bundle.manifest, str(root / "feast"))
    predictor = Predictor(bundle, features)
    assert predictor.network.split == split
    ranker = Ranker(predictor, features, ServingSpec())
    for user in ("u5", "u39", "nobody"):
        of_user = features.user(user)
        table = features.items(MANY)
        rows = [{**of_user, **row, "hour": "7"} for row in table.to_pylist()]
        schema = pa.schema([(field.name, TYPES[field.kind]) for field in predictor.manifest.fields])
        scores = predictor.score(pa.Table.from_pylist(rows, schema=schema))
        for recorded in (True, False):
            ranked = ranker.rank(user, MANY, {"hour": "7"}, recorded=recorded)
            np.testing.assert_allclose(ranked.scores_N, scores, atol=1e-6, rtol=0)
    assert ranked.kept == len(MANY)


def test_the_user_is_read_once_and_only_items_that_are_not_kept(predictor: Predictor) -> None:
    ranker, store, clock = make(predictor, items=100, item_seconds=60)
    first = ranker.rank("u1", ["i1", "i2", "i1", "x"])
    assert store.asked == [["i1", "i2", "x"]]
    assert (first.kept, first.unknown_items) == (0, 1)
    second = ranker.rank("u2", ["i3", "x", "i2"])
    assert store.asked[1:] == [["i3"]]
    assert (second.kept, second.unknown_items) == (2, 1)
    assert store.asked_users == ["u1", "u2"]
    clock.now += 61
    assert ranker.rank("u1", ["i3", "x"]).kept == 0
    assert store.asked[2:] == [["i3", "x"]]
    assert ranker.rank("u1", []).scores_N.shape == (0,)
    assert len(store.asked) == 3


def test_a_change_in_the_store_is_seen_after_the_time_to_live(predictor: Predictor) -> None:
    ranker, store, clock = make(predictor, item_seconds=60)
    before = ranker.rank("u1", ["i1"]).scores_N[0]
    store.known["i1"] = store.known["i1"] | {"price": 80.0, "genres": ["g3"]}
    assert ranker.rank("u1", ["i1"]).scores_N[0] == before
    clock.now += 61
    changed = ranker.rank("u1", ["i1"]).scores_N[0]
    assert changed != before
    assert Ranker(predictor, store, ServingSpec()).rank("u1", ["i1"]).scores_N[0] == pytest.approx(changed, abs=1e-6)


def test_records_are_those_that_were_scored(predictor: Predictor) -> None:
    ranker, _, _ = make(predictor)
    assert ranker.rank("u5", MANY, {"hour": 7}).records is None
    ranked = ranker.rank("u5", MANY, {"hour": 7}, recorded=True)
    assert ranked.kept == 0
    records = ranked.records
    assert records is not None
    assert records.column_names == [field.name for field in predictor.manifest.fields]
    assert records["item_id"].to_pylist() == MANY
    assert set(records["hour"].to_pylist()) == {"7"}
    np.testing.assert_allclose(predictor.score(records), ranked.scores_N, atol=1e-6, rtol=0)
    assert ranker.rank("u5", [], recorded=True).records.num_rows == 0  # type: ignore[union-attr]


def test_context_changes_scores_and_its_mistakes_are_named(predictor: Predictor) -> None:
    ranker, _, _ = make(predictor)
    of_seven = ranker.rank("u5", MANY, {"hour": 7}).scores_N
    np.testing.assert_array_equal(of_seven, ranker.rank("u5", MANY, {"hour": "7"}).scores_N)
    assert not np.allclose(of_seven, ranker.rank("u5", MANY).scores_N, atol=1e-4)
    with pytest.raises(InputError, match="context field 'hours' is not known; context fields: hour"):
        ranker.rank("u5", MANY, {"hours": 7})
    with pytest.raises(InputError, match="context field 'city'"):
        ranker.rank("u5", MANY, {"city": "c1"})


def test_the_time_of_each_part_is_told(predictor: Predictor) -> None:
    ranker, _, _ = make(predictor)
    seconds = ranker.rank("u5", MANY).seconds
    assert set(seconds) == {"look_up", "encode", "model"}
    assert all(0 < value < 5 for value in seconds.values())


def test_the_spec_of_the_test_has_fields_of_every_side() -> None:
    assert {field.of for field in SPEC.dataset.fields} == {"user", "item", "context"}
