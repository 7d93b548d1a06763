"""The dense half of every module by itself: compiled, in bfloat16, for any batch."""

from collections.abc import Iterator

import pytest
import torch

from elec.models import CollaborativeModule, collaborative_module, vanilla_network
from tests.models.reference import FIELDS, SPECS, VECTOR, slots_of, vectors_of


@pytest.fixture(params=SPECS)
def module(request: pytest.FixtureRequest) -> Iterator[CollaborativeModule]:
    torch.manual_seed(2)
    yield collaborative_module(FIELDS, SPECS[request.param], VECTOR)
    torch.compiler.reset()


def fields_of(module: CollaborativeModule, rows: int) -> torch.Tensor:
    return torch.randn(rows, module.fields_count, module.embedding.table.embedding_dim, requires_grad=True)


@pytest.mark.parametrize("dynamic", [False, True])
def test_is_one_graph_that_gives_the_same(module: CollaborativeModule, dynamic: bool) -> None:
    # The graph is captured and differentiated as for the compiler; only the code that it would write is left out.
    compiled = torch.compile(module.interact, fullgraph=True, dynamic=dynamic, backend="aot_eager")
    for rows in (5, 9):
        x_BFE = fields_of(module, rows)
        results = []
        for interact in (module.interact, compiled):
            representation_BD, wide_B = interact(x_BFE)
            total = representation_BD.sum() + (0.0 if wide_B is None else wide_B.square().sum())
            results.append((representation_BD, wide_B, *torch.autograd.grad(total, (x_BFE, *module.deep.parameters()))))
        torch.testing.assert_close(*results)


def test_computes_in_bfloat16(module: CollaborativeModule) -> None:
    x_BFE = fields_of(module, 64)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        representation_BD, wide_B = module.interact(x_BFE)
    expected_BD, expected_B = module.interact(x_BFE)
    assert not torch.equal(representation_BD, expected_BD)
    assert float((representation_BD - expected_BD).norm() / expected_BD.norm()) < 0.02
    if expected_B is not None:
        torch.testing.assert_close(wide_B, expected_B)
    representation_BD.float().sum().backward()
    assert all(parameter.grad is not None for parameter in module.deep.parameters())


@pytest.mark.parametrize("name", SPECS)
def test_what_follows_a_bfloat16_interaction_is_float32(name: str) -> None:
    torch.manual_seed(2)
    network = vanilla_network(FIELDS, SPECS[name], VECTOR)
    plain, given = network.module.interact, (torch.from_numpy(slots_of(64)), torch.from_numpy(vectors_of(64)))
    expected_B, _ = network(*given)
    network.module.interact = torch.autocast("cpu", dtype=torch.bfloat16)(plain)  # type: ignore[method-assign]
    logit_B, representation_BD = network(*given)
    assert logit_B.dtype == representation_BD.dtype == torch.float32
    torch.testing.assert_close(logit_B, expected_B, rtol=0, atol=0.05)
    logit_B.sum().backward()
    assert all(parameter.grad is not None and parameter.grad.dtype == torch.float32 for parameter in network.parameters())
