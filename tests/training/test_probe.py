"""The probe takes a faster way only when it learns the same, leaves no trace, and lets small trainings alone."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import numpy as np
import pytest
import torch

from elec.models import VanillaNetwork, vanilla_network
from elec.models.interface import CollaborativeModule, ModuleOutput
from elec.progress import Progress
from elec.spec.learning import DistillSpec, ModelSpec, TrainingSpec
from elec.training import faster, probe
from elec.training.data import Batch, Rows
from elec.training.faster import Option, applied
from elec.training.learner import Learner
from elec.training.loop import seeded, train
from elec.training.losses import click_loss
from elec.training.optimiser import Optimiser
from elec.training.probe import Choice, choose


class Column(NamedTuple):
    name: str
    width: int
    size: int
    kind: str = "categorical"


pytestmark = pytest.mark.usefixtures("one_thread")

FIELDS = [Column("user", 1, 60), Column("item", 1, 40), Column("hour", 1, 24)]
SIZE = 1000


@pytest.fixture(scope="module")
def rows() -> Rows:
    """Clicks that follow from user, item and their product."""
    generator = np.random.default_rng(0)
    slots = np.stack([generator.integers(3, field.size, 16_000) for field in FIELDS], axis=1)
    taste, appeal = generator.normal(size=60), generator.normal(size=40)
    score = taste[slots[:, 0]] + appeal[slots[:, 1]] + taste[slots[:, 0]] * appeal[slots[:, 1]]
    label = (generator.random(16_000) < 1 / (1 + np.exp(-score))).astype(np.float32)
    return Rows(np.arange(16_000), np.arange(16_000), torch.from_numpy(label), torch.from_numpy(slots))


def made(name: str = "dcnv2", dropout: float = 0.0) -> VanillaNetwork:
    torch.manual_seed(0)
    spec = ModelSpec.model_validate({"name": name, "embedding": 8, "deep": (32, 16), "dropout": dropout})
    return vanilla_network(FIELDS, spec).train()


def chosen(network: VanillaNetwork, rows: Rows, **training: str) -> tuple[Choice, Optimiser]:
    settings = TrainingSpec.model_validate(training)
    optimiser = Optimiser(network, learning_rate=0.01, embedding_l2=1e-4, steps=100, training=settings)

    def step(batch: Batch) -> torch.Tensor:
        return click_loss(network(batch.slots_BS)[0], batch.label_B)

    batches = list(rows.shuffled(SIZE, 1, 1))[: probe.PROBE_STEPS]
    return choose({"plain": network}, step, optimiser, lambda: batches, 10 * len(rows)), optimiser


@pytest.fixture
def large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_LARGE", 0.0)


@pytest.fixture
def faster_by_anything(monkeypatch: pytest.MonkeyPatch, large: None) -> None:
    """Timings of tiny networks mean nothing; here only what is learnt decides."""
    monkeypatch.setattr(probe, "_FASTER_BY", 0.0)


def disturbed(monkeypatch: pytest.MonkeyPatch, change: Callable[[torch.Tensor], torch.Tensor]) -> None:
    """Makes the bfloat16 way wrong."""

    def interact(module: CollaborativeModule, option: Option) -> Callable[[torch.Tensor], ModuleOutput]:
        plain = module.interact

        def wrong(x_BFE: torch.Tensor) -> ModuleOutput:
            output = plain(x_BFE)
            return output._replace(representation_BD=change(output.representation_BD)) if module.training else output

        return wrong

    monkeypatch.setattr(faster, "_interact", interact)


def test_a_small_training_is_not_probed(rows: Rows) -> None:
    choice, optimiser = chosen(made(), rows)
    assert choice.option == Option()
    assert choice.samples_per_second == {}
    assert "small" in choice.why
    assert optimiser.steps_done == 0


def test_the_spec_can_fix_the_choice(rows: Rows, large: None) -> None:
    choice, _ = chosen(made(), rows, precision="bfloat16", compile="off")
    assert (choice.precision, choice.compile, choice.samples_per_second) == ("bfloat16", "off", {})
    assert choice.pinned(TrainingSpec()) == TrainingSpec(precision="bfloat16", compile="off")


@pytest.mark.parametrize("name", ["dnn", "deepfm", "autoint", "dcnv2"])
def test_bfloat16_learns_the_same(rows: Rows, name: str, faster_by_anything: None) -> None:
    choice, _ = chosen(made(name, dropout=0.2), rows)
    assert choice.precision == "bfloat16"
    assert set(choice.samples_per_second) == {"float32", "bfloat16"}
    assert "learns the same" in choice.why


def test_what_is_not_faster_is_not_taken(rows: Rows, large: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_FASTER_BY", 1e9)
    choice, _ = chosen(made(), rows)
    assert choice.precision == "float32"
    assert "times as fast" in choice.why


class _WrongDerivative(torch.autograd.Function):
    @staticmethod
    def forward(ctx: object, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, *gradients: torch.Tensor) -> torch.Tensor:
        return 0.8 * gradients[0]


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x + x.std() * torch.randn_like(x),
        lambda x: 1.2 * x,
        lambda x: x * float("nan"),
        lambda x: _WrongDerivative.apply(x),
        lambda x: x.detach(),
    ],
    ids=["noise", "scale", "nan", "derivative", "no derivative"],
)
def test_what_learns_otherwise_is_refused(
    rows: Rows, faster_by_anything: None, monkeypatch: pytest.MonkeyPatch, change: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    disturbed(monkeypatch, change)
    choice, _ = chosen(made(), rows)
    assert choice.precision == "float32"
    assert "was refused" in choice.why


def test_what_is_right_at_first_and_wrong_later_is_refused(
    rows: Rows, faster_by_anything: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def drifting(x: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return x if len(calls) == 1 else x.flip(0)

    disturbed(monkeypatch, drifting)
    choice, _ = chosen(made(), rows)
    assert choice.precision == "float32"
    assert "its loss is off" in choice.why


def test_what_does_not_work_here_is_not_taken(rows: Rows, faster_by_anything: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(x: torch.Tensor) -> torch.Tensor:
        raise RuntimeError("no compiler\nlong trace")

    disturbed(monkeypatch, broken)
    choice, optimiser = chosen(made(), rows)
    assert "does not work here (no compiler)" in choice.why
    assert optimiser.steps_done == 0


@pytest.mark.parametrize("table", ["lazy_adam", "rowwise_adagrad", "adam"])
def test_the_probe_leaves_no_trace(rows: Rows, table: str, large: None) -> None:
    network = made()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    _, optimiser = chosen(network, rows, table_optimiser=table)
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert all(not value.any() for value in optimiser.state_dict().values())
    assert optimiser.learning_rate == 0.01
    assert "interact" not in network.module.__dict__


def test_evaluation_is_in_float32() -> None:
    network = made().eval()
    slots = torch.randint(3, 20, (50, 3))
    with torch.no_grad():
        expected = network(slots)[0]
        with applied(network, Option(bfloat16=True)):
            assert torch.equal(network(slots)[0], expected)
            assert not torch.equal(network.train()(slots)[0], expected)
            assert network(slots)[1].dtype == torch.float32


def trained(rows: Rows, seed: int, **training: str) -> Learner:
    with seeded(seed):
        network = vanilla_network(FIELDS, ModelSpec(embedding=8, deep=(32, 16), dropout=0))
        learner = Learner(network, lambda batch: network(batch.slots_BS)[0])
        train(
            {"plain": learner},
            lambda batch: (click_loss(network(batch.slots_BS)[0], batch.label_B), {"plain": {}}),
            Optimiser(
                network,
                learning_rate=0.015,
                embedding_l2=1e-3,
                steps=72,
                training=TrainingSpec.model_validate(training),
            ),
            train_rows=Rows(rows.row_id_N[:12_000], rows.user_index_N[:12_000], rows.label_N[:12_000], rows.slots_NS[:12_000]),
            valid_rows=Rows(rows.row_id_N[12_000:], rows.user_index_N[12_000:], rows.label_N[12_000:], rows.slots_NS[12_000:]),
            settings=DistillSpec(epochs=6, batch_size=SIZE, patience=6),
            seed=seed,
            watched="plain",
            progress=Progress("train", unit="samples"),
        )
    return learner


def test_a_whole_training_in_the_chosen_way_ends_at_the_same_loss(rows: Rows, faster_by_anything: None) -> None:
    exact = [trained(rows, seed, precision="float32") for seed in (1, 2, 3, 4)]
    faster_ones = [trained(rows, seed, compile="off") for seed in (1, 2, 3, 4)]
    assert all(learner.choice is not None and learner.choice.precision == "bfloat16" for learner in faster_ones)
    before, after = (np.array([learner.best_logloss for learner in found]) for found in (exact, faster_ones))
    # Another seed moves the validation LogLoss far more than bfloat16 does, and bfloat16 moves it to neither side.
    assert np.abs(after - before).max() < before.std()
    assert abs(after.mean() - before.mean()) < 0.25 * before.std()


@contextmanager
def _no_compile(*_: object) -> Iterator[None]:
    raise AssertionError("compiled")
    yield


def test_a_short_training_is_not_compiled(rows: Rows, faster_by_anything: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", _no_compile)
    choice, _ = chosen(made(), rows)
    assert choice.compile == "off"
    assert "longer than it could save" in choice.why


@pytest.mark.slow
def test_compiled_learns_the_same(rows: Rows, faster_by_anything: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(probe, "_COMPILE_FROM", 0.0)
    monkeypatch.setattr(probe, "_COMPILE_SECONDS", 0.0)
    choice, _ = chosen(made(dropout=0.2), rows)
    assert choice.option == Option(bfloat16=True, compiled=True)
