"""Gain and vanilla: same structure, nothing shared."""

import numpy as np
import pytest
import torch

from elec.models import COLLABORATIVE_MODULES, SiameseNetwork, gain_network, vanilla_network
from elec.spec.learning import ModelSpec
from tests.models.reference import FIELDS, VECTOR, embed, linear, slots_of, vectors_of, weights_of

SPEC = ModelSpec(embedding=8, deep=(16, 12))
LLM = 10


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


@pytest.mark.parametrize("name", COLLABORATIVE_MODULES)
@pytest.mark.parametrize("llm_size", [LLM, 0])
def test_gain_joins_the_llm_and_adds_the_wide_logit(name: str, llm_size: int) -> None:
    torch.manual_seed(4)
    spec = ModelSpec(name=name, embedding=4, deep=(7, 5), attention_size=6)  # type: ignore[arg-type]
    gain = gain_network(FIELDS, spec, llm_size, VECTOR).double().eval()
    slots, vectors = torch.from_numpy(slots_of(6)), torch.from_numpy(vectors_of(6)).double()
    llm = torch.randn(6, llm_size, dtype=torch.float64)
    logit, representation = gain(slots, llm, vectors)
    tabular, wide = gain.module(slots, vectors)
    weights = weights_of(gain)
    joined = np.concatenate([tabular.detach().numpy(), llm.numpy()], axis=1)
    expected = np.maximum(linear(weights, "aggregation", joined), 0)
    np.testing.assert_allclose(representation.detach().numpy(), expected, rtol=1e-12, atol=1e-12)
    x = embed(weights, slots.numpy(), vectors.numpy())
    products = [row[i, :-1] @ row[j, :-1] for row in x for i in range(len(row)) for j in range(i)]
    fm = x[:, :, -1].sum(axis=1) + np.reshape(products, (6, -1)).sum(axis=1)
    assert (wide is not None) == (name == "deepfm")
    predicted = linear(weights, "prediction", expected)[:, 0] + (fm if name == "deepfm" else 0.0)
    np.testing.assert_allclose(logit.detach().numpy(), predicted, rtol=1e-12, atol=1e-12)


def test_both_networks_read_the_text_vectors() -> None:
    siamese = SiameseNetwork(gain_network(FIELDS, SPEC, LLM, VECTOR), vanilla_network(FIELDS, SPEC, VECTOR)).eval()
    slots, vectors, llm = torch.from_numpy(slots_of(5)), torch.from_numpy(vectors_of(5)), torch.zeros(5, LLM)
    one, other = siamese(slots, llm, vectors), siamese(slots, llm, vectors.flip(0))
    assert not torch.allclose(one.gain_logit_B, other.gain_logit_B)
    assert not torch.allclose(one.vanilla_logit_B, other.vanilla_logit_B)
