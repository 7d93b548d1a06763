"""DCNv2: explicit feature crosses beside, or below, a deep network (Wang et al., WWW 2021, arXiv 2008.13535)."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn

from elec.models.field import Field
from elec.models.interface import CollaborativeModule, ModuleOutput
from elec.models.linear import linear
from elec.models.mlp import mlp
from elec.models.share import Share, deep_beyond
from elec.spec.learning import ModelSpec


class CrossNetwork(nn.Module):
    """Cross layers: x_{l+1} = x_0 * (W_l x_l + b_l) + x_l (Eq. 1 of the DCNv2 paper).

    With a rank, W_l = U_l V_l^T, both of that many columns (its low-rank form).

    Args:
        size: Width of x.
        layers: How many.
        rank: Of the matrices; full when left out.
    """

    def __init__(self, size: int, layers: int, rank: int | None = None) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_cross_matrix(size, rank) for _ in range(layers))

    def forward(self, x0_BD: torch.Tensor) -> torch.Tensor:
        """Crosses x_0 with itself, once a layer; the shape stays."""
        x_BD = x0_BD
        for layer in self.layers:
            x_BD = torch.addcmul(x_BD, x0_BD, layer(x_BD))
        return x_BD

    def beyond(self, x0_BD: torch.Tensor, factor_BD: torch.Tensor) -> torch.Tensor:
        """What `forward` gives, from the first layer's result on.

        Every x_l is x_0 * f_l with f_0 = 1 and f_{l+1} = f_l + W_l x_l + b_l, which is a product less a layer.

        Args:
            x0_BD: x_0.
            factor_BD: f_1.
        """
        for layer in list(self.layers)[1:]:
            factor_BD = factor_BD + layer(x0_BD * factor_BD)
        return x0_BD * factor_BD


class DCNv2(CollaborativeModule):
    """Embedding, cross network, deep network.

    `stacked` feeds the crosses to the deep network; `parallel` gives both the embedding and joins their outputs.

    Args:
        fields: The encoded fields.
        spec: Its sizes.
        vector_size: Dimensions of the text vectors; 0 for none.
    """

    splits: ClassVar[bool] = True

    def __init__(self, fields: Sequence[Field], spec: ModelSpec, vector_size: int = 0) -> None:
        super().__init__(fields, spec.embedding, vector_size)
        size = self.fields_count * spec.embedding
        self.cross = CrossNetwork(size, spec.cross_layers, spec.cross_rank)
        self.deep = mlp(size, spec.deep, spec.dropout)
        self.parallel = spec.structure == "parallel"
        deep_size = spec.deep[-1] if spec.deep else size
        self._representation_size = deep_size + (size if self.parallel else 0)

    @property
    def representation_size(self) -> int:
        """Width of the last deep layer, with the crosses' beside it when parallel."""
        return self._representation_size

    def interact(self, x_BFE: torch.Tensor) -> ModuleOutput:
        """Turns the fields' vectors into the representation."""
        x0_BD = x_BFE.flatten(start_dim=1)
        crossed_BD = self.cross(x0_BD)
        if self.parallel:
            return ModuleOutput(torch.cat([crossed_BD, self.deep(x0_BD)], dim=1), None)
        return ModuleOutput(self.deep(crossed_BD), None)

    def affine(self, x_BGE: torch.Tensor, share: Share) -> tuple[torch.Tensor, ...]:
        """Every field's vector, the first cross layer's factor, and when parallel the first deep layer's sums."""
        factor_BD = share.linear(self.cross.layers[0], x_BGE, more=1.0)
        deep = share.deep(self.deep, x_BGE) if self.parallel else ()
        return share.placed(x_BGE).flatten(start_dim=1), factor_BD, *deep

    def beyond(self, parts: Sequence[torch.Tensor]) -> ModuleOutput:
        """The other cross layers, and the deep ones."""
        x0_BD, factor_BD, *deep = parts
        crossed_BD = self.cross.beyond(x0_BD, factor_BD)
        if self.parallel:
            return ModuleOutput(torch.cat([crossed_BD, deep_beyond(self.deep, deep[0])], dim=1), None)
        return ModuleOutput(self.deep(crossed_BD), None)


def _cross_matrix(size: int, rank: int | None) -> nn.Module:
    if rank is None:
        return linear(size, size)
    # V_l^T x_l has no bias of its own.
    return nn.Sequential(linear(size, rank, bias=False), linear(rank, size))
