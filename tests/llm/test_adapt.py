"""Adaptation: it learns what the texts tell, stops in time, and gives the same weights for the same seed."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from elec.errors import InputError, RunFailedError
from elec.llm import VectorStore
from elec.llm.adapt import adapt
from elec.llm.mllm import load_mllm
from elec.llm.representations import representations_of, write_representations
from elec.spec import Spec, parse_spec

SIZE = 8
TEXTS = 60


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """For networks this small, threads only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


class Log(NamedTuple):
    """Clicks that depend on whether the vectors of user and item point the same way."""

    texts: Path
    features: Path
    store: VectorStore


@pytest.fixture
def spec() -> Callable[..., Spec]:
    def make(seed: int = 1, **adapting: Any) -> Spec:
        text = "name: x\nsource: {path: x.csv}\nlabel: {column: y}\ntimestamp: {column: t}\nuser: u\nitem: i\n"
        made = parse_spec(text, origin="x.yaml", folder=Path("/"))
        small = {"layers": (32, 16), "batch_size": 64, "epochs": 6, "learning_rate": 3e-3, "dropout": 0.1} | adapting
        run = made.run.model_copy(update={"seed": seed, "adapt": made.run.adapt.model_copy(update=small)})
        return made.model_copy(update={"run": run})

    return make


@pytest.fixture
def log(tmp_path: Path, write_texts: Callable[..., Path]) -> Callable[..., Log]:
    def make(roles: tuple[str, ...] = ("user", "item"), *, noise: bool = False) -> Log:
        generator = np.random.default_rng(3)
        vectors = generator.normal(size=(TEXTS, SIZE)).astype(np.float16)
        rows, labels = {}, {}
        start = 0
        for split, count in (("train", 3000), ("valid", 800), ("test", 50)):
            chosen = {role: generator.integers(0, TEXTS, count) for role in roles}
            if len(roles) == 2:
                told = (vectors[chosen["user"]] * vectors[chosen["item"]]).sum(1) > 0
            else:
                told = vectors[chosen["sample"]][:, 0] > 0
            labels[split] = generator.integers(0, 2, count) if noise else told
            rows[split] = {"row_id": np.arange(start, start + count), **chosen}
            start += count
        texts = write_texts(tmp_path / "texts", [f"text {number}" for number in range(TEXTS)], rows)
        (tmp_path / "features" / "encoded").mkdir(parents=True)
        for split, label in labels.items():
            table = pa.table({"row_id": rows[split]["row_id"], "label": label.astype(np.int8)})
            pq.write_table(table, tmp_path / "features" / "encoded" / f"{split}.parquet")
        store = VectorStore(tmp_path / "vectors", "model-1")
        store.add(pq.read_table(texts / "texts.parquet")["key"].to_pylist(), vectors)
        return Log(texts, tmp_path / "features", store)

    return make


@pytest.mark.parametrize("roles", [("user", "item"), ("sample",)])
def test_it_learns_what_the_texts_tell(tmp_path: Path, log: Any, spec: Any, roles: tuple[str, ...]) -> None:
    texts, features, store = log(roles)
    report = adapt(spec(), texts, features, store, tmp_path / "mllm", device="cpu")
    assert report.valid_auc > 0.95
    assert report.valid_logloss < 0.35
    assert report.curve[-1].train_loss < report.curve[0].train_loss
    assert (report.rows, report.texts, report.device) == (3000, TEXTS, "cpu")
    content = json.loads((tmp_path / "mllm" / "mllm.json").read_text())
    assert content["config"]["roles"] == list(roles)
    assert content["vectors"] == "model-1"
    assert content["curve"] == [epoch.model_dump() for epoch in report.curve]
    assert content["best_epoch"] == report.best_epoch


def test_what_is_kept_is_the_best_epoch(tmp_path: Path, log: Any, spec: Any) -> None:
    from sklearn.metrics import log_loss

    texts, features, store = log(noise=True)
    report = adapt(spec(epochs=30, patience=2), texts, features, store, tmp_path / "mllm", device="cpu")
    best = min(report.curve, key=lambda epoch: epoch.valid_logloss)
    assert report.best_epoch == best.epoch
    # There is nothing to learn, so it stops two epochs behind the best one, long before the last.
    assert len(report.curve) == best.epoch + 2 < 30

    mllm = load_mllm(tmp_path / "mllm")
    rows = pq.read_table(texts / "rows" / "valid.parquet")
    vectors = store.gather(pq.read_table(texts / "texts.parquet")["key"]).astype(np.float32)
    pairs = np.stack([vectors[rows["user"].to_numpy()], vectors[rows["item"].to_numpy()]], axis=1)
    probability = mllm(torch.from_numpy(pairs))[0].double().sigmoid().numpy()
    label = pq.read_table(features / "encoded" / "valid.parquet")["label"].to_numpy()
    assert log_loss(label, probability) == pytest.approx(report.valid_logloss, abs=1e-3)


def test_the_same_seed_gives_the_same_weights(tmp_path: Path, log: Any, spec: Any) -> None:
    texts, features, store = log()
    state = torch.get_rng_state()
    for name, seed in (("one", 1), ("two", 1), ("other", 2)):
        torch.rand(3)  # What others draw does not matter.
        adapt(spec(seed, epochs=2), texts, features, store, tmp_path / name, device="cpu")
    one, two, other = (load_file(tmp_path / name / "mllm.safetensors") for name in ("one", "two", "other"))
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert (tmp_path / "one" / "mllm.json").read_bytes() == (tmp_path / "two" / "mllm.json").read_bytes()
    assert not torch.equal(one["prediction.weight"], other["prediction.weight"])
    # Nor does it disturb what others draw.
    after = torch.get_rng_state()
    torch.set_rng_state(state)
    for _ in range(3):
        torch.rand(3)
    assert torch.equal(torch.get_rng_state(), after)


def test_vectors_are_standardised_by_the_distinct_texts_of_the_train_rows(tmp_path: Path, log: Any, spec: Any) -> None:
    texts, features, store = log()
    adapt(spec(epochs=1), texts, features, store, tmp_path / "mllm", device="cpu")
    mllm = load_mllm(tmp_path / "mllm")
    vectors = store.gather(pq.read_table(texts / "texts.parquet")["key"]).astype(np.float64)
    rows = pq.read_table(texts / "rows" / "train.parquet")
    for place, role in enumerate(("user", "item")):
        seen = vectors[np.unique(rows[role].to_numpy())]
        np.testing.assert_allclose(mllm.mean[place].numpy(), seen.mean(0), atol=1e-5)
        np.testing.assert_allclose(mllm.std[place].numpy(), seen.std(0), atol=1e-5)


def test_representations_by_split(tmp_path: Path, log: Any, spec: Any) -> None:
    texts, features, store = log()
    adapt(spec(epochs=1), texts, features, store, tmp_path / "mllm", device="cpu")
    found = representations_of(load_mllm(tmp_path / "mllm"), texts, store)
    assert {split: part.shape for split, part in found.items()} == {"train": (3000, 16), "valid": (800, 16), "test": (50, 16)}
    files = write_representations(load_mllm(tmp_path / "mllm"), texts, store, tmp_path / "representations")
    for split, file in files.items():
        written = np.load(file)
        assert written.dtype == np.float16
        np.testing.assert_allclose(written, found[split], rtol=1e-3, atol=1e-6)


def test_what_it_refuses(tmp_path: Path, log: Any, spec: Any) -> None:
    texts, features, store = log()
    with pytest.raises(InputError, match="encode the texts first"):
        adapt(spec(), texts, features, VectorStore(tmp_path / "vectors", "model-2"), tmp_path / "mllm", device="cpu")
    with pytest.raises(RunFailedError, match=r"not a number after epoch 1; lower adapt\.learning_rate"):
        adapt(spec(learning_rate=1e20), texts, features, store, tmp_path / "mllm", device="cpu")
    labels = features / "encoded" / "valid.parquet"
    pq.write_table(pq.read_table(labels).slice(1), labels)
    with pytest.raises(AssertionError, match="valid are not of the same rows"):
        adapt(spec(), texts, features, store, tmp_path / "mllm", device="cpu")
    assert not (tmp_path / "mllm").exists()


def test_on_a_gpu(tmp_path: Path, log: Any, spec: Any) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    texts, features, store = log()
    assert adapt(spec(), texts, features, store, tmp_path / "mllm", device="cuda").valid_auc > 0.95
