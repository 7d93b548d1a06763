"""What some of the fields contribute to the first layers, which are affine: contributions of all fields add up to the whole."""

from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional


class Share(NamedTuple):
    """Some of a module's fields.

    Attributes:
        fields: Their positions among all F fields of the module, in order.
        total: F.
        bias: Whether the layers' constants are in this contribution; they have to be in exactly one.
    """

    fields: tuple[int, ...]
    total: int
    bias: bool

    @classmethod
    def everything(cls, total: int) -> "Share":
        """All fields at once: the contribution is the layers' whole result."""
        return cls(tuple(range(total)), total, True)

    def placed(self, x_BGE: torch.Tensor) -> torch.Tensor:
        """The vectors of the share's G fields at their places among all fields, zeros elsewhere, as x_BFE."""
        if len(self.fields) == self.total:
            return x_BGE
        zero = len(self.fields)
        positions = [self.fields.index(place) if place in self.fields else zero for place in range(self.total)]
        return functional.pad(x_BGE, (0, 0, 0, 1)).index_select(1, torch.tensor(positions))

    def linear(self, layer: nn.Module, x_BGE: torch.Tensor, more: float = 0.0) -> torch.Tensor:
        """What the share's G fields contribute to a linear layer over all fields' vectors side by side.

        Args:
            layer: A linear layer, or two without anything between them (a low-rank one), of which only the last has a bias.
            x_BGE: Their vectors.
            more: Is added to every constant.
        """
        if isinstance(layer, nn.Sequential):
            first, second = layer
            assert isinstance(second, nn.Linear)
            return functional.linear(self.linear(first, x_BGE), second.weight, self._bias(second, more))
        assert isinstance(layer, nn.Linear)
        weight_HFE = layer.weight.view(len(layer.weight), self.total, -1)
        weight_HD = weight_HFE[:, list(self.fields)].flatten(start_dim=1)
        return functional.linear(x_BGE.flatten(start_dim=1), weight_HD, self._bias(layer, more))

    def _bias(self, layer: nn.Linear, more: float) -> torch.Tensor | None:
        return layer.bias + more if self.bias and layer.bias is not None else None

    def deep(self, layers: nn.Sequential, x_BGE: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The same for the first layer of a deep network; what goes into one without layers, is the fields themselves."""
        return (self.linear(layers[0], x_BGE) if len(layers) else self.placed(x_BGE).flatten(start_dim=1),)


def deep_beyond(layers: nn.Sequential, first_BH: torch.Tensor) -> torch.Tensor:
    """What a deep network makes of its first layer's sums."""
    return layers[1:](first_BH) if len(layers) else first_BH
