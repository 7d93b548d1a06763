"""Every network leaves torch as ONNX, for any number of rows, and ONNX Runtime gives the same logits."""

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from elec.export.onnx_file import export_onnx
from elec.models import COLLABORATIVE_MODULES, vanilla_network
from elec.spec.learning import ModelSpec
from tests.models.reference import FIELDS, VECTOR, slots_of, vectors_of

INPUTS = ["slots", "vectors"]


class Logit(torch.nn.Module):
    """A network with one output."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, slots_BS: torch.Tensor, vectors_B2V: torch.Tensor | None = None) -> torch.Tensor:
        return self.network(slots_BS, vectors_B2V)[0]


def given(rows: int, vector_size: int) -> list[np.ndarray]:
    """Slots of the first three fields, and text vectors for a network that reads them."""
    slots = slots_of(rows)[:, : sum(field.width for field in FIELDS[:3])]
    return [slots, vectors_of(rows)] if vector_size else [slots]


@pytest.mark.parametrize("vector_size", [0, VECTOR])
@pytest.mark.parametrize("name", COLLABORATIVE_MODULES)
def test_gives_the_same_logits_for_any_batch(name: str, vector_size: int, tmp_path: Path) -> None:
    torch.manual_seed(1)
    # The exporter takes time by the node, so one layer of each kind; the two forms that differ most from the default ones.
    spec = ModelSpec(
        name=name,  # type: ignore[arg-type]
        embedding=4,
        deep=(5,),
        attention_layers=1,
        attention_size=4,
        cross_layers=1,
        cross_rank=2,
        structure="parallel",
    )
    network = vanilla_network(FIELDS[:3], spec, vector_size).eval().requires_grad_(False)
    for parameter in network.parameters():
        parameter.normal_(std=0.4)
    example = dict(zip(INPUTS, given(3, vector_size), strict=False))
    export_onnx(Logit(network).eval(), example, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    for rows in (1, 7, 100):
        arrays = given(rows, vector_size)
        (logit,) = session.run(None, dict(zip(INPUTS, arrays, strict=False)))
        expected = network(*(torch.from_numpy(array) for array in arrays))[0].numpy()
        np.testing.assert_allclose(logit, expected, rtol=0, atol=1e-5)
        assert rows == 1 or logit.std() > 0.1
