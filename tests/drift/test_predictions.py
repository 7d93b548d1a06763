"""The drift check on the files of a prediction log."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elec.drift import Profile, check_predictions, profile, profile_predictions
from elec.drift.predictions import logged_part
from elec.errors import InputError
from elec.serving.manifest import Manifest
from elec.serving.telemetry.prediction_files import PATTERN
from elec.serving.telemetry.prediction_log import PredictionLog
from elec.spec import Spec
from elec.spec.run import DriftSpec
from elec.spec.serving import ServingSpec
from tests.serving.described import describe

START = datetime(2026, 2, 1, tzinfo=UTC)


@pytest.fixture
def manifest(spec: Spec) -> Manifest:
    dataset = spec.dataset
    return describe(dataset=dataset.name, user=dataset.user, item=dataset.item, fields=dataset.tabular_fields)


@pytest.fixture
def reference(make: Any, spec: Spec) -> Profile:
    return profile(make(), spec.dataset)


class Log:
    """Writes a log of requests by the 300 users of the made windows for candidates among their 60 items."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __call__(
        self,
        manifest: Manifest,
        *,
        requests: int = 400,
        candidates: int = 20,
        ages: float = 0.0,
        price: float = 1.0,
        rate: float = 0.3,
        degraded: bool = False,
    ) -> None:
        random, people = np.random.default_rng(5), np.random.default_rng(7)
        age, city = people.normal(40, 12, 300) + ages, people.choice(["ulm", "bonn", "kiel"], 300)
        tags = [["new"] if n % 2 else ["new", "red"] if n % 3 else [] for n in range(60)]
        settings = ServingSpec(log_share=1.0, log_rows=3000)
        with PredictionLog(self.folder, settings, manifest) as log:
            for number in range(requests):
                user, items = random.integers(300), random.integers(60, size=candidates)
                context = random.choice(["phone", "laptop", "tv"], p=[0.5, 0.3, 0.2])
                paid = random.lognormal() * price
                records = pa.table(
                    {
                        "user": [f"u{user}"] * candidates,
                        "item": [f"i{item}" for item in items],
                        "age": [age[user]] * candidates,
                        "city": [city[user]] * candidates,
                        "tags": pa.array([tags[item] for item in items], pa.list_(pa.string())),
                        "device": [context] * candidates,
                        "price": [paid] * candidates,
                    }
                )
                scores = random.beta(10 * rate, 10 * (1 - rate), candidates).astype(np.float32)
                log.offer(
                    f"r{number}", records, scores, manifest.bundle_id, START + timedelta(minutes=number), degraded=degraded
                )
        assert log.figures().dropped == 0


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return Log(tmp_path / "log")


def test_candidates_like_those_of_training_are_ok(log: Log, manifest: Manifest, reference: Profile) -> None:
    log(manifest)
    verdict = check_predictions(log.folder, manifest, reference, DriftSpec())
    assert verdict.verdict == "ok"
    assert "Nothing has drifted" in verdict.reasons[0]
    assert "the mean score is 0.29" in verdict.reasons[0]
    # The title is read by the LLM only, so no log has it.
    assert list(verdict.fields) == ["user", "item", "age", "city", "tags", "device", "price"]
    assert (verdict.label_rate, verdict.label_psi) == (None, None)


def test_what_has_moved_is_found(log: Log, manifest: Manifest, reference: Profile) -> None:
    log(manifest, ages=12.0, price=3.0)
    verdict = check_predictions(log.folder, manifest, reference, DriftSpec())
    assert verdict.verdict == "retrain"
    assert {name for name, field in verdict.fields.items() if field.verdict == "retrain"} == {"age", "price"}


def test_a_request_is_one_observation_of_its_user(log: Log, manifest: Manifest) -> None:
    log(manifest, requests=50, candidates=100)
    found = profile_predictions(log.folder, manifest)
    assert found.rows == 5000
    for name in ("user", "age", "city", "device", "price"):
        assert sum(found.fields[name].counts) == 50, name
    assert sum(found.fields["item"].counts) == 5000
    assert found.window.first == START
    assert found.label_rate == pytest.approx(0.3, abs=0.02)
    # Fifty users are few, and nothing is made of that.
    assert found == profile_predictions(log.folder, manifest)


def test_scores_far_from_the_label_rate_warn(log: Log, manifest: Manifest, reference: Profile) -> None:
    log(manifest, rate=0.6)
    verdict = check_predictions(log.folder, manifest, reference, DriftSpec())
    assert verdict.verdict == "warn"
    assert "look at the calibration" in verdict.reasons[0]
    assert verdict.fields["price"].verdict == "ok"


def test_only_the_bundles_own_predictions_count(log: Log, manifest: Manifest, reference: Profile) -> None:
    log(manifest, requests=100)
    challenger = manifest.model_copy(update={"bundle_id": describe(1).bundle_id, "fields": manifest.fields[:4]})
    log(challenger, requests=40, ages=100.0)
    assert profile_predictions(log.folder, manifest).rows == 2000
    assert profile_predictions(log.folder, challenger).rows == 800
    assert check_predictions(log.folder, manifest, reference, DriftSpec()).fields["age"].verdict == "ok"


def test_what_was_scored_without_the_feature_store_does_not_count(log: Log, manifest: Manifest, reference: Profile) -> None:
    log(manifest, requests=40, ages=100.0, degraded=True)
    with pytest.raises(InputError, match=r"all 800 logged predictions of .* were made while the feature store did not answer"):
        profile_predictions(log.folder, manifest)
    log(manifest, requests=100)
    assert profile_predictions(log.folder, manifest).rows == 2000
    assert check_predictions(log.folder, manifest, reference, DriftSpec()).fields["age"].verdict == "ok"


@pytest.mark.parametrize("all_old", [True, False])
def test_a_log_of_before_there_was_this_column_is_read(log: Log, manifest: Manifest, all_old: bool) -> None:
    log(manifest, requests=100)
    for file in log.folder.glob(PATTERN):
        pq.write_table(pq.read_table(file).drop_columns(["degraded"]), file)
    if not all_old:
        log(manifest, requests=20, degraded=True)
    assert profile_predictions(log.folder, manifest).rows == 2000


def test_a_log_without_predictions_says_so(log: Log, manifest: Manifest, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no logged predictions of toy-20240501T000000-000000000000 there; serve it with"):
        profile_predictions(tmp_path, manifest)
    log(manifest, requests=2)
    with pytest.raises(InputError, match="no logged predictions of toy-20240501T000000-000000000009"):
        profile_predictions(log.folder, manifest.model_copy(update={"bundle_id": describe(9).bundle_id}))


def test_before_there_is_a_champion_there_is_no_reference(log: Log, manifest: Manifest) -> None:
    log(manifest, requests=2)
    assert check_predictions(log.folder, manifest, None, DriftSpec()).verdict == "first"


def test_a_file_that_is_removed_while_it_is_read(log: Log, manifest: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    log(manifest, requests=400)
    gone = []
    listed = Path.glob

    def glob(folder: Path, pattern: str) -> list[Path]:
        files = sorted(listed(folder, pattern))
        if pattern == PATTERN and not gone:
            gone.append(files[0])
            files[0].unlink()
        return files

    monkeypatch.setattr(Path, "glob", glob)
    assert profile_predictions(log.folder, manifest).rows == 5000


def test_the_reference_keeps_what_a_log_has(manifest: Manifest, reference: Profile) -> None:
    part = logged_part(reference, manifest)
    assert set(reference.fields) - set(part.fields) == {"title"}
    assert part.fields["price"] == reference.fields["price"]
