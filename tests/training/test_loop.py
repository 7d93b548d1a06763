"""The loop: early stopping, learning curves, and going on bit by bit from a snapshot taken anywhere."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load, save

from elec.errors import RunFailedError
from elec.evaluation.metrics import logloss
from elec.models import vanilla_network
from elec.progress import Progress
from elec.spec.learning import DistillSpec, ModelSpec, TrainingSpec
from elec.training import loop, order, probe
from elec.training.data import Batch, RowSource, load_rows
from elec.training.learner import Learner, predict
from elec.training.loop import seeded, train
from elec.training.losses import click_loss
from elec.training.optimiser import Optimiser
from elec.training.state import Snapshot
from elec.training.stream import StreamedRows


class Column(NamedTuple):
    name: str
    width: int
    size: int
    kind: str = "categorical"


pytestmark = pytest.mark.usefixtures("one_thread")

FIELDS = [Column("user", 1, 40), Column("tags", 2, 12, "multivalued")]
SIZE = 64


class KilledError(Exception):
    """The process ends here."""


class Kept:
    """Snapshots as files hold them. `killed_after`: the save after which the process is killed."""

    def __init__(self, killed_after: int | None = None) -> None:
        self.tensors, self.values = b"", ""
        self.saves: list[tuple[int, int]] = []
        self.killed_after = killed_after

    def load(self) -> Snapshot | None:
        return Snapshot(load(self.tensors), json.loads(self.values)) if self.values else None

    def save(self, snapshot: Snapshot) -> None:
        # A safetensors file has no order of its own and holds no views.
        self.tensors = save({name: snapshot.tensors[name].cpu().clone() for name in sorted(snapshot.tensors)})
        self.values = json.dumps(snapshot.values)
        self.saves.append((snapshot.values["epoch"], snapshot.values["step"]))
        if len(self.saves) == self.killed_after:
            raise KilledError


@pytest.fixture(scope="module")
def encoded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoded")
    generator = np.random.default_rng(0)
    taste, appeal = generator.normal(size=40), generator.normal(size=12)
    for split, rows in (("train", 500), ("valid", 200)):
        slots = np.stack([generator.integers(3, 40, rows), *(generator.integers(3, 12, rows) for _ in range(2))], axis=1)
        slots[::3, 2] = 0
        click = generator.random(rows) < 1 / (1 + np.exp(-2 * (taste[slots[:, 0]] + appeal[slots[:, 1]])))
        table = {
            "row_id": np.arange(rows),
            "label": click.astype(np.int8),
            "user_index": slots[:, 0],
            "slots": pa.FixedSizeListArray.from_arrays(pa.array(slots.ravel()), 3),
        }
        pq.write_table(pa.table(table), folder / f"{split}.parquet", row_group_size=50)
    return folder


@pytest.fixture
def rows(encoded: Path) -> dict[str, RowSource]:
    return {split: load_rows(encoded / f"{split}.parquet") for split in ("train", "valid")}


def trained(
    rows: dict[str, RowSource], snapshots: Kept | None = None, *, seconds: int = 60, kind: str = "lazy_adam", **settings: Any
) -> Learner:
    distill = DistillSpec.model_validate({"epochs": 4, "batch_size": SIZE, "patience": 2, "learning_rate": 0.03, **settings})
    training = TrainingSpec.model_validate({"table_optimiser": kind, "checkpoint_seconds": seconds})
    with seeded(7):
        network = vanilla_network(FIELDS, ModelSpec(embedding=4, deep=(8, 6), dropout=0.2))
        learner = Learner(network, lambda batch: network(batch.slots_BS)[0])

        def step(batch: Batch) -> tuple[torch.Tensor, dict[str, dict[str, torch.Tensor]]]:
            loss = click_loss(network(batch.slots_BS)[0], batch.label_B)
            return loss, {"plain": {"loss": loss}}

        train(
            {"plain": learner},
            step,
            Optimiser(network, learning_rate=distill.learning_rate, embedding_l2=1e-3, steps=32, training=training),
            train_rows=rows["train"],
            valid_rows=rows["valid"],
            settings=distill,
            seed=7,
            watched="plain",
            progress=Progress("train", unit="samples"),
            snapshots=snapshots,
        )
    return learner


def assert_same(one: Learner, other: Learner) -> None:
    assert one.curve == other.curve
    assert (one.best_epoch, one.best_logloss) == (other.best_epoch, other.best_logloss)
    for name, value in one.network.state_dict().items():
        assert torch.equal(value, other.network.state_dict()[name]), name


def ticking(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second passes whenever the loop looks at the clock."""
    ticks = iter(range(10_000))
    monkeypatch.setattr(loop, "time", SimpleNamespace(monotonic=lambda: next(ticks)))


@pytest.mark.parametrize("kind", ["lazy_adam", "rowwise_adagrad", "adam"])
# Within the first epoch, after its last step, after its validation, within the third, and when all was done.
@pytest.mark.parametrize("killed_after", [1, 4, 5, 12, 20])
def test_killed_anywhere_it_goes_on_as_if_it_were_not(
    rows: dict[str, RowSource], monkeypatch: pytest.MonkeyPatch, kind: str, killed_after: int
) -> None:
    undisturbed = trained(rows, kind=kind)
    ticking(monkeypatch)
    kept = Kept(killed_after)
    with pytest.raises(KilledError):
        trained(rows, kept, seconds=2, kind=kind)
    kept.killed_after = None
    assert_same(trained(rows, kept, seconds=2, kind=kind), undisturbed)
    assert kept.saves[-1] == (5, 0)


def test_saves_come_after_each_epoch_and_by_time(rows: dict[str, RowSource], monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept()
    trained(rows, kept, seconds=0, epochs=2)
    assert kept.saves == [(2, 0), (3, 0)]
    ticking(monkeypatch)
    kept = Kept()
    trained(rows, kept, seconds=2, epochs=1)
    assert kept.saves == [(1, 2), (1, 4), (1, 6), (1, 8), (2, 0)]


def test_a_snapshot_of_another_job_is_left_aside(rows: dict[str, RowSource]) -> None:
    kept = Kept()
    trained(rows, kept, epochs=2)
    assert_same(trained(rows, kept, learning_rate=0.01), trained(rows, learning_rate=0.01))


def test_a_resumed_training_computes_as_it_had_chosen(rows: dict[str, RowSource], monkeypatch: pytest.MonkeyPatch) -> None:
    kept = Kept(killed_after=1)
    with pytest.raises(KilledError):
        trained(rows, kept)
    values = json.loads(kept.values)
    kept.values = json.dumps({**values, "choice": {**values["choice"], "precision": "bfloat16"}})
    monkeypatch.setattr(probe, "_Trials", None)
    kept.killed_after = None
    learner = trained(rows, kept)
    assert learner.choice is not None
    assert learner.choice.precision == "bfloat16"


def test_streamed_rows_train_the_same_network(
    encoded: Path, rows: dict[str, RowSource], monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("order", "stream", "encoded"):
        monkeypatch.setattr(f"elec.training.{module}.BLOCK_ROWS", 50)
    monkeypatch.setattr(order, "WINDOW_BLOCKS", 3)
    streamed: dict[str, RowSource] = {split: StreamedRows(encoded / f"{split}.parquet") for split in rows}
    assert_same(trained(streamed), trained(rows))


def test_the_best_epoch_is_kept_and_patience_ends_the_training(rows: dict[str, RowSource]) -> None:
    learner = trained(rows, epochs=40, learning_rate=0.2)
    losses = [point["valid_logloss"] for point in learner.curve]
    assert [point["epoch"] for point in learner.curve] == list(range(1, len(losses) + 1))
    assert learner.best_epoch == 1 + int(np.argmin(losses)) == len(losses) - 2
    probability = predict(learner.network, learner.score, rows["valid"])
    assert logloss(rows["valid"].label_N.numpy(), probability) == learner.best_logloss


def test_the_curve_holds_the_mean_loss_of_all_rows(rows: dict[str, RowSource]) -> None:
    # With a learning rate of almost nothing the loss of an epoch is that of the first weights.
    learner = trained(rows, epochs=1, learning_rate=1e-12)
    logit = torch.from_numpy(predict(learner.network, learner.score, rows["train"])).logit()
    expected = float(click_loss(logit, rows["train"].label_N.double()))
    assert learner.curve[0]["loss"] == pytest.approx(expected, rel=1e-3)


def test_a_finished_network_captures_no_more(rows: dict[str, RowSource]) -> None:
    learner = trained(rows, epochs=1)
    embedding = learner.network.module.embedding  # type: ignore[union-attr]
    assert not embedding.captures  # type: ignore[union-attr]
    assert embedding.captured == []  # type: ignore[union-attr]


def test_a_loss_that_is_no_number_ends_the_training(rows: dict[str, RowSource]) -> None:
    with pytest.raises(RunFailedError, match=r"lower run\.distill\.learning_rate"):
        trained(rows, learning_rate=1e25)
