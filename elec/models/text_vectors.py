"""Precomputed text vectors of user and item, as fields beside the tabular ones."""

import torch
from torch import nn
from torch.nn import functional

from elec.models.linear import linear

#: Fields that a user's and an item's vector become.
PSEUDO_FIELDS = 4

#: Positions among them to which the user alone, the item alone, and only both together contribute.
USER_FIELDS, ITEM_FIELDS, PAIR_FIELDS = (0, 2, 3), (1, 3), (2, 3)


class TextVectors(nn.Module):
    """Turns [user vector, item vector] into four pseudo-fields, so that every collaborative module reads them as fields.

    They are linear maps of the user's vector, of the item's, of their product, and of [cosine, user known, item known]. An
    all-zero vector means unknown: its cosine with any other is 0.

    Args:
        vector_size: Dimensions V of a vector.
        size: Width E of a field's embedding.
    """

    def __init__(self, vector_size: int, size: int) -> None:
        super().__init__()
        self.user = linear(vector_size, size)
        self.item = linear(vector_size, size)
        self.product = linear(vector_size, size)
        self.match = linear(3, size)

    def forward(self, vectors_B2V: torch.Tensor) -> torch.Tensor:
        """Reads vectors_B2V as x_B4E, the pseudo-fields."""
        user_BV, item_BV = vectors_B2V.unbind(dim=1)
        squares_B2 = vectors_B2V.square().sum(dim=2)
        known_B2 = squares_B2 > 0
        # An unknown vector is divided by 1: the cosine is then 0 / 1, and no gradient passes through a root at 0.
        lengths_B2 = torch.where(known_B2, squares_B2, 1.0).sqrt()
        product_BV = user_BV * item_BV
        cosine_B1 = product_BV.sum(dim=1, keepdim=True) / lengths_B2.prod(dim=1, keepdim=True)
        match_B3 = torch.cat([cosine_B1, known_B2.to(cosine_B1.dtype)], dim=1)
        return torch.stack([self.user(user_BV), self.item(item_BV), self.product(product_BV), self.match(match_B3)], dim=1)

    def of_user(self, user_BV: torch.Tensor) -> torch.Tensor:
        """The user's contribution to the pseudo-fields `USER_FIELDS`, with the constants of those of the pair."""
        known_B1 = user_BV.square().sum(dim=1, keepdim=True).gt(0).to(user_BV.dtype)
        product_BE = self.product.bias.expand(len(user_BV), -1)
        match_BE = functional.linear(known_B1, self.match.weight[:, 1:2], self.match.bias)
        return torch.stack([self.user(user_BV), product_BE, match_BE], dim=1)

    def of_item(self, item_BV: torch.Tensor) -> torch.Tensor:
        """The item's contribution to the pseudo-fields `ITEM_FIELDS`."""
        known_B1 = item_BV.square().sum(dim=1, keepdim=True).gt(0).to(item_BV.dtype)
        return torch.stack([self.item(item_BV), functional.linear(known_B1, self.match.weight[:, 2:3])], dim=1)

    def of_pair(self, user_BV: torch.Tensor, item_BV: torch.Tensor) -> torch.Tensor:
        """What only both together contribute, to the pseudo-fields `PAIR_FIELDS`; the user may be one for all items."""
        lengths_B1 = [_length(vector_BV.square().sum(dim=1, keepdim=True)) for vector_BV in (user_BV, item_BV)]
        product_BV = user_BV * item_BV
        cosine_B1 = product_BV.sum(dim=1, keepdim=True) / (lengths_B1[0] * lengths_B1[1])
        product_BE = functional.linear(product_BV, self.product.weight)
        return torch.stack([product_BE, functional.linear(cosine_B1, self.match.weight[:, 0:1])], dim=1)


def _length(squares: torch.Tensor) -> torch.Tensor:
    return torch.where(squares > 0, squares, 1.0).sqrt()
