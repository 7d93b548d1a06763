"""What the networks share: the fields they read, and what a collaborative module has to give."""

from abc import ABC, abstractmethod
from typing import Protocol

import torch
from torch import nn


class Field(Protocol):
    """One encoded field, as the feature encoder describes it.

    Its ids are its own: 0 pads unused slots of a multi-valued field, 1 is missing, 2 out of vocabulary, 3 and up are values.
    """

    @property
    def name(self) -> str:
        """The column."""

    @property
    def width(self) -> int:
        """Id slots in an encoded row."""

    @property
    def size(self) -> int:
        """Number of ids, the three special ones included."""

    @property
    def kind(self) -> str:
        """`categorical`, `numeric` or `multivalued`."""


class CollaborativeModule(nn.Module, ABC):
    """The tabular half of a network: ids in, high-level representation out.

    The prediction layer is not part of it: the vanilla network puts one on the representation itself, the gain network on
    the representation joined with the M-LLM's.
    """

    @property
    @abstractmethod
    def representation_size(self) -> int:
        """Width D of the representation."""

    @abstractmethod
    def forward(self, slots_BS: torch.Tensor) -> torch.Tensor:
        """Turns ids into representations.

        Args:
            slots_BS: int64 ids, the slots of all fields side by side.

        Returns:
            representation_BD, float32.
        """
