"""A run with a choice of students, step by step in this process; the LLM's vectors are made, everything else is real."""

import csv
import hashlib
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from elec.features import FeatureEncoder
from elec.runs.workspace import Workspace
from elec.serving.manifest import Manifest, read_manifest
from elec.serving.predictor import Predictor
from elec.serving.ranker import Ranker
from elec.serving.start import load_predictor, load_scorer, open_features
from elec.spec import Spec, load_spec
from elec.spec.serving import ServingSpec
from elec.steps.knowledge import NOT_NEEDED, prepare_knowledge
from elec.steps.students import student_folders
from tests.pipelines.conftest import write_log
from tests.serving.apps import app_of

AS_OF = "2026-03-01"
STUDENT = "  student: {{train: [{}], levels: 2, codes: 4, vector_size: 6, history: 5}}\n"


@dataclass
class Run:
    """What the steps of a run left."""

    spec: Spec
    job: Any
    folder: Path
    verdict: Any

    def facts(self, step: str) -> dict[str, Any]:
        return dict(self.job.folder.records()[step]["facts"])

    @property
    def manifest(self) -> Manifest:
        return read_manifest(self.folder / "bundle")


def run(root: Path, name: str, students: str, distillation: str = "") -> Run:

    from elec.steps.adapt_llm import adapt_llm
    from elec.steps.build_features import build_features
    from elec.steps.check_drift import check_drift
    from elec.steps.deploy import deploy
    from elec.steps.distill import distill
    from elec.steps.evaluate import evaluate
    from elec.steps.ingest import ingest
    from elec.steps.job import parse_job
    from elec.steps.textify import textify, vector_store

    file = root / "shop.yaml"
    text = (root / "shop.yaml.before").read_text()
    text = text.replace("epochs: 8", "epochs: 2").replace("resamples: 100", "resamples: 100, max_latency_ms: 10000")
    text = text.replace("learning_rate: 0.01", f"learning_rate: 0.01{distillation}")
    file.write_text(text + STUDENT.format(students))
    spec = load_spec(file)
    place = root / name
    at = {
        part: str(place / part) for part in ("ingested", "window", "features", "texts", "mllm", "model", "knowledge", "bundle")
    }
    job = ingest(spec.model_dump_json(), str(root / "ws"), name, AS_OF, ingested=at["ingested"])
    check_drift(job, force=True, ingested=at["ingested"], window=at["window"], report=str(place / "drift.html"))
    build_features(job, ingested=at["ingested"], features=at["features"])
    textify(job, features=at["features"], texts=at["texts"])
    store = vector_store(parse_job(job))
    missing = store.missing(pq.read_table(Path(at["texts"], "texts.parquet"))["key"])
    if missing:
        store.add(missing, np.array([made_vector(key) for key in missing]))
    adapt_llm(job, features=at["features"], texts=at["texts"], mllm=at["mllm"])
    inputs = {part: at[part] for part in ("features", "texts", "mllm")}
    distill(job, **inputs, model=at["model"], knowledge=at["knowledge"])
    judged = {part: at[part] for part in ("features", "model", "knowledge", "bundle")}
    verdict = evaluate(job, **judged, page=str(place / "page.html"), summary=str(place / "summary.md"))
    if verdict.verdict == "promote":
        deploy(job, bundle=at["bundle"], window=at["window"], model=at["model"])
    return Run(spec, parse_job(job), place, verdict)


def made_vector(key: str) -> np.ndarray:
    """A vector that only the text decides."""
    seed = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big")
    return np.random.default_rng(seed).normal(size=12)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("students")
    write_log(folder, rows=1500).rename(folder / "shop.yaml.before")
    return folder


@pytest.fixture(scope="module")
def first(root: Path) -> Run:
    """The student with vectors alone, which goes into service."""
    return run(root, "first", "vectors")


@pytest.fixture(scope="module")
def second(root: Path, first: Run) -> Run:
    """All students, on the same data; the teacher also says what it thinks of pairs that were never shown."""
    return run(root, "second", "vanilla, semantic_ids, vectors", ", unlabelled: {share: 0.5}")


@pytest.fixture(scope="module")
def predictor(first: Run) -> Predictor:
    """As a server loads it: the champion, and Feast's online store."""
    space = Workspace(first.job.workspace)
    champion = space.champion()
    assert champion is not None
    return load_predictor(space.bundle(champion.bundle_id), space.feast)


def test_the_student_with_vectors_goes_into_service(first: Run) -> None:
    assert first.verdict.verdict == "promote"
    assert first.manifest.student == "vectors"
    assert first.manifest.cost is not None
    assert first.manifest.cost.lookup_ms is not None
    assert first.facts("deploy")["smoke"]["ranked"] == 32
    assert first.facts("evaluate")["gate"]["reasons"][-1].startswith("It takes"), "one student is no choice to tell of"
    assert set(first.facts("evaluate")["students"]) == {"vectors"}
    weights = Path(first.job.space.weights(first.manifest.bundle_id))
    assert orjson.loads((weights / "model.json").read_bytes())["student"] == "vectors"


def test_rank_through_feast_is_the_trained_network_on_the_knowledge(first: Run, predictor: Predictor) -> None:
    import torch

    from elec.training import load_network

    items = [f"i{number:03d}" for number in range(0, 60, 3)] + ["never seen"]
    knowledge, network = first.folder / "knowledge", load_network(first.folder / "model")
    tables = {name: pq.read_table(knowledge / f"{name}s.parquet").to_pylist() for name in ("user", "item")}
    known = {name: {row[name]: np.float16(row["vector"]) for row in rows} for name, rows in tables.items()}
    nothing = np.zeros(6, np.float16)
    space = Workspace(first.job.workspace)
    ranker = Ranker(predictor, open_features(predictor.manifest, str(space.feast)), ServingSpec())
    with TestClient(app_of(space.bundle(first.manifest.bundle_id), space.feast)) as client:
        for user in ("u01", "u42", "nobody"):
            answer = client.post("/rank", json={"user": user, "items": items, "context": {"hour": 7}}).json()
            ranked = {entry["item"]: entry["score"] for entry in answer["items"]}
            pairs = [(known["user"].get(user, nothing), known["item"].get(item, nothing)) for item in items]
            records = ranker.rank(user, items, {"hour": 7}, recorded=True).records
            assert records is not None
            slots_NS = FeatureEncoder.load(first.folder / "features" / "vocabulary").encode(records)
            with torch.inference_mode():
                given = torch.from_numpy(np.array(pairs, np.float32))
                expected = torch.sigmoid(network(torch.from_numpy(slots_NS), given)[0]).tolist()
            assert [ranked[item] for item in items] == pytest.approx(expected, abs=1e-5)


def test_online_is_the_mean_of_what_the_user_clicked_last(root: Path, first: Run, predictor: Predictor) -> None:
    item_rows = pq.read_table(first.folder / "knowledge" / "items.parquet").to_pylist()
    vector = {row["item"]: np.array(row["vector"]) for row in item_rows}
    clicks: dict[str, list[tuple[datetime, str]]] = {}
    with (root / "log.csv").open() as file:
        for row in csv.DictReader(file):
            if row["click"] == "1":
                clicks.setdefault(row["user"], []).append((datetime.fromisoformat(row["time"]), row["item"]))
    users = sorted(clicks)
    assert len(users) > 50
    expected = [np.mean([vector[item] for _, item in sorted(clicks[user])[-5:]], axis=0) for user in users]
    assert predictor._vectors is not None
    found = predictor._vectors.vectors(users, ["i000"] * len(users))
    np.testing.assert_allclose(found[:, 0], np.array(expected), atol=5e-3)
    np.testing.assert_allclose(found[:, 1], np.tile(vector["i000"], (len(users), 1)), atol=5e-3)


def test_in_bulk_as_online(first: Run, predictor: Predictor) -> None:
    scorer = load_scorer(first.job.space.bundle(first.manifest.bundle_id), first.job.space.feast)
    records = pq.read_table(first.folder / "features" / "frame" / "test.parquet")
    np.testing.assert_allclose(scorer.score(records), predictor.score(records), atol=1e-6)


def test_the_best_student_on_the_validation_rows_is_the_challenger(second: Run) -> None:
    found = second.facts("evaluate")
    assert set(found["students"]) == {"vanilla", "semantic_ids", "vectors"}
    best = max(found["students"], key=lambda name: found["students"][name]["valid"]["auc"])
    assert found["student"] == second.manifest.student == best
    assert found["students"][best]["why"] == "challenger"
    assert found["metrics"]["vanilla"] == found["students"][best]["test"] == second.manifest.metrics
    assert found["latency_ms"] == found["students"][best]["latency"]["p50_ms"]
    assert [name for name, one in found["students"].items() if one["latency"]["lookup_p50_ms"] is not None] == ["vectors"]
    assert found["choice"] == found["gate"]["reasons"][-1]
    page, summary = ((second.folder / name).read_text() for name in ("page.html", "summary.md"))
    for name in found["students"]:
        assert name in page
        assert name.replace("_", r"\_") in summary
    assert "The choice of the student" in page
    assert "chosen or why not" in summary


def test_a_later_run_keeps_what_codes_and_vectors_mean(first: Run, second: Run) -> None:
    assert not first.facts("distill")["knowledge"]["reused"]
    assert second.facts("distill")["knowledge"]["reused"]
    assert second.facts("evaluate")["vectors"]["views"] == first.manifest.vectors.model_dump()
    assert set(second.facts("evaluate")["vectors"]["online"].values()) == {"none"}
    for name in ("projection", "codebooks"):
        files = [one.folder / "knowledge" / f"{name}.safetensors" for one in (first, second)]
        assert files[0].read_bytes() == files[1].read_bytes()


def test_the_champion_with_vectors_is_judged_as_it_was(first: Run, second: Run) -> None:
    before, now = first.facts("evaluate")["metrics"]["vanilla"], second.facts("evaluate")["metrics"]["champion"]
    assert now["auc"] == pytest.approx(before["auc"], abs=1e-6)
    assert now["logloss"] == pytest.approx(before["logloss"], abs=1e-5)


def test_the_champion_is_judged_by_a_run_without_vectors_too(first: Run, tmp_path: Path) -> None:
    from elec.steps.evaluate import _champion_scores

    predictions = pq.read_table(first.folder / "model" / "predictions" / "test.parquet")
    run = first.spec.run.model_copy(update={"student": first.spec.run.student.model_copy(update={"train": ("vanilla",)})})
    job = first.job.model_copy(update={"spec": first.spec.model_copy(update={"run": run})})
    scores = _champion_scores(job, first.manifest.bundle_id, first.folder / "features", tmp_path, predictions)
    # Its users' vectors are then those in the store, which know the test window.
    assert np.isfinite(scores).all()
    assert np.corrcoef(scores, predictions["vanilla"].to_numpy())[0, 1] > 0.5
    empty = job.model_copy(update={"workspace": str(tmp_path / "ws")})
    shutil.copytree(first.job.space.bundle(first.manifest.bundle_id), empty.space.bundle(first.manifest.bundle_id))
    unknown = _champion_scores(empty, first.manifest.bundle_id, first.folder / "features", tmp_path, predictions)
    assert np.isfinite(unknown).all()
    assert np.abs(unknown - scores).max() > 1e-4, "what is not in Feast is unknown"
    assert student_folders(job, tmp_path) == {"vanilla": tmp_path}
    assert prepare_knowledge(job, tmp_path, tmp_path, tmp_path / "knowledge") == {}
    assert [path.name for path in (tmp_path / "knowledge").iterdir()] == [NOT_NEEDED]
