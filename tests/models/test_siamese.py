"""Gain and vanilla: same structure, nothing shared, and the vanilla network leaves torch as ONNX."""

import io
from typing import NamedTuple

import numpy as np
import pytest
import torch

from elec.models import COLLABORATIVE_MODULES, SiameseNetwork, gain_network, vanilla_network
from elec.spec.run import ModelSpec


class Column(NamedTuple):
    name: str
    width: int
    size: int
    kind: str = "categorical"


FIELDS = [
    Column("user", 1, 30),
    Column("item", 1, 40),
    Column("genres", 4, 12, "multivalued"),
    Column("tags", 3, 9, "multivalued"),
]
SPEC = ModelSpec(embedding=8, deep=(16, 12))
LLM = 10


def slots_of(rows: int) -> np.ndarray:
    generator = np.random.default_rng(rows)
    columns = [generator.integers(1, field.size, (rows, 1)) for field in FIELDS[:2]]
    for field in FIELDS[2:]:
        ids = generator.integers(1, field.size, (rows, field.width))
        ids[np.arange(field.width) >= generator.integers(1, field.width + 1, (rows, 1))] = 0
        columns.append(ids)
    return np.concatenate(columns, axis=1)


def test_every_name_of_the_spec_is_registered() -> None:
    names = ModelSpec.model_json_schema()["properties"]["name"]
    assert set(names.get("enum", [names.get("const")])) == set(COLLABORATIVE_MODULES)


def test_networks_share_no_parameter_and_agree_in_width() -> None:
    siamese = SiameseNetwork(gain_network(FIELDS, SPEC, LLM), vanilla_network(FIELDS, SPEC))
    assert not {id(p) for p in siamese.gain.parameters()} & {id(p) for p in siamese.vanilla.parameters()}
    output = siamese(torch.from_numpy(slots_of(6)), torch.randn(6, LLM))
    assert output.gain_logit_B.shape == output.vanilla_logit_B.shape == (6,)
    assert output.gain_representation_BD.shape == output.vanilla_representation_BD.shape == (6, 12)


def test_gain_listens_to_the_llm_and_vanilla_does_not() -> None:
    siamese = SiameseNetwork(gain_network(FIELDS, SPEC, LLM), vanilla_network(FIELDS, SPEC)).eval()
    slots = torch.from_numpy(slots_of(5))
    one, other = siamese(slots, torch.zeros(5, LLM)), siamese(slots, torch.ones(5, LLM))
    assert not torch.allclose(one.gain_logit_B, other.gain_logit_B)
    assert torch.equal(one.vanilla_logit_B, other.vanilla_logit_B)


def test_the_llm_representation_is_never_trained() -> None:
    gain = gain_network(FIELDS, SPEC, LLM)
    llm = torch.randn(5, LLM, requires_grad=True)
    logit, _ = gain(torch.from_numpy(slots_of(5)), llm)
    logit.sum().backward()
    assert llm.grad is None
    assert gain.aggregation.weight.grad is not None


def test_unequal_widths_are_refused() -> None:
    with pytest.raises(ValueError, match="as wide"):
        SiameseNetwork(gain_network(FIELDS, SPEC, LLM), vanilla_network(FIELDS, ModelSpec(embedding=8, deep=(16, 11))))


@pytest.mark.parametrize("structure", ["stacked", "parallel"])
def test_onnx_runtime_gives_the_same_logits_for_any_batch(structure: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    torch.manual_seed(1)
    network = vanilla_network(FIELDS, SPEC.model_copy(update={"structure": structure})).eval()
    with torch.no_grad():
        network.module.get_parameter("embedding.table.weight").normal_()
    program = torch.onnx.export(
        network,
        (torch.from_numpy(slots_of(3)),),
        dynamo=True,
        dynamic_shapes=({0: torch.export.Dim("batch")},),
        input_names=["slots"],
        output_names=["logit", "representation"],
    )
    assert program is not None
    content = io.BytesIO()
    program.save(content)
    session = onnxruntime.InferenceSession(content.getvalue(), providers=["CPUExecutionProvider"])
    for rows in (1, 7, 100):
        slots = slots_of(rows)
        logit, _ = session.run(["logit", "representation"], {"slots": slots})
        with torch.inference_mode():
            expected = network(torch.from_numpy(slots))[0].numpy()
        np.testing.assert_allclose(logit, expected, rtol=0, atol=1e-5)
