"""The deep half that most collaborative modules share."""

from collections.abc import Sequence
from itertools import pairwise

from torch import nn

from elec.models.dropout import Dropout
from elec.models.linear import linear


def mlp(size: int, layers: Sequence[int], dropout: float) -> nn.Sequential:
    """Linear layers with ReLU, and dropout after each.

    Args:
        size: Width of the input.
        layers: Widths of the layers; none gives the identity.
        dropout: Share of units dropped in training.
    """
    stack: list[nn.Module] = []
    for before, after in pairwise([size, *layers]):
        stack += [linear(before, after), nn.ReLU()]
        if dropout > 0:
            stack.append(Dropout(dropout))
    return nn.Sequential(*stack)
