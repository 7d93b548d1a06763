"""The students in service: each reads what it says, and scores as in training."""

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from elec.deploy import LocalDeployment, smoke_test
from elec.errors import InputError
from elec.export.bundle import build_bundle, note_cost
from elec.features import FeatureEncoder
from elec.features.lookup import Lookup
from elec.features.vocabulary import Vocabulary
from elec.serving.batch import score_file
from elec.serving.bundle import open_bundle
from elec.serving.golden import Golden
from elec.serving.http.protocol import infer_request
from elec.serving.latency import profile_latency
from elec.serving.manifest import read_manifest
from elec.serving.predictor import FeatureLookupError, Predictor
from elec.serving.semantic_ids import SemanticIds
from elec.serving.start import load_predictor, load_scorer, open_features
from tests.serving.apps import app_of
from tests.serving.made import SPEC, UNSPLIT, VECTOR, metadata, shared_students, variant, vector_views
from tests.serving.test_bundle import rewrite


@pytest.fixture(scope="module")
def students() -> Path:
    return shared_students()


@pytest.fixture(scope="module")
def frame(students: Path) -> pa.Table:
    return pq.read_table(students / "features" / "frame" / "test.parquet")


@pytest.fixture(scope="module")
def predictors(students: Path) -> dict[str, Predictor]:
    names = ("vanilla", "semantic_ids", "vectors")
    return {name: load_predictor(str(students / name), str(students / "feast")) for name in names}


def trained(students: Path, student: str, table: pa.Table, vectors_N2V: np.ndarray | None = None) -> np.ndarray:
    """Scores of the network in torch."""
    import torch

    from elec.training import load_network

    encoder = FeatureEncoder.load(students / ("knowledge" if student == "semantic_ids" else "features") / "vocabulary")
    given = [torch.from_numpy(encoder.encode(table))]
    if vectors_N2V is not None:
        given.append(torch.from_numpy(vectors_N2V))
    with torch.inference_mode():
        scores: np.ndarray = torch.sigmoid(load_network(students / f"{student}-model")(*given)[0]).numpy()
    assert scores.std() > 0.01, "the made network must tell rows apart, or nothing is tested"
    return scores


def test_the_manifest_says_what_a_student_reads(students: Path) -> None:
    vanilla, ids, vectors = (read_manifest(students / name) for name in ("vanilla", "semantic_ids", "vectors"))
    assert (vanilla.student, vanilla.inputs, vanilla.semantic_ids, vanilla.vectors) == ("vanilla", ("slots",), (), None)
    assert (ids.student, ids.inputs, ids.semantic_ids) == ("semantic_ids", ("slots",), ("semantic_id_1", "semantic_id_2"))
    assert (vectors.student, vectors.inputs) == ("vectors", ("slots", "vectors"))
    assert vectors.vectors == vector_views(students / "knowledge")
    assert vanilla.feature_views == ids.feature_views == ("users", "items")
    version = vector_views(students / "knowledge").version
    assert vectors.feature_views == ("users", "items", f"user_vectors_{version}", f"item_vectors_{version}")
    assert vanilla.fields == ids.fields == vectors.fields, "a client sends the same record to each"
    assert ids.slots == vanilla.slots + 2
    assert "semantic_ids.arrow" in ids.files


def test_semantic_ids_score_as_in_training(students: Path, predictors: dict[str, Predictor], frame: pa.Table) -> None:
    items = pq.read_table(students / "knowledge" / "items.parquet").to_pylist()
    code = {row["item_id"]: row for row in items}
    table = frame
    for level in (1, 2):
        values = [code.get(item, {}).get(f"code_{level}") for item in frame["item_id"].to_pylist()]
        assert None in values
        table = table.append_column(f"semantic_id_{level}", pa.array(values, pa.string()))
    expected = trained(students, "semantic_ids", table)
    np.testing.assert_allclose(predictors["semantic_ids"].score(frame), expected, atol=1e-5, rtol=0)
    alone = np.concatenate([predictors["semantic_ids"].score(frame.slice(row, 1)) for row in range(10)])
    np.testing.assert_allclose(alone, expected[:10], atol=1e-5, rtol=0)
    # What a record says of its own about the codes counts for nothing.
    wrong = frame.append_column("semantic_id_1", pa.array(["3"] * frame.num_rows))
    np.testing.assert_array_equal(predictors["semantic_ids"].score(wrong), predictors["semantic_ids"].score(frame))


def test_vectors_score_as_in_training_sent_looked_up_and_read_in_bulk(
    students: Path, predictors: dict[str, Predictor], frame: pa.Table
) -> None:
    vectors_N2V = np.load(students / "knowledge" / "rows" / "test.npy").astype(np.float32)
    expected = trained(students, "vectors", frame, vectors_N2V)
    assert np.abs(expected - trained(students, "vectors", frame, np.zeros_like(vectors_N2V))).max() > 0.01
    predictor = predictors["vectors"]
    np.testing.assert_allclose(predictor.score(frame, vectors_N2V), expected, atol=1e-5, rtol=0)
    np.testing.assert_allclose(predictor.score(frame), expected, atol=1e-5, rtol=0)
    in_bulk = load_scorer(str(students / "vectors"), str(students / "feast"))
    np.testing.assert_allclose(in_bulk.score(frame), expected, atol=1e-5, rtol=0)


def post(client: TestClient, content: dict[str, Any], status: int = 200) -> Any:
    answer = client.post("/v2/models/elec/infer", content=orjson.dumps(content))
    assert answer.status_code == status, answer.text
    return answer.json()


def test_infer_takes_vectors_or_looks_them_up(students: Path, predictors: dict[str, Predictor], frame: pa.Table) -> None:
    predictor = predictors["vectors"]
    table, fields = frame.slice(0, 9), predictor.manifest.fields
    vectors_N2V = np.load(students / "knowledge" / "rows" / "test.npy")[:9].astype(np.float32)
    with TestClient(app_of(students / "vectors", students / "feast")) as client:
        described = client.get("/v2/models/elec").json()["inputs"][-1]
        assert described == {"name": "vectors", "datatype": "FP32", "shape": [-1, 2, VECTOR], "parameters": {"optional": True}}
        looked_up = post(client, infer_request(table, fields))["outputs"][0]["data"]
        sent = post(client, infer_request(table, fields, vectors_N2V))["outputs"][0]["data"]
        assert sent == pytest.approx(looked_up, abs=1e-6)
        nested = infer_request(table, fields, vectors_N2V)
        nested["inputs"][-1]["data"] = vectors_N2V.tolist()
        assert post(client, nested)["outputs"][0]["data"] == sent
        unknown = post(client, infer_request(table, fields, np.zeros_like(vectors_N2V)))["outputs"][0]["data"]
        assert unknown != pytest.approx(sent, abs=1e-3)
        for change, status, message in (
            ({"datatype": "BYTES"}, 400, "input 'vectors' has the datatype 'BYTES'"),
            ({"shape": [9, 2, VECTOR + 1]}, 400, f"send .rows, 2, {VECTOR}."),
            ({"shape": [True, 2, VECTOR]}, 400, "has the shape"),
            ({"data": [None] * (9 * 2 * VECTOR)}, 400, "send zeros where nothing is known"),
            ({"data": 5}, 400, "has no list 'data'"),
            ({"data": [0.0]}, 422, f"has not {9 * 2 * VECTOR} numbers"),
            ({"data": [[0.0], [0.0, 1.0]]}, 422, f"has not {9 * 2 * VECTOR} numbers"),
            ({"shape": [8, 2, VECTOR], "data": [0.0] * (8 * 2 * VECTOR)}, 422, "differ in length"),
        ):
            content = infer_request(table, fields, vectors_N2V)
            content["inputs"][-1] |= change
            assert re.search(message, post(client, content, status)["error"])
        twice = infer_request(table, fields, vectors_N2V)
        twice["inputs"].append(twice["inputs"][-1])
        assert "is there twice" in post(client, twice, 422)["error"]
    with TestClient(app_of(students / "vanilla")) as client:
        content = infer_request(table, fields, vectors_N2V)
        assert "input 'vectors' is not a field of this model" in post(client, content, 400)["error"]


def test_without_feast_vectors_have_to_be_sent(students: Path, frame: pa.Table) -> None:
    predictor = load_predictor(str(students / "vectors"))
    with pytest.raises(FeatureLookupError, match="this model reads text vectors"):
        predictor.score(frame)
    fields, zeros = predictor.manifest.fields, np.zeros((2, 2, VECTOR), np.float32)
    with TestClient(app_of(students / "vectors")) as client:
        assert "send the input 'vectors'" in post(client, infer_request(frame.slice(0, 2), fields), 503)["error"]
        assert len(post(client, infer_request(frame.slice(0, 2), fields, zeros))["outputs"][0]["data"]) == 2


def test_a_server_of_its_own_answers_as_training_did(students: Path) -> None:
    bundle = open_bundle(students / "vectors")
    golden = Golden.load(bundle.golden, bundle.manifest.fields, bundle.manifest.vector_size)
    assert golden.vectors is not None
    assert golden.vectors.any()
    with LocalDeployment(str(students / "vectors"), str(students / "feast")) as server:
        smoke = smoke_test(server.url, bundle, open_features(bundle.manifest, str(students / "feast")))
    assert smoke.golden == 64
    assert smoke.difference <= 1e-5
    assert smoke.ranked == 32


def test_a_file_is_scored_with_the_vectors_of_the_workspace(
    students: Path, predictors: dict[str, Predictor], frame: pa.Table, tmp_path: Path
) -> None:
    pq.write_table(frame, tmp_path / "records.parquet")
    scorer = load_scorer(str(students / "vectors"), str(students / "feast"))
    assert score_file(scorer, str(tmp_path / "records.parquet"), tmp_path / "scores.parquet") == frame.num_rows
    scores = pq.read_table(tmp_path / "scores.parquet")["score"].to_numpy()
    np.testing.assert_allclose(scores, predictors["vectors"].score(frame), atol=1e-6, rtol=0)
    with pytest.raises(InputError, match="give the workspace of the run that published it with --workspace"):
        load_scorer(str(students / "vectors"))
    with pytest.raises(InputError, match="the model reads text vectors, and they are not there"):
        load_scorer(str(students / "vectors"), str(tmp_path))
    assert load_scorer(str(students / "semantic_ids")).score(frame).shape == (frame.num_rows,)


def test_what_a_request_costs_is_measured_and_told(students: Path, tmp_path: Path) -> None:
    test = students / "features" / "frame" / "test.parquet"
    bundle = open_bundle(students / "vectors")
    store = open_features(bundle.manifest, str(students / "feast"))
    latency = profile_latency(bundle, test, store, repeats=10)
    assert latency.lookup_p50_ms is not None
    assert latency.model_p50_ms > 0
    assert 0 < latency.lookup_p50_ms < latency.p50_ms
    assert profile_latency(open_bundle(students / "semantic_ids"), test, repeats=10).lookup_p50_ms is None
    copy = Path(shutil.copytree(students / "vectors", tmp_path / "bundle"))
    manifest = note_cost(copy, latency.cost)
    assert manifest.cost is not None
    assert manifest.cost.lookup_ms == pytest.approx(latency.lookup_p50_ms, abs=1e-3)
    assert manifest.bundle_id == bundle.manifest.bundle_id
    assert open_bundle(copy).manifest == manifest


def test_a_bundle_whose_parts_do_not_fit_is_refused(students: Path, tmp_path: Path) -> None:
    lacking = Path(shutil.copytree(students / "semantic_ids", tmp_path / "lacking"))
    (lacking / "semantic_ids.arrow").unlink()
    with pytest.raises(InputError, match=r"'semantic_ids\.arrow' is missing"):
        open_bundle(lacking)
    for number, (student, changes) in enumerate(
        (
            ("semantic_ids", {"semantic_ids": ()}),
            ("vectors", {"vectors": None}),
            ("vectors", {"inputs": ("slots",)}),
            ("vanilla", {"student": "vectors"}),
            ("vanilla", {"semantic_ids": ("semantic_id_1",)}),
        )
    ):
        with pytest.raises(InputError, match="are not those of the student"):
            variant(students / student, tmp_path / str(number), **changes)
    # Consistent in itself, but not with its network.
    views = vector_views(students / "knowledge")
    variant(students / "vanilla", tmp_path / "other", student="vectors", inputs=("slots", "vectors"), vectors=views)
    with pytest.raises(InputError, match=r"golden records of this model|its network reads"):
        Predictor(open_bundle(tmp_path / "other"))


def test_a_bundle_from_before_the_choice_still_serves(students: Path, tmp_path: Path, frame: pa.Table) -> None:
    old = tmp_path / "old"
    build_bundle(UNSPLIT, students / "vanilla-model", students / "features", old, metadata=metadata())
    content = orjson.loads((old / "manifest.json").read_bytes())
    added = ("student", "inputs", "semantic_ids", "vectors", "feature_views", "cost", "split", "precision", "llm_size")
    (old / "manifest.json").write_bytes(orjson.dumps({key: value for key, value in content.items() if key not in added}))
    rewrite(old, schema_version=1)
    bundle = open_bundle(old)
    assert bundle.manifest.student == "vanilla"
    assert Predictor(bundle).score(frame).shape == (frame.num_rows,)


def test_a_bundle_with_tables_of_parquet_still_serves(students: Path, tmp_path: Path, frame: pa.Table) -> None:
    old = Path(shutil.copytree(students / "semantic_ids", tmp_path / "old"))
    encoder = FeatureEncoder.load(old / "vocabulary")
    for spec, code in zip(encoder.specs, encoder.codes, strict=True):
        if isinstance(code, Vocabulary):
            (old / "vocabulary" / f"{spec.name}.arrow").unlink()
            pq.write_table(pa.table({"value": code.values}), old / "vocabulary" / f"{spec.name}.parquet")
    state = old / "vocabulary" / "encoder.json"
    state.write_bytes(orjson.dumps(orjson.loads(state.read_bytes()) | {"schema_version": 1}))
    lookup, codes = Lookup.open(old / "semantic_ids.arrow")
    table = {name: codes.column(name).cast(pa.string()) for name in codes.schema.names}
    pq.write_table(pa.table({"item_id": lookup.values} | table), old / "semantic_ids.parquet")
    (old / "semantic_ids.arrow").unlink()
    variant(old, tmp_path / "published")
    bundle = open_bundle(tmp_path / "published")
    assert bundle.semantic_ids.name == "semantic_ids.parquet"
    expected = Predictor(open_bundle(students / "semantic_ids")).score(frame)
    np.testing.assert_array_equal(Predictor(bundle).score(frame), expected)
    (tmp_path / "published" / "semantic_ids.parquet").unlink()
    with pytest.raises(InputError, match=r"'semantic_ids\.parquet' is missing"):
        open_bundle(tmp_path / "published")


def test_codes_of_other_fields_are_refused(students: Path, tmp_path: Path) -> None:
    table = students / "semantic_ids" / "semantic_ids.arrow"
    with pytest.raises(InputError, match=r"its codes are semantic_id_1, semantic_id_2, not semantic_id_1; publish"):
        SemanticIds(table, "item_id", ["semantic_id_1"])
    with pytest.raises(InputError, match="field 'item_id': the column is missing"):
        SemanticIds(table, "item_id", ["semantic_id_1", "semantic_id_2"]).add(pa.table({"other": ["i1"]}))
    Lookup(pa.array(["i1"])).save(tmp_path / "none.arrow")
    with pytest.raises(InputError, match="its codes are none"):
        SemanticIds(tmp_path / "none.arrow", "item_id", ["semantic_id_1"])


def test_a_field_called_as_the_second_input_is_refused(students: Path, tmp_path: Path) -> None:
    fields = [field.model_dump() for field in SPEC.dataset.fields]
    fields[-1]["name"] = "vectors"
    dataset = SPEC.dataset.model_dump() | {"fields": fields}
    spec = SPEC.model_validate(SPEC.model_dump() | {"dataset": dataset})
    test = students / "features" / "frame" / "test.parquet"
    features = tmp_path / "features"
    (features / "frame").mkdir(parents=True)
    table = pq.read_table(test)
    pq.write_table(
        table.rename_columns(["vectors" if n == "hour" else n for n in table.column_names]), features / "frame" / "test.parquet"
    )
    (features / "vocabulary").symlink_to(students / "features" / "vocabulary")
    with pytest.raises(InputError, match="field 'vectors': the name is that of an input of the network"):
        build_bundle(
            spec,
            students / "vectors-model",
            features,
            tmp_path / "bundle",
            metadata=metadata(),
            student="vectors",
            knowledge=students / "knowledge",
            vectors=vector_views(students / "knowledge"),
        )
