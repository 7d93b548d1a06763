"""DNN: the embeddings side by side into a deep network, no explicit crosses."""

from collections.abc import Sequence
from typing import ClassVar

import torch

from elec.models.field import Field
from elec.models.interface import CollaborativeModule, ModuleOutput
from elec.models.mlp import mlp
from elec.models.share import Share, deep_beyond
from elec.spec.learning import ModelSpec


class DNN(CollaborativeModule):
    """Embedding, deep network.

    Args:
        fields: The encoded fields.
        spec: Its sizes.
        vector_size: Dimensions of the text vectors; 0 for none.
    """

    splits: ClassVar[bool] = True

    def __init__(self, fields: Sequence[Field], spec: ModelSpec, vector_size: int = 0) -> None:
        super().__init__(fields, spec.embedding, vector_size)
        size = self.fields_count * spec.embedding
        self.deep = mlp(size, spec.deep, spec.dropout)
        self._representation_size = spec.deep[-1] if spec.deep else size

    @property
    def representation_size(self) -> int:
        """Width of the last deep layer."""
        return self._representation_size

    def interact(self, x_BFE: torch.Tensor) -> ModuleOutput:
        """Turns the fields' vectors into the representation."""
        return ModuleOutput(self.deep(x_BFE.flatten(start_dim=1)), None)

    def affine(self, x_BGE: torch.Tensor, share: Share) -> tuple[torch.Tensor, ...]:
        """The first deep layer's sums."""
        return share.deep(self.deep, x_BGE)

    def beyond(self, parts: Sequence[torch.Tensor]) -> ModuleOutput:
        """The other deep layers."""
        (first_BH,) = parts
        return ModuleOutput(deep_beyond(self.deep, first_BH), None)
