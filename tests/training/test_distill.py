"""The distillation step on a small log with a pattern that can be learnt."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from elec.errors import InputError, RunFailedError
from elec.evaluation import auc
from elec.features import FeatureEncoder
from elec.spec import DatasetSpec, Spec
from elec.spec.learning import DistillSpec, ModelSpec
from elec.spec.run import RunSpec
from elec.training import distill, load_network, load_record
from elec.training.data import load_rows

pytestmark = pytest.mark.usefixtures("one_thread")

ROWS = {"train": 1200, "valid": 300, "test": 300}
DATASET = DatasetSpec.model_validate(
    {
        "name": "small",
        "source": {"path": "log.csv"},
        "label": {"column": "click"},
        "timestamp": {"column": "ts"},
        "user": "user",
        "item": "item",
        "fields": [{"name": "genres", "of": "item", "kind": "multivalued", "max_values": 3}],
    }
)


@pytest.fixture(scope="module")
def features(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features")
    (folder / "encoded").mkdir()
    (folder / "frame").mkdir()
    generator = np.random.default_rng(0)
    taste, appeal = generator.normal(size=40), generator.normal(size=10)
    encoder, start = None, 0
    for split, rows in ROWS.items():
        user, item = generator.integers(0, 40, rows), generator.integers(0, 20, rows)
        clicked = generator.random(rows) < 1 / (1 + np.exp(-2 * (taste[user] + appeal[item % 10])))
        genres = pa.array([[f"g{i % 10}"] + ["odd"] * (i % 2) for i in item])
        frame = pa.table({"user": pa.array(user).cast("string"), "item": pa.array(item).cast("string"), "genres": genres})
        pq.write_table(frame, folder / "frame" / f"{split}.parquet")
        encoder = encoder or FeatureEncoder.fit(DATASET, folder / "frame" / "train.parquet")
        table = pa.table(
            {
                "row_id": np.arange(start, start + rows),
                "label": clicked.astype(np.int8),
                "user_index": user,
                "slots": pa.FixedSizeListArray.from_arrays(pa.array(encoder.encode(frame).ravel()), encoder.slots),
            }
        )
        pq.write_table(table, folder / "encoded" / f"{split}.parquet")
        start += rows
    assert encoder is not None
    encoder.save(folder / "vocabulary")
    return folder


@pytest.fixture(scope="module")
def representations() -> dict[str, np.ndarray]:
    generator = np.random.default_rng(1)
    return {split: generator.normal(size=(rows, 6)).astype(np.float32) for split, rows in ROWS.items()}


def spec_of(seed: int = 5, **settings: object) -> Spec:
    run = RunSpec(
        seed=seed,
        model=ModelSpec(embedding=4, deep=(8, 6), dropout=0.1),
        distill=DistillSpec.model_validate({"epochs": 6, "batch_size": 100, "learning_rate": 0.02, "patience": 3, **settings}),
    )
    return Spec(dataset=DATASET, run=run)


@pytest.fixture(scope="module")
def trained(features: Path, representations: dict[str, np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("out") / "model"
    distill(spec_of(), features, representations, folder, "cpu")
    return folder


def predictions(folder: Path, split: str = "test") -> pa.Table:
    return pq.read_table(folder / "predictions" / f"{split}.parquet")


def test_the_folder_holds_everything_and_no_pickle(trained: Path) -> None:
    names = sorted(path.relative_to(trained).as_posix() for path in trained.rglob("*") if path.is_file())
    weights = ["gain.safetensors", "plain.safetensors", "vanilla.safetensors"]
    assert names == sorted([*weights, "curves.json", "model.json", "predictions/test.parquet", "predictions/valid.parquet"])
    assert list(trained.parent.iterdir()) == [trained]


def test_all_networks_learn(trained: Path) -> None:
    table = predictions(trained)
    for network in ("vanilla", "gain", "plain"):
        assert auc(table["label"].to_numpy(), table[network].to_numpy()) > 0.75


def test_predictions_keep_every_row_in_order(trained: Path, features: Path) -> None:
    for split in ("valid", "test"):
        table, encoded = predictions(trained, split), pq.read_table(features / "encoded" / f"{split}.parquet")
        assert table.column_names == ["row_id", "label", "user_index", "vanilla", "gain", "plain"]
        for name in ("row_id", "label", "user_index"):
            assert table[name].equals(encoded[name])
        assert table.schema.field("vanilla").type == pa.float64()


def test_the_same_seed_gives_identical_predictions(
    trained: Path, features: Path, representations: dict[str, np.ndarray], tmp_path: Path
) -> None:
    torch.manual_seed(999)
    torch.rand(3)
    distill(spec_of(), features, representations, tmp_path / "again", "cpu")
    assert predictions(tmp_path / "again").equals(predictions(trained))
    distill(spec_of(seed=6), features, representations, tmp_path / "other", "cpu")
    assert not predictions(tmp_path / "other").equals(predictions(trained))


def test_without_a_teacher_vanilla_and_plain_are_the_same_network(
    features: Path, representations: dict[str, np.ndarray], tmp_path: Path
) -> None:
    report = distill(spec_of(score_weight=0, alpha=0), features, representations, tmp_path / "model", "cpu")
    table = predictions(tmp_path / "model")
    np.testing.assert_allclose(table["vanilla"].to_numpy(), table["plain"].to_numpy(), rtol=1e-5)
    assert report.best_epochs["vanilla"] == report.best_epochs["plain"]


def test_weights_are_those_of_the_best_epoch(features: Path, representations: dict[str, np.ndarray], tmp_path: Path) -> None:
    # A learning rate at which the network overfits within a few epochs.
    settings = {"epochs": 30, "learning_rate": 0.1, "patience": 3, "calibrate": False}
    report = distill(spec_of(**settings), features, representations, tmp_path / "model", "cpu")
    curves = json.loads((tmp_path / "model" / "curves.json").read_text())
    table = predictions(tmp_path / "model", "valid")
    label = table["label"].to_numpy()
    for network in ("vanilla", "gain", "plain"):
        losses = [point["valid_logloss"] for point in curves[network]]
        assert report.best_epochs[network] == 1 + int(np.argmin(losses))
        probability = table[network].to_numpy()
        kept = -np.mean(np.where(label == 1, np.log(probability), np.log1p(-probability)))
        assert kept == pytest.approx(min(losses), rel=1e-9)
    for network in ("vanilla", "plain"):
        assert report.epochs[network] == report.best_epochs[network] + 3 < 30


def test_a_loaded_network_predicts_the_same(trained: Path, features: Path, representations: dict[str, np.ndarray]) -> None:
    rows = load_rows(features / "encoded" / "test.parquet")
    table = predictions(trained)
    with torch.inference_mode():
        for name in ("vanilla", "plain"):
            logit, _ = load_network(trained, name)(rows.slots_NS)  # type: ignore[arg-type]
            np.testing.assert_allclose(logit.double().sigmoid().numpy(), table[name].to_numpy(), rtol=1e-6)
        logit, _ = load_network(trained, "gain")(rows.slots_NS, torch.from_numpy(representations["test"]))
        np.testing.assert_allclose(logit.double().sigmoid().numpy(), table["gain"].to_numpy(), rtol=1e-6)


def test_the_record_says_what_was_trained(trained: Path) -> None:
    record = load_record(trained)
    fields = [(field.name, field.width, field.size, field.kind) for field in record.fields]
    assert fields == [("user", 1, 43, "categorical"), ("item", 1, 23, "categorical"), ("genres", 3, 14, "multivalued")]
    assert (record.seed, record.llm_size, record.settings.batch_size) == (5, 6, 100)
    assert set(load_file(trained / "vanilla.safetensors")) == set(load_file(trained / "plain.safetensors"))


def test_a_broken_model_folder_is_one_sentence(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"model\.json: cannot be read"):
        load_network(tmp_path)
    (tmp_path / "model.json").write_bytes((trained / "model.json").read_bytes())
    with pytest.raises(InputError, match=r"vanilla\.safetensors: there is no such file"):
        load_network(tmp_path)
    (tmp_path / "vanilla.safetensors").write_bytes((trained / "gain.safetensors").read_bytes())
    with pytest.raises(InputError, match="does not hold the weights"):
        load_network(tmp_path)
    (tmp_path / "vanilla.safetensors").write_bytes(b"broken")
    with pytest.raises(InputError, match="does not hold the weights"):
        load_network(tmp_path)
    (tmp_path / "model.json").write_text('{"schema_version": 99}')
    with pytest.raises(InputError, match="train anew"):
        load_network(tmp_path)


def test_divergence_is_said_and_leaves_nothing(features: Path, representations: dict[str, np.ndarray], tmp_path: Path) -> None:
    with pytest.raises(RunFailedError, match=r"lower run\.distill\.learning_rate"):
        distill(spec_of(learning_rate=1e20), features, representations, tmp_path / "model", "cpu")
    assert list(tmp_path.iterdir()) == []
