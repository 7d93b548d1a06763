"""Precomputed text vectors of user and item, as fields beside the tabular ones."""

import torch
from torch import nn

from elec.models.linear import linear

#: Fields that a user's and an item's vector become.
PSEUDO_FIELDS = 4


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
