"""DeepFM: a factorisation machine beside a deep network on the same embeddings (Guo et al., IJCAI 2017, arXiv 1703.04247)."""

from collections.abc import Sequence
from typing import ClassVar

import torch

from elec.models.field import Field
from elec.models.interface import CollaborativeModule, ModuleOutput
from elec.models.mlp import mlp
from elec.models.share import Share, deep_beyond
from elec.spec.learning import ModelSpec


class DeepFM(CollaborativeModule):
    """Embedding, factorisation machine, deep network.

    The logit is y_FM + y_DNN (Eq. 1). y_FM = <w, x> + sum_{i<j} <v_i, v_j> (Eq. 2) is the wide logit; y_DNN is what the
    prediction layer makes of the representation, and the constant is its bias. The first-order weights w are the last column
    of the table, so that one gather reads both orders. A multi-valued field counts as one: the mean of its values' v and w.

    Args:
        fields: The encoded fields.
        spec: Its sizes.
        vector_size: Dimensions of the text vectors; 0 for none.
    """

    splits: ClassVar[bool] = True

    def __init__(self, fields: Sequence[Field], spec: ModelSpec, vector_size: int = 0) -> None:
        super().__init__(fields, spec.embedding + 1, vector_size)
        size = self.fields_count * spec.embedding
        self.deep = mlp(size, spec.deep, spec.dropout)
        self._representation_size = spec.deep[-1] if spec.deep else size

    @property
    def representation_size(self) -> int:
        """Width of the last deep layer."""
        return self._representation_size

    def interact(self, x_BFE: torch.Tensor) -> ModuleOutput:
        """Turns the fields' vectors, first-order weights last, into the representation and the wide logit."""
        first_BF, v_BFE = x_BFE[..., -1], x_BFE[..., :-1]
        # sum_{i<j} <v_i, v_j> = (|sum_i v_i|^2 - sum_i |v_i|^2) / 2: linear in the fields (Rendle, ICDM 2010, Lemma 3.1).
        second_B = 0.5 * (v_BFE.sum(dim=1).square().sum(dim=1) - v_BFE.square().sum(dim=(1, 2)))
        return ModuleOutput(self.deep(v_BFE.flatten(start_dim=1)), first_BF.sum(dim=1) + second_B)

    def affine(self, x_BGE: torch.Tensor, share: Share) -> tuple[torch.Tensor, ...]:
        """The sum of the first-order weights, every field's vector, and the first deep layer's sums."""
        first_BG, v_BGE = x_BGE[..., -1], x_BGE[..., :-1]
        v_BD = share.placed(v_BGE).flatten(start_dim=1)
        return first_BG.sum(dim=1, keepdim=True), v_BD, *share.deep(self.deep, v_BGE)

    def beyond(self, parts: Sequence[torch.Tensor]) -> ModuleOutput:
        """The second order, and the other deep layers."""
        first_B1, v_BD, deep_BH = parts
        v_BFE = v_BD.reshape(len(v_BD), self.fields_count, -1)
        second_B = 0.5 * (v_BFE.sum(dim=1).square().sum(dim=1) - v_BD.square().sum(dim=1))
        return ModuleOutput(deep_beyond(self.deep, deep_BH), first_B1.squeeze(1) + second_B)
