"""A data set with aggregates, from its log to ranked candidates."""

import csv
import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from fastapi.testclient import TestClient

from elec.export.bundle import build_bundle
from elec.features.build import build_features
from elec.features.ids import FIRST_VALUE
from elec.features.online import OnlineFeatures
from elec.features.raw import TYPES
from elec.features.store_config import OnlineStoreError
from elec.ingest import ingest
from elec.serving.bundle import open_bundle
from elec.serving.predictor import FeatureLookupError, Predictor
from elec.serving.ranker import Ranker
from elec.serving.start import open_features
from elec.spec import Entity, Spec
from elec.spec.serving import ServingSpec
from tests.serving.apps import app_of
from tests.serving.made import make_model, metadata

START = datetime(2024, 5, 1, tzinfo=UTC)
AS_OF = START + timedelta(days=2)
DATASET: dict[str, Any] = {
    "name": "counted",
    "label": {"column": "click"},
    "timestamp": {"column": "time"},
    "user": "user_id",
    "item": "item_id",
    "fields": [
        {"name": "city", "of": "user"},
        {"name": "category", "of": "item"},
        {"name": "hour"},
    ],
    # Of a pair too, but made of what is there already.
    "crossed": [["city", "category"], ["city", "hour"]],
    "aggregates": [
        {"by": ["user"], "windows": ["6h", "1d"], "buckets": 8},
        {"by": ["item"], "windows": ["1d"], "smoothing": 5, "buckets": 8},
        {"by": ["category"], "windows": ["6h"], "buckets": 8},
        {"by": ["user", "category"], "windows": ["1d"], "buckets": 8},
        {"by": ["item", "hour", "city"], "windows": ["1d"], "what": ["count"], "buckets": 8},
    ],
}
RUN: dict[str, Any] = {"model": {"embedding": 8, "deep": [16, 8]}}
ITEMS = [f"i{number}" for number in range(12)] + ["never seen", "i3", "never seen"]


def write_log(file: Path, rows: int) -> None:
    draw = random.Random(1)
    with file.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["click", "time", "user_id", "city", "item_id", "category", "hour"])
        for number in range(rows):
            user, item = draw.randrange(8), draw.randrange(12)
            seconds = int(START.timestamp()) + number * 172_000 // rows
            clicked = int(draw.random() < (0.6 if (user + item) % 3 == 0 else 0.2))
            writer.writerow([clicked, seconds, f"u{user}", f"c{user % 3}", f"i{item}", f"k{item % 4}", draw.randrange(3)])


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a log, its features, and two bundles: in two halves and in one piece."""
    folder = tmp_path_factory.mktemp("counted")
    write_log(folder / "log.csv", 900)
    spec = Spec.model_validate({"dataset": {**DATASET, "source": {"path": str(folder / "log.csv")}}, "run": RUN})
    ingest(spec.dataset, folder / "ingested", as_of=AS_OF)
    report = build_features(spec, folder / "ingested", folder / "features", feast_folder=folder / "feast", as_of=AS_OF)
    model = make_model(folder / "features", folder / "model", model=spec.run.model)
    about = metadata(feature_service=report.feature_service, feature_views=tuple(report.feature_views.values()))
    for split in (True, False):
        run = {**RUN, "serving": {"split": split}}
        chosen = Spec.model_validate({"dataset": spec.dataset.model_dump(), "run": run})
        build_bundle(chosen, model, folder / "features", folder / f"split-{split}", metadata=about)
    return folder


def opened(root: Path, split: bool, **settings: Any) -> tuple[Predictor, OnlineFeatures, Ranker]:
    bundle = open_bundle(root / f"split-{split}")
    features = open_features(bundle.manifest, str(root / "feast"))
    assert isinstance(features, OnlineFeatures)
    predictor = Predictor(bundle, features)
    assert predictor.network.split == split
    return predictor, features, Ranker(predictor, features, ServingSpec(**settings))


def records(predictor: Predictor, features: OnlineFeatures, user: str, items: Sequence[str], hour: str | None) -> pa.Table:
    """What training would have said of the candidates at the run's moment."""
    rows = [{**features.user(user), **row, "hour": hour} for row in features.items(items).to_pylist()]
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    counted = {name: values.to_pylist() for name, values in features.pairs(columns).items()}
    fields = predictor.manifest.fields
    return pa.table({field.name: pa.array({**columns, **counted}[field.name], TYPES[field.kind]) for field in fields})


@pytest.mark.parametrize("split", [True, False])
def test_ranking_reads_what_training_read(root: Path, split: bool) -> None:
    predictor, features, ranker = opened(root, split)
    for user, hour in (("u1", "2"), ("u7", None), ("nobody", "1")):
        given = records(predictor, features, user, ITEMS, hour)
        scores = predictor.score(given)
        for recorded in (True, False, False):
            ranked = ranker.rank(user, ITEMS, {} if hour is None else {"hour": hour}, recorded=recorded)
            np.testing.assert_allclose(ranked.scores_N, scores, atol=1e-6, rtol=0)
            assert ranked.degraded == ()
            if recorded:
                assert ranked.records is not None
                assert ranked.records.select(given.column_names).equals(given)
        assert ranked.kept == len(ITEMS)
    # The pair's numbers matter, and are of this user: another one has others.
    of_pairs = [field.name for field in predictor.manifest.fields if field.of is Entity.PAIR]
    assert len(of_pairs) == 3
    first, second = (records(predictor, features, user, ITEMS[:12], "2").select(of_pairs) for user in ("u1", "u2"))
    assert not first.equals(second)
    assert first.column(0).null_count < 12


def test_the_numbers_are_fields_of_the_model(root: Path) -> None:
    encoded = pq.read_table(root / "features" / "encoded" / "test.parquet")["slots"].combine_chunks()
    spec = Spec.model_validate({"dataset": {**DATASET, "source": {"path": "x.csv"}}, "run": RUN}).dataset
    slots_NS = encoded.flatten().to_numpy().reshape(len(encoded), -1)
    names = [field.name for field in spec.tabular_fields]
    assert [names.index(field.name) for field in spec.aggregate_fields] == list(range(len(names) - 11, len(names)))
    known = (slots_NS[:, len(names) - 11 : len(names)] >= FIRST_VALUE).mean(axis=0)
    assert (known > 0.9).all()
    frame = pq.read_table(root / "features" / "frame" / "test.parquet")
    for name in ("item_ctr_1d", "category_count_6h", "user_x_category_ctr_1d"):
        assert len(set(frame[name].to_pylist())) > 3, name


@pytest.mark.parametrize("without", ["refuse", "degrade"])
def test_a_store_that_does_not_answer_for_pairs(root: Path, without: str, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor, features, ranker = opened(root, True, without_store=without)
    given = records(predictor, features, "u1", ITEMS, "2")

    def fails(_: object) -> dict[str, pa.Array]:
        raise OnlineStoreError("gone")

    monkeypatch.setattr(features, "pairs", fails)
    if without == "refuse":
        with pytest.raises(FeatureLookupError, match="gone"):
            ranker.rank("u1", ITEMS, {"hour": "2"})
        return
    ranked = ranker.rank("u1", ITEMS, {"hour": "2"})
    assert ranked.degraded == ("gone; the aggregates of user and item together are left out",)
    for field in predictor.manifest.fields:
        if field.of is Entity.PAIR:
            given = given.set_column(given.column_names.index(field.name), field.name, pa.nulls(len(given), pa.float64()))
    np.testing.assert_allclose(ranked.scores_N, predictor.score(given), atol=1e-6, rtol=0)


def test_a_server_ranks_and_scores_with_them(root: Path) -> None:
    predictor, features, _ = opened(root, True)
    given = records(predictor, features, "u1", ITEMS, "2")
    scores = predictor.score(given)
    inputs = []
    for field in predictor.manifest.fields:
        kind = "FP64" if pa.types.is_floating(TYPES[field.kind]) else "BYTES"
        inputs.append({"name": field.name, "shape": [len(ITEMS)], "datatype": kind, "data": given[field.name].to_pylist()})
    with TestClient(app_of(root / "split-True", root / "feast")) as client:
        asked = {"user": "u1", "candidates": ITEMS, "context": {"hour": "2"}}
        ranked = client.post("/rank", json=asked)
        assert ranked.status_code == 200, ranked.text
        np.testing.assert_allclose(ranked.json()["scores"], scores, atol=1e-5)
        scored = client.post("/v2/models/elec/infer", json={"inputs": inputs})
        assert scored.status_code == 200, scored.text
        np.testing.assert_allclose(scored.json()["outputs"][0]["data"], scores, atol=1e-5)
        # What is looked up is no context.
        refused = client.post("/rank", json={**asked, "context": {"user_x_category_ctr_1d": 1.0}})
        assert refused.status_code == 400
        assert "user_x_category_ctr_1d" in refused.text
