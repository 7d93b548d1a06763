"""AutoInt: self-attention between fields, beside a deep network (Song et al., CIKM 2019, arXiv 1810.11921)."""

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import nn
from torch.nn import functional

from elec.models.field import Field
from elec.models.interface import CollaborativeModule, ModuleOutput
from elec.models.mlp import mlp
from elec.models.share import Share, deep_beyond
from elec.spec.learning import ModelSpec


class InteractingLayer(nn.Module):
    """Multi-head self-attention over fields with a residual map (Eq. 5 to 8 of the AutoInt paper).

    The weight of field k for field m is the softmax of <W_Query e_m, W_Key e_k>, without the scaling that Transformers have;
    the output is ReLU(heads side by side + W_Res e_m).

    Args:
        size: Width of a field's vector.
        heads: How many.
        width: Of all heads together, a multiple of `heads`.
    """

    def __init__(self, size: int, heads: int, width: int) -> None:
        super().__init__()
        if width % heads:
            raise ValueError(f"{heads} heads cannot share a width of {width}")
        self.heads = heads
        # Query, key, value and residual in one product.
        self.projection = nn.Linear(size, 4 * width, bias=False)
        for weight in self.projection.weight.detach().chunk(4):
            nn.init.xavier_normal_(weight)

    def forward(self, x_BFE: torch.Tensor) -> torch.Tensor:
        """Lets every field's vector attend to all others; the result is x_BFA, A wide."""
        return self.attend(self.projection(x_BFE))

    def attend(self, projected_BFP: torch.Tensor) -> torch.Tensor:
        """The same from the fields' queries, keys, values and residuals, side by side."""
        query_BFA, key_BFA, value_BFA, residual_BFA = projected_BFP.chunk(4, dim=2)
        query_BHFK, key_BHFK, value_BHFK = (
            part_BFA.unflatten(2, (self.heads, -1)).transpose(1, 2)  # type: ignore[no-untyped-call]
            for part_BFA in (query_BFA, key_BFA, value_BFA)
        )
        attended_BHFK = functional.scaled_dot_product_attention(query_BHFK, key_BHFK, value_BHFK, scale=1.0)
        return torch.relu(attended_BHFK.transpose(1, 2).flatten(start_dim=2) + residual_BFA)


class AutoInt(CollaborativeModule):
    """Embedding, interacting layers, deep network; both outputs side by side are the representation (AutoInt+).

    With no deep layers it is AutoInt alone.

    Args:
        fields: The encoded fields.
        spec: Its sizes.
        vector_size: Dimensions of the text vectors; 0 for none.
    """

    splits: ClassVar[bool] = True

    def __init__(self, fields: Sequence[Field], spec: ModelSpec, vector_size: int = 0) -> None:
        super().__init__(fields, spec.embedding, vector_size)
        widths = [spec.embedding] + [spec.attention_size] * (spec.attention_layers - 1)
        self.attention = nn.Sequential(
            *(InteractingLayer(width, spec.attention_heads, spec.attention_size) for width in widths)
        )
        self.deep = mlp(self.fields_count * spec.embedding, spec.deep, spec.dropout) if spec.deep else None
        self._representation_size = self.fields_count * spec.attention_size + (spec.deep[-1] if spec.deep else 0)

    @property
    def representation_size(self) -> int:
        """Width of the attended fields, with the last deep layer's beside it."""
        return self._representation_size

    def interact(self, x_BFE: torch.Tensor) -> ModuleOutput:
        """Turns the fields' vectors into the representation."""
        attended_BD = self.attention(x_BFE).flatten(start_dim=1)
        if self.deep is None:
            return ModuleOutput(attended_BD, None)
        return ModuleOutput(torch.cat([attended_BD, self.deep(x_BFE.flatten(start_dim=1))], dim=1), None)

    def affine(self, x_BGE: torch.Tensor, share: Share) -> tuple[torch.Tensor, ...]:
        """Every field's first projection, and the first deep layer's sums."""
        projected_BGP = self._first.projection(x_BGE)
        deep = () if self.deep is None else share.deep(self.deep, x_BGE)
        return share.placed(projected_BGP).flatten(start_dim=1), *deep

    def beyond(self, parts: Sequence[torch.Tensor]) -> ModuleOutput:
        """The attention, and the other deep layers."""
        projected_BD, *deep = parts
        attended_BFA = self._first.attend(projected_BD.reshape(len(projected_BD), self.fields_count, -1))
        attended_BD = self.attention[1:](attended_BFA).flatten(start_dim=1)
        if self.deep is None:
            return ModuleOutput(attended_BD, None)
        return ModuleOutput(torch.cat([attended_BD, deep_beyond(self.deep, deep[0])], dim=1), None)

    @property
    def _first(self) -> InteractingLayer:
        layer = self.attention[0]
        assert isinstance(layer, InteractingLayer)
        return layer
