"""What a collaborative module has to give, and what all of them do alike: turning a row into one vector a field."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import torch
from torch import nn

from elec.models.embedding import Embedding
from elec.models.field import Field
from elec.models.share import Share
from elec.models.text_vectors import PSEUDO_FIELDS, TextVectors


class ModuleOutput(NamedTuple):
    """What a collaborative module says of a batch.

    Attributes:
        representation_BD: The high-level representation, for the prediction layer.
        wide_B: A logit that bypasses the prediction layer; None for a module that has none.
    """

    representation_BD: torch.Tensor
    wide_B: torch.Tensor | None


class CollaborativeModule(nn.Module, ABC):
    """The tabular half of a network: ids in, high-level representation out.

    The prediction layer is not part of it: the vanilla network puts one on the representation itself, the gain network on
    the representation joined with the M-LLM's. The table is not part of `interact`, which can be compiled and run in
    bfloat16 by itself.

    Args:
        fields: The encoded fields, in the order of their slots.
        size: Width E of a field's embedding.
        vector_size: Dimensions V of the text vectors; 0 for a module that reads none.

    Attributes:
        splits: Whether it has `affine` and `beyond`, so that in service an item's part is computed once an item. A module
            without them serves whole.
    """

    splits: ClassVar[bool] = False

    def __init__(self, fields: Sequence[Field], size: int, vector_size: int = 0) -> None:
        super().__init__()
        self.embedding = Embedding(fields, size)
        self.text_vectors = TextVectors(vector_size, size) if vector_size else None
        #: F, the pseudo-fields included.
        self.fields_count = len(fields) + (PSEUDO_FIELDS if vector_size else 0)

    @property
    @abstractmethod
    def representation_size(self) -> int:
        """Width D of the representation."""

    @abstractmethod
    def interact(self, x_BFE: torch.Tensor) -> ModuleOutput:
        """Turns the fields' vectors into the representation: all that is dense."""

    def affine(self, x_BGE: torch.Tensor, share: Share) -> tuple[torch.Tensor, ...]:
        """What some of the fields contribute to all that is affine in the fields' vectors.

        Args:
            x_BGE: Vectors of the share's fields.
            share: Which fields they are.

        Returns:
            Parts [B, H]. `beyond` of the sums over shares that have every field once, is `interact` up to rounding. Training
            computes `interact`, whose order of operations is the faster one there.
        """
        raise NotImplementedError(f"{type(self).__name__} does not split")

    def beyond(self, parts: Sequence[torch.Tensor]) -> ModuleOutput:
        """The representation, from what `affine` gives for all fields."""
        raise NotImplementedError(f"{type(self).__name__} does not split")

    def forward(self, slots_BS: torch.Tensor, vectors_B2V: torch.Tensor | None = None) -> ModuleOutput:
        """Turns ids, and text vectors where the module reads them, into the representation.

        Args:
            slots_BS: int64 ids, the slots of all fields side by side.
            vectors_B2V: float32, the user's and the item's text vector; zeros where unknown.

        Returns:
            The representation, in the type of the table.
        """
        x_BFE = self.embedding(slots_BS)
        if (vectors_B2V is None) != (self.text_vectors is None):
            raise ValueError("text vectors go to a module made with their size, and to no other")
        if vectors_B2V is not None and self.text_vectors is not None:
            x_BFE = torch.cat([x_BFE, self.text_vectors(vectors_B2V)], dim=1)
        output = self.interact(x_BFE)
        # Where `interact` runs in bfloat16, what follows (the prediction layer, the losses) still computes in float32.
        return output._replace(representation_BD=output.representation_BD.to(x_BFE.dtype))
