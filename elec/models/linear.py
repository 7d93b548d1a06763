"""Linear layers with the first weights that all networks here start from."""

from torch import nn


def linear(size: int, width: int, *, bias: bool = True) -> nn.Linear:
    """A linear layer: weights normal as Glorot and Bengio have them (AISTATS 2010), bias zero.

    Args:
        size: Width of the input.
        width: Of the output.
        bias: Whether there is one.
    """
    layer = nn.Linear(size, width, bias=bias)
    nn.init.xavier_normal_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer
