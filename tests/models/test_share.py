"""The first layers are affine in the fields: what the fields contribute adds up, in whatever groups they come."""

import pytest
import torch

from elec.models import DNN, collaborative_module
from elec.models.share import Share
from elec.spec.learning import ModelSpec
from tests.models.reference import FIELDS, SPECS, VECTOR, network_of, slots_of, vectors_of

#: No hidden layer at all, and attention without a deep network beside it.
ALL = SPECS | {
    "dnn_of_no_layers": ModelSpec(name="dnn", embedding=8, deep=()),
    "deepfm_of_no_layers": ModelSpec(name="deepfm", embedding=8, deep=()),
    "autoint_alone": ModelSpec(name="autoint", embedding=8, attention_size=8, deep=()),
    "dcnv2_of_three_crosses": ModelSpec(embedding=8, deep=(), cross_layers=3, structure="parallel"),
}


@pytest.mark.parametrize("name", ALL)
@pytest.mark.parametrize("groups", [[(0, 1, 2, 3, 4)], [(2, 4), (0, 1, 3)], [(3,), (0,), (4, 1), (2,)]])
def test_contributions_add_up_to_the_whole(name: str, groups: list[tuple[int, ...]]) -> None:
    module = network_of(ALL[name]).module
    x_BFE = module.embedding(torch.from_numpy(slots_of(20)))
    shares = [Share(group, len(FIELDS), bias=at == 0) for at, group in enumerate(groups)]
    contributions = [module.affine(x_BFE[:, list(share.fields)], share) for share in shares]
    found_BD, found_B = module.beyond([sum(parts[1:], parts[0]) for parts in zip(*contributions, strict=True)])
    expected_BD, expected_B = module.interact(x_BFE)
    torch.testing.assert_close(found_BD, expected_BD)
    assert (found_B is None) is (expected_B is None)
    if expected_B is not None:
        torch.testing.assert_close(found_B, expected_B)


def test_text_vectors_contribute_by_user_item_and_pair() -> None:
    module = network_of(SPECS["dcnv2_stacked"], VECTOR).module
    text_vectors = module.text_vectors
    assert text_vectors is not None
    vectors_B2V = torch.from_numpy(vectors_of(20)).double()
    # Users and items that are not known are among them.
    assert (vectors_B2V.square().sum(dim=2) == 0).any(dim=0).all()
    user_BV, item_BV = vectors_B2V.unbind(dim=1)
    found_B4E = torch.zeros(20, 4, 8, dtype=torch.float64)
    found_B4E[:, [0, 2, 3]] += text_vectors.of_user(user_BV)
    found_B4E[:, [1, 3]] += text_vectors.of_item(item_BV)
    found_B4E[:, [2, 3]] += text_vectors.of_pair(user_BV, item_BV)
    torch.testing.assert_close(found_B4E, text_vectors(vectors_B2V))


def test_a_module_without_the_two_parts_says_so() -> None:
    class Whole(DNN):
        splits = False
        affine = DNN.__mro__[1].affine
        beyond = DNN.__mro__[1].beyond

    module = Whole(FIELDS, SPECS["dnn"])
    x_BFE = module.embedding(torch.from_numpy(slots_of(2)))
    with pytest.raises(NotImplementedError, match="Whole does not split"):
        module.affine(x_BFE, Share.everything(len(FIELDS)))
    with pytest.raises(NotImplementedError, match="Whole does not split"):
        module.beyond([x_BFE])
    assert all(collaborative_module(FIELDS, spec).splits for spec in SPECS.values())
