"""Crossed and hashed fields from training to service: whichever way a record is scored, it has the score of training."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from starlette.testclient import TestClient

from elec.export.bundle import build_bundle
from elec.features import FeatureEncoder
from elec.features.raw import TYPES
from elec.serving.batch import score_file
from elec.serving.bundle import open_bundle
from elec.serving.http.protocol import infer_request
from elec.serving.latency import measure_latency, request_call
from elec.serving.manifest import MANIFEST, Student, parse_manifest, read_manifest
from elec.serving.predictor import Predictor
from elec.serving.ranker import Ranker
from elec.serving.start import open_features
from elec.spec import Entity, Spec
from elec.spec.serving import ServingSpec
from tests.serving.apps import app_of
from tests.serving.made import (
    ITEMS,
    SPEC,
    frame,
    make_knowledge,
    make_model,
    metadata,
    shared_feast,
    shared_students,
    vector_views,
)

MANY = [f"i{i}" for i in range(ITEMS)] + ["never seen", "i3", "i3", "never seen"]
CROSSED = [
    ["age", "price"],
    {"fields": ["city", "hour", "item_id"], "hash_buckets": 500, "name": "here_now"},
    {"fields": ["user_id", "item_id"], "min_count": 1},
    {"fields": ["item_id", "price"], "min_count": 1},
    {"fields": ["city", "hour"], "min_count": 1},
    {"fields": ["genres", "price"], "min_count": 1},
    {"fields": ["age", "genres"], "min_count": 1},
    {"fields": ["genres", "city", "hour"], "hash_buckets": 300, "max_values": 2},
]


def spec(*, split: bool = True) -> Spec:
    content = SPEC.model_dump(mode="json")
    content["dataset"]["crossed"] = CROSSED
    fields = {field["name"]: field for field in content["dataset"]["fields"]}
    fields["genres"]["hash_buckets"] = 40
    fields["price"]["scale"] = "log"
    content["dataset"]["fields"].append({"name": "item_id", "of": "item", "hash_buckets": 100, "in_text": False})
    content["run"]["serving"] = {"split": split}
    return Spec.model_validate(content)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features, and the knowledge of students."""
    folder = tmp_path_factory.mktemp("crossed")
    (folder / "features" / "frame").mkdir(parents=True)
    pq.write_table(frame(800, 1), folder / "features" / "frame" / "train.parquet")
    pq.write_table(frame(300, 2), folder / "features" / "frame" / "test.parquet")
    encoder = FeatureEncoder.fit(spec().dataset, folder / "features" / "frame" / "train.parquet")
    encoder.save(folder / "features" / "vocabulary")
    make_knowledge(folder / "features", folder / "knowledge")
    return folder


def bundle(root: Path, student: Student, *, split: bool) -> Path:
    """The folder of a bundle, which is made once."""
    folder, knowledge = root / f"{student}-{split}", root / "knowledge"
    if folder.exists():
        return folder
    encoded = knowledge if student == "semantic_ids" else root / "features"
    model = root / f"model-{student}"
    if not model.exists():
        make_model(encoded, model, seed=3, student=student)
    build_bundle(
        spec(split=split),
        model,
        root / "features",
        folder,
        metadata=metadata(),
        student=student,
        knowledge=knowledge,
        vectors=vector_views(knowledge) if student == "vectors" else None,
    )
    return folder


def scored_alone(predictor: Predictor, rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """The predictor's scores, a record at a time."""
    schema = pa.schema([(field.name, TYPES[field.kind]) for field in predictor.manifest.fields])
    return np.concatenate([predictor.score(pa.Table.from_pylist([row], schema=schema)) for row in rows])


@pytest.mark.parametrize("split", [True, False])
@pytest.mark.parametrize("student", get_args(Student))
def test_ranking_scores_as_records_do(root: Path, student: Student, split: bool) -> None:
    opened = open_bundle(bundle(root, student, split=split))
    feast = shared_students() / "feast" if student == "vectors" else shared_feast()
    features = open_features(opened.manifest, str(feast))
    predictor = Predictor(opened, features)
    assert predictor.network.split == split
    assert predictor.network.pairs
    ranker = Ranker(predictor, features, ServingSpec(items=50))
    seen = set()
    for user, context in (("u5", {"hour": "7"}), ("u39", {"hour": "8"}), ("nobody", {}), ("u5", {})):
        rows = [{**features.user(user), **row, **context} for row in features.items(MANY).to_pylist()]
        expected = scored_alone(predictor, rows)
        for items in (MANY, MANY[:3], ["i3"], MANY[::-1]):
            order = [MANY.index(item) for item in items]
            for recorded in (False, True):
                ranked = ranker.rank(user, items, context, recorded=recorded)
                np.testing.assert_allclose(ranked.scores_N, expected[order], atol=1e-6, rtol=0)
        assert ranked.records is not None
        assert ranked.records.column_names == [field.name for field in opened.manifest.fields]
        seen.add(tuple(np.round(expected, 4)))
    assert len(seen) == 4
    assert ranker.rank("u5", MANY[:30]).kept > 0


def test_the_golden_records_have_the_scores_of_training(root: Path) -> None:
    opened = open_bundle(bundle(root, "vanilla", split=True))
    manifest = opened.manifest
    names = [field.name for field in manifest.fields]
    assert [field.name for field in manifest.crossed] == [field.name for field in spec().dataset.crossed_fields]
    assert not set(names) & {field.name for field in manifest.crossed}
    golden = orjson.loads(opened.golden.read_bytes())
    assert list(golden["records"]) == names
    predictor = Predictor(opened)
    types = {field.name: TYPES[field.kind] for field in manifest.fields}
    records = pa.table({name: pa.array(values, types[name]) for name, values in golden["records"].items()})
    np.testing.assert_allclose(predictor.score(records), golden["scores"], atol=1e-5, rtol=0)


def test_columns_of_a_pair_are_the_requests(root: Path) -> None:
    network = Predictor(open_bundle(bundle(root, "semantic_ids", split=True))).network
    manifest = read_manifest(root / "semantic_ids-True")
    fields = [*manifest.fields, *manifest.crossed]
    names = [name for field in fields for name in [field.name] * field.width] + [*manifest.semantic_ids]
    assert {field.name: field.of for field in manifest.crossed} == {
        "age_x_price": Entity.PAIR,
        "here_now": Entity.PAIR,
        "user_id_x_item_id": Entity.PAIR,
        "item_id_x_price": Entity.ITEM,
        "city_x_hour": Entity.CONTEXT,
        "genres_x_price": Entity.ITEM,
        "age_x_genres": Entity.PAIR,
        "genres_x_city_x_hour": Entity.PAIR,
    }
    assert [field.width for field in manifest.crossed[-3:]] == [3, 3, 2]
    of_item = {names[column] for column in network.item_columns}
    assert of_item == {"item_id", "genres", "price", "item_id_x_price", "genres_x_price", "semantic_id_1", "semantic_id_2"}
    assert sorted([*network.item_columns, *network.request_columns]) == list(range(len(names)))


def test_requests_over_http_and_files_have_the_same_scores(root: Path, tmp_path: Path) -> None:
    folder = bundle(root, "vanilla", split=True)
    predictor = Predictor(open_bundle(folder))
    fields = predictor.manifest.fields
    table = frame(60, 9).select([field.name for field in fields])
    expected = predictor.score(table)
    assert expected.std() > 0.01
    pq.write_table(table, tmp_path / "rows.parquet")
    assert score_file(predictor, str(tmp_path / "rows.parquet"), tmp_path / "scores.parquet") == 60
    np.testing.assert_allclose(pq.read_table(tmp_path / "scores.parquet")["score"], expected, atol=1e-6, rtol=0)
    with TestClient(app_of(folder, shared_feast())) as client:
        answer = client.post("/v2/models/elec/infer", content=orjson.dumps(infer_request(table, fields)))
        assert answer.status_code == 200, answer.text
        np.testing.assert_allclose(answer.json()["outputs"][0]["data"], expected, atol=1e-6, rtol=0)
        features = open_features(predictor.manifest, str(shared_feast()))
        rows = [{**features.user("u5"), **row, "hour": 7} for row in features.items(MANY[:20]).to_pylist()]
        expected = np.concatenate([predictor.score({name: [value] for name, value in row.items()}) for row in rows])
        for _ in ("not kept", "kept"):
            asked = {"user": "u5", "candidates": MANY[:20], "context": {"hour": 7}}
            answer = client.post("/rank", json=asked)
            assert answer.status_code == 200, answer.text
            np.testing.assert_allclose(answer.json()["scores"], expected, atol=1e-6, rtol=0)
        # Nobody sends or asks for what is made of other fields.
        inputs = {one["name"] for one in client.get("/v2/models/elec").json()["inputs"]}
        assert inputs == {field.name for field in fields}
        answer = client.post("/rank", json={"user": "u5", "candidates": ["i1"], "context": {"city_x_hour": "x"}})
        assert answer.status_code == 400
        assert "context field 'city_x_hour' is not known" in answer.text


def test_a_request_is_timed_with_a_row_of_the_requests_side_for_each_candidate(root: Path) -> None:
    folder = bundle(root, "vectors", split=True)
    predictor = Predictor(open_bundle(folder))
    draw = np.random.default_rng(4)
    slots_NS = predictor.encode(frame(20, 4))
    vectors_N2V = draw.normal(size=(20, 2, predictor.manifest.vector_size)).astype(np.float32)
    whole = predictor.run(slots_NS, vectors_N2V)
    np.testing.assert_allclose(request_call(predictor.network, slots_NS, vectors_N2V)(), whole, atol=1e-6, rtol=0)
    assert measure_latency(bundle(root, "vanilla", split=True), root / "features").p50_ms > 0


def test_unknown_items_are_told_by_what_the_store_has_where_keys_are_hashed(root: Path) -> None:
    opened = open_bundle(bundle(root, "vanilla", split=True))
    features = open_features(opened.manifest, str(shared_feast()))
    ranked = Ranker(Predictor(opened, features), features, ServingSpec()).rank("u5", ["i1", "never seen", "i2"])
    assert ranked.unknown_items == 1


def test_a_manifest_of_the_third_version_still_opens(made: Path) -> None:
    content = orjson.loads((made / "bundle" / MANIFEST).read_bytes())
    del content["crossed"], content["digest"]
    for field in content["fields"]:
        del field["hash_buckets"], field["scale"]
    content["schema_version"] = 3
    manifest = read_manifest(made / "bundle")
    old = orjson.dumps(content | {"digest": _digest(content)})
    assert parse_manifest(old, origin="old").fields == manifest.fields
    assert parse_manifest(old, origin="old").crossed == ()


def _digest(content: dict[str, Any]) -> str:
    import hashlib

    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()
