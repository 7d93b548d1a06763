"""A vanilla network in two halves, for its first layers are affine in the fields: state = request's share + item's share.

The item's half gives an item's state, once an item. The request's half gives the share of the user and the context, once a
request, adds the two and goes on to the probability. Each half holds the rows of the embedding table that its own fields read.
"""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn import functional

from elec.models import CollaborativeModule, Embedding, Field, TextVectors, VanillaNetwork
from elec.models.share import Share
from elec.models.text_vectors import ITEM_FIELDS, PAIR_FIELDS, USER_FIELDS


class ItemHalf(nn.Module):
    """An item's fields, and its text vector where the network reads one, to its state.

    Args:
        network: The trained network.
        fields: All its fields, in the order of their slots.
        items: Which of them are the item's.
    """

    def __init__(self, network: VanillaNetwork, fields: Sequence[Field], items: Sequence[int]) -> None:
        super().__init__()
        self.module = network.module
        self.embedding = _part(network.module, fields, items)
        self.share = _share(network.module, fields, items, ITEM_FIELDS, bias=False)

    def forward(self, items_NI: torch.Tensor, vectors_NV: torch.Tensor | None = None) -> torch.Tensor:
        """Turns the item fields' ids into states_NK; a text vector stands at a state's end as it is."""
        x_NGE = self.embedding(items_NI)
        if vectors_NV is None:
            return torch.cat(self.module.affine(x_NGE, self.share), dim=1)
        x_NGE = torch.cat([x_NGE, _text_vectors(self.module).of_item(vectors_NV)], dim=1)
        return torch.cat([*self.module.affine(x_NGE, self.share), vectors_NV], dim=1)


class RequestHalf(nn.Module):
    """The request's fields, once or for every row, and the items' states to probabilities.

    Args:
        network: The trained network.
        fields: All its fields, in the order of their slots.
        requests: Which of them are not the item's.
    """

    def __init__(self, network: VanillaNetwork, fields: Sequence[Field], requests: Sequence[int]) -> None:
        super().__init__()
        self.module, self.prediction = network.module, network.prediction
        self.embedding = _part(network.module, fields, requests)
        self.share = _share(network.module, fields, requests, USER_FIELDS, bias=True)
        count = network.module.fields_count
        self.pair = Share(tuple(len(fields) + place for place in PAIR_FIELDS), count, bias=False)

    def forward(
        self, requests_MR: torch.Tensor, states_NK: torch.Tensor, row_N: torch.Tensor, vectors_MV: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Turns ids and states into probability_N.

        Args:
            requests_MR: Ids of the request's fields.
            states_NK: Of the items.
            row_N: The request of each item.
            vectors_MV: The users' text vectors, where the network reads them.
        """
        x_MGE = self.embedding(requests_MR)
        if vectors_MV is not None:
            x_MGE = torch.cat([x_MGE, _text_vectors(self.module).of_user(vectors_MV)], dim=1)
        parts_MH = self.module.affine(x_MGE, self.share)
        widths = [part_MH.shape[1] for part_MH in parts_MH]
        sums_NK = functional.embedding(row_N, torch.cat(parts_MH, dim=1)) + states_NK[:, : sum(widths)]
        parts_NH = torch.split(sums_NK, widths, dim=1)
        if vectors_MV is not None:
            x_N2E = _text_vectors(self.module).of_pair(functional.embedding(row_N, vectors_MV), states_NK[:, sum(widths) :])
            pair_NH = self.module.affine(x_N2E, self.pair)
            parts_NH = tuple(part_NH + more_NH for part_NH, more_NH in zip(parts_NH, pair_NH, strict=True))
        representation_ND, wide_N = self.module.beyond(parts_NH)
        logit_N = self.prediction(representation_ND).squeeze(1)
        return torch.sigmoid(logit_N if wide_N is None else logit_N + wide_N)


def _share(
    module: CollaborativeModule, fields: Sequence[Field], chosen: Sequence[int], pseudo: Sequence[int], *, bias: bool
) -> Share:
    behind = pseudo if module.text_vectors is not None else ()
    return Share((*chosen, *(len(fields) + place for place in behind)), module.fields_count, bias)


def _part(module: CollaborativeModule, fields: Sequence[Field], chosen: Sequence[int]) -> Embedding:
    """The embedding of some of the fields alone."""
    whole = module.embedding.table.weight.detach()
    parts = torch.split(whole, [field.size for field in fields])
    part = Embedding([fields[place] for place in chosen], whole.shape[1])
    part.table.weight = nn.Parameter(torch.cat([parts[place] for place in chosen]), requires_grad=False)
    return part.eval()


def _text_vectors(module: CollaborativeModule) -> TextVectors:
    assert module.text_vectors is not None
    return module.text_vectors
