"""DCNv2: explicit feature crosses beside, or below, a deep network (Wang et al., WWW 2021, arXiv 2008.13535)."""

from collections.abc import Sequence

import torch
from torch import nn

from elec.models.embedding import Embedding
from elec.models.interface import CollaborativeModule, Field
from elec.models.mlp import mlp
from elec.spec.run import ModelSpec


class CrossNetwork(nn.Module):
    """Full-rank cross layers: x_{l+1} = x_0 * (W_l x_l + b_l) + x_l (Eq. 1 of the DCNv2 paper).

    Args:
        size: Width of x.
        layers: How many.
    """

    def __init__(self, size: int, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(size, size) for _ in range(layers))
        for layer in self.layers:
            assert isinstance(layer, nn.Linear)
            nn.init.xavier_normal_(layer.weight)
            nn.init.zeros_(layer.bias)

    def forward(self, x0_BD: torch.Tensor) -> torch.Tensor:
        """Crosses x_0 with itself, once a layer; the shape stays."""
        x_BD = x0_BD
        for layer in self.layers:
            x_BD = torch.addcmul(x_BD, x0_BD, layer(x_BD))
        return x_BD


class DCNv2(CollaborativeModule):
    """Embedding, cross network, deep network.

    `stacked` feeds the crosses to the deep network; `parallel` gives both the embedding and joins their outputs.

    Args:
        fields: The encoded fields.
        spec: Its sizes.
    """

    def __init__(self, fields: Sequence[Field], spec: ModelSpec) -> None:
        super().__init__()
        self.embedding = Embedding(fields, spec.embedding)
        self.cross = CrossNetwork(self.embedding.output_size, spec.cross_layers)
        self.deep = mlp(self.embedding.output_size, spec.deep, spec.dropout)
        self.parallel = spec.structure == "parallel"
        deep_size = spec.deep[-1] if spec.deep else self.embedding.output_size
        self._representation_size = deep_size + (self.embedding.output_size if self.parallel else 0)

    @property
    def representation_size(self) -> int:
        """Width of the last deep layer, with the crosses' beside it when parallel."""
        return self._representation_size

    def forward(self, slots_BS: torch.Tensor) -> torch.Tensor:
        """Turns ids_BS into representation_BD."""
        x0_BD = self.embedding(slots_BS)
        crossed_BD = self.cross(x0_BD)
        if self.parallel:
            return torch.cat([crossed_BD, self.deep(x0_BD)], dim=1)
        representation_BD: torch.Tensor = self.deep(crossed_BD)
        return representation_BD
