"""The optimisers' steps against plain references in float64, the decay of the learning rate, and their state."""

from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch

from elec.models import VanillaNetwork, vanilla_network
from elec.spec.learning import ModelSpec, TrainingSpec
from elec.training.losses import click_loss
from elec.training.optimiser import Optimiser
from elec.training.table import TABLE_OPTIMISERS, Kind, distinct

KINDS: list[Kind] = ["lazy_adam", "rowwise_adagrad", "adam"]


class Column(NamedTuple):
    name: str
    width: int
    size: int
    kind: str = "categorical"


FIELDS = [Column("user", 1, 30), Column("tags", 2, 12, "multivalued")]
ROWS = 42
LABEL = torch.tensor([1.0, 0.0, 1.0, 0.0, 1.0, 0.0])


def slots(step: int) -> torch.Tensor:
    """Six rows, with duplicates and padding; which ones depends on the step."""
    generator = torch.Generator().manual_seed(step)
    user = torch.randint(3, 9 + 5 * (step % 3), (6, 1), generator=generator)
    tags = torch.randint(3, 12, (6, 2), generator=generator)
    tags[:3, 1] = 0
    return torch.cat([user, tags], dim=1)


def made(dtype: torch.dtype = torch.float64) -> VanillaNetwork:
    torch.manual_seed(0)
    return vanilla_network(FIELDS, ModelSpec(embedding=4, deep=(6,), dropout=0)).to(dtype)


def optimiser_of(network: torch.nn.Module, kind: Kind = "lazy_adam", **settings: Any) -> Optimiser:
    given = {"learning_rate": 0.05, "embedding_l2": 0.1, "steps": 20, **settings}
    return Optimiser(network, **given, training=TrainingSpec(table_optimiser=kind))


def loss_of(network: VanillaNetwork, slots_BS: torch.Tensor) -> torch.Tensor:
    logit = network(slots_BS)[0]
    return click_loss(logit, LABEL.to(logit.dtype))


def state_of(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def rate(step: int, steps: int = 20) -> float:
    return 0.05 * (1 - 0.98 * step / (steps - 1))


def reference(kind: Kind, l2: float, steps: int) -> dict[str, np.ndarray]:
    """The same training with autograd's dense gradient of the table and the update written out in numpy."""
    network = made()
    rows_of = network.module.embedding.rows
    values = {name: parameter.detach().numpy() for name, parameter in network.named_parameters()}
    first = {name: np.zeros_like(value) for name, value in values.items()}
    second = {name: np.zeros_like(value) for name, value in values.items()}
    square = np.zeros(ROWS)
    for step in range(steps):
        network.zero_grad()
        loss_of(network, slots(step)).backward()
        read = np.unique(rows_of(slots(step)).numpy())
        for name, parameter in network.named_parameters():
            assert parameter.grad is not None
            gradient, value, part = parameter.grad.numpy().copy(), values[name], np.s_[...]
            if "table" in name:
                gradient[read] += l2 * value[read]
                part = np.s_[...] if kind == "adam" else read
                if kind == "rowwise_adagrad":
                    square[read] += np.mean(gradient[read] ** 2, axis=1)
                    value[read] -= rate(step) * gradient[read] / (np.sqrt(square[read])[:, None] + 1e-8)
                    continue
            first[name][part] = 0.9 * first[name][part] + 0.1 * gradient[part]
            second[name][part] = 0.999 * second[name][part] + 0.001 * gradient[part] ** 2
            mean, deviation = first[name][part] / (1 - 0.9 ** (step + 1)), second[name][part] / (1 - 0.999 ** (step + 1))
            value[part] -= rate(step) * mean / (np.sqrt(deviation) + 1e-8)
    return values


@pytest.mark.parametrize("l2", [0.0, 0.1])
@pytest.mark.parametrize("kind", KINDS)
def test_steps_are_those_of_the_reference(kind: Kind, l2: float) -> None:
    network = made()
    optimiser = optimiser_of(network, kind, embedding_l2=l2)
    for step in range(12):
        optimiser.step(loss_of(network, slots(step)))
    expected = reference(kind, l2, 12)
    for name, value in network.state_dict().items():
        np.testing.assert_allclose(value.numpy(), expected[name], rtol=1e-9, atol=1e-12, err_msg=name)


def test_lazy_adam_is_torchs_sparse_adam() -> None:
    generator = torch.Generator().manual_seed(0)
    start = torch.randn((50, 4), generator=generator, dtype=torch.float64)
    theirs = torch.nn.Parameter(start.clone())
    sparse = torch.optim.SparseAdam([theirs], lr=0.03)
    ours = TABLE_OPTIMISERS["lazy_adam"](start.clone(), 0.0)
    for step in range(1, 30):
        rows = torch.randperm(50, generator=generator)[: 5 + step]
        gradient = torch.randn((len(rows), 4), generator=generator, dtype=torch.float64)
        theirs.grad = torch.sparse_coo_tensor(rows[None], gradient, (50, 4))
        sparse.step()
        ours.step(rows, gradient.clone(), None, 0.03, step)
    # They differ in where epsilon, 1e-8, is added: before or after the bias correction.
    torch.testing.assert_close(ours.weight_VE, theirs.detach(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", ["lazy_adam", "rowwise_adagrad"])
def test_rows_that_are_not_read_stay(kind: Kind) -> None:
    network = made()
    table = network.module.embedding.table.weight
    before = table.detach().clone()
    optimiser = optimiser_of(network, kind)
    for step in (0, 3):
        optimiser.step(loss_of(network, slots(step)))
    read = torch.cat([network.module.embedding.rows(slots(step)).flatten() for step in (0, 3)])
    others = [row for row in range(ROWS) if row not in set(read.tolist())]
    assert len(others) > 10
    assert torch.equal(table[others], before[others])
    assert (table[read] != before[read]).any(dim=1).all()
    assert table.grad is None


@pytest.mark.parametrize("kind", KINDS)
def test_duplicates_that_stay_change_nothing(kind: Kind) -> None:
    generator = torch.Generator().manual_seed(3)
    start = torch.randn((9, 4), generator=generator, dtype=torch.float64)
    results = []
    for compact in (True, False):
        table = TABLE_OPTIMISERS[kind](start.clone(), 0.1)
        for step in range(1, 5):
            draw = torch.Generator().manual_seed(step)
            rows = torch.randint(0, 9, (20,), generator=draw)
            gradient = torch.randn((20, 4), generator=draw, dtype=torch.float64)
            kept, index = distinct(rows, torch.empty(9, dtype=torch.int64), compact=compact)
            assert torch.equal(kept[index], rows)
            assert len(kept) == (len(set(rows.tolist())) if compact else 20)
            summed = gradient.new_zeros((len(kept), 4)).index_add_(0, index, gradient)
            table.step(kept, summed, None if compact else index, 0.1, step)
        results.append((table.weight_VE, *table.state.values()))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-14)


def test_two_passes_of_a_step_add_up_and_one_without_loss_counts_not() -> None:
    networks = made(), made()
    optimisers = [optimiser_of(network, learning_rate=0.1) for network in networks]
    both = torch.cat([slots(1), slots(2)])
    label = LABEL.double()
    for _ in range(3):
        logit, _ = networks[0](both)
        optimisers[0].step(click_loss(logit[:6], label) + click_loss(logit[6:], label))
        one, _ = networks[1](slots(1))
        other, _ = networks[1](slots(2))
        networks[1](slots(7))
        optimisers[1].step(click_loss(one, label) + click_loss(other, label))
    for name, value in networks[0].state_dict().items():
        torch.testing.assert_close(networks[1].state_dict()[name], value, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_a_restored_state_goes_on_bit_by_bit(kind: Kind) -> None:
    network = made(torch.float32)
    optimiser = optimiser_of(network, kind)
    for step in range(4):
        optimiser.step(loss_of(network, slots(step)))
    weights, state = state_of(network), {name: value.clone() for name, value in optimiser.state_dict().items()}
    for step in range(4, 9):
        optimiser.step(loss_of(network, slots(step)))
    resumed = made(torch.float32)
    other = optimiser_of(resumed, kind)
    resumed.load_state_dict(weights)
    other.load_state_dict(state)
    for step in range(4, 9):
        other.step(loss_of(resumed, slots(step)))
    for name, value in network.state_dict().items():
        assert torch.equal(resumed.state_dict()[name], value)
    with pytest.raises(ValueError, match="of the same shapes"):
        other.load_state_dict({"steps_done": torch.tensor(1)})


@pytest.mark.parametrize("kind", KINDS)
def test_a_trial_leaves_nothing_behind(kind: Kind) -> None:
    network = made(torch.float32)
    optimiser = optimiser_of(network, kind)
    for step in range(3):
        optimiser.step(loss_of(network, slots(step)))
    weights, state = state_of(network), {name: value.clone() for name, value in optimiser.state_dict().items()}
    with optimiser.trial(1e-3):
        for step in range(6):
            optimiser.step(loss_of(network, slots(step)))
        assert not torch.equal(network.prediction.weight, weights["prediction.weight"])
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())
    assert all(torch.equal(value, state[name]) for name, value in optimiser.state_dict().items())


def test_gradients_of_all_processes_are_added_up() -> None:
    class Twins:
        """Two processes that hold the same rows."""

        rank, world = 0, 2

        def dense(self, gradients: list[torch.Tensor]) -> None:
            for gradient in gradients:
                gradient.mul_(2)

        def rows(self, rows_N: torch.Tensor, gradient_NE: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
            return torch.cat([rows_N, rows_N]), torch.cat([gradient_NE, gradient_NE])

        def first(self, numbers: list[float]) -> list[float]:
            return numbers

    alone, together = made(), made()
    single, twin = optimiser_of(alone), optimiser_of(together)
    for step in range(5):
        single.step(2 * loss_of(alone, slots(step)))
        twin.step(loss_of(together, slots(step)), Twins())
    for name, value in alone.state_dict().items():
        torch.testing.assert_close(together.state_dict()[name], value, rtol=1e-10, atol=1e-12)


def test_released_parameters_have_their_own_memory_and_gradients_of_their_own() -> None:
    network = made()
    optimiser = optimiser_of(network)
    optimiser.step(loss_of(network, slots(0)))
    weights = state_of(network)
    optimiser.release()
    assert len({parameter.untyped_storage().data_ptr() for parameter in network.parameters()}) == len(
        list(network.parameters())
    )
    assert all(torch.equal(value, weights[name]) for name, value in network.state_dict().items())
    loss_of(network, slots(0)).backward()
    assert network.module.embedding.table.weight.grad is not None
    assert network.module.embedding.captured == []


def test_frozen_parameters_stay() -> None:
    network = made()
    network.prediction.requires_grad_(False)
    before = network.prediction.weight.clone()
    optimiser = optimiser_of(network)
    optimiser.step(loss_of(network, slots(0)))
    assert torch.equal(network.prediction.weight, before)


def test_learning_rate_falls_linearly_to_two_percent() -> None:
    network = torch.nn.Linear(1, 1, bias=False)
    optimiser = Optimiser(network, learning_rate=1.0, embedding_l2=0.0, steps=50)
    weights = [float(network.weight)]
    for _ in range(50):
        # A constant gradient moves Adam by exactly its learning rate.
        optimiser.step(network.weight.sum())
        weights.append(float(network.weight))
    moved = [before - after for before, after in pairwise(weights)]
    assert abs(moved[0] - 1.0) < 1e-3
    assert abs(moved[-1] - 0.02) < 1e-3
    falls = [before - after for before, after in pairwise(moved)]
    assert max(falls) - min(falls) < 1e-3


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("kind", KINDS)
def test_a_gpu_steps_as_the_cpu_does(kind: Kind) -> None:
    cpu, gpu = made(), made().cuda()
    optimisers = optimiser_of(cpu, kind), optimiser_of(gpu, kind)
    for step in range(8):
        optimisers[0].step(loss_of(cpu, slots(step)))
        optimisers[1].step(click_loss(gpu(slots(step).cuda())[0], LABEL.cuda().double()))
    for name, value in cpu.state_dict().items():
        torch.testing.assert_close(gpu.state_dict()[name].cpu(), value, rtol=1e-9, atol=1e-12)
