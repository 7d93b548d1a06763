"""ELEC's pseudo-siamese network: the gain network sees the M-LLM's representation, the vanilla network does not.

Dong, Ouyang, Liu: ELEC, SIGIR 2025 (arXiv 2509.07594), section 3. The M-LLM is frozen, so what it says about a row never
changes in training: its representations are input here, computed once, and no parameter of it is part of these networks.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import nn

from elec.models.field import Field
from elec.models.interface import CollaborativeModule
from elec.models.linear import linear
from elec.models.registry import collaborative_module
from elec.spec.learning import ModelSpec


class SiameseOutput(NamedTuple):
    """Logits (before the sigmoid) and high-level representations of both networks."""

    gain_logit_B: torch.Tensor
    gain_representation_BD: torch.Tensor
    vanilla_logit_B: torch.Tensor
    vanilla_representation_BD: torch.Tensor


class VanillaNetwork(nn.Module):
    """A collaborative module and a prediction layer: the network that serves, tabular input only.

    Args:
        module: The collaborative module.
    """

    def __init__(self, module: CollaborativeModule) -> None:
        super().__init__()
        self.module = module
        self.prediction = linear(module.representation_size, 1)

    @property
    def representation_size(self) -> int:
        """Width of the high-level representation."""
        return self.module.representation_size

    def forward(self, slots_BS: torch.Tensor, vectors_B2V: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores encoded rows.

        Args:
            slots_BS: int64 ids.
            vectors_B2V: The user's and the item's text vector, float32, for a network that reads them.

        Returns:
            logit_B and representation_BD.
        """
        representation_BD, wide_B = self.module(slots_BS, vectors_B2V)
        return _logit(self.prediction(representation_BD), wide_B), representation_BD


class GainNetwork(nn.Module):
    """A collaborative module joined with the frozen M-LLM's representation by an aggregation layer.

    Args:
        module: The collaborative module.
        llm_size: Width of the M-LLM's representation.
    """

    def __init__(self, module: CollaborativeModule, llm_size: int) -> None:
        super().__init__()
        size = module.representation_size
        self.module = module
        self.aggregation = linear(size + llm_size, size)
        self.prediction = linear(size, 1)

    @property
    def representation_size(self) -> int:
        """Width of the high-level representation; the vanilla network's."""
        return self.module.representation_size

    def forward(
        self, slots_BS: torch.Tensor, llm_BL: torch.Tensor, vectors_B2V: torch.Tensor | None = None
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores encoded rows with what the M-LLM knows of them.

        Args:
            slots_BS: int64 ids.
            llm_BL: The M-LLM's representations, float32.
            vectors_B2V: The user's and the item's text vector, float32, for a network that reads them.

        Returns:
            logit_B and representation_BD.
        """
        tabular_BD, wide_B = self.module(slots_BS, vectors_B2V)
        representation_BD = torch.relu(self.aggregation(torch.cat([tabular_BD, llm_BL.detach()], dim=1)))
        return _logit(self.prediction(representation_BD), wide_B), representation_BD


class SiameseNetwork(nn.Module):
    """The gain and the vanilla network side by side; no parameter is shared.

    Args:
        gain: The teacher.
        vanilla: The student.
    """

    def __init__(self, gain: GainNetwork, vanilla: VanillaNetwork) -> None:
        super().__init__()
        if gain.representation_size != vanilla.representation_size:
            raise ValueError(
                f"the gain network's representation has {gain.representation_size} numbers and the vanilla network's "
                f"{vanilla.representation_size}; they are compared, so they have to be as wide"
            )
        self.gain = gain
        self.vanilla = vanilla

    def forward(self, slots_BS: torch.Tensor, llm_BL: torch.Tensor, vectors_B2V: torch.Tensor | None = None) -> SiameseOutput:
        """Scores encoded rows with both networks.

        Args:
            slots_BS: int64 ids.
            llm_BL: The M-LLM's representations.
            vectors_B2V: The text vectors, for networks that both read them.
        """
        # Vanilla first: under one seed its dropout is then that of a vanilla network on its own.
        vanilla_logit_B, vanilla_representation_BD = self.vanilla(slots_BS, vectors_B2V)
        gain_logit_B, gain_representation_BD = self.gain(slots_BS, llm_BL, vectors_B2V)
        return SiameseOutput(gain_logit_B, gain_representation_BD, vanilla_logit_B, vanilla_representation_BD)


def vanilla_network(fields: Sequence[Field], spec: ModelSpec, vector_size: int = 0) -> VanillaNetwork:
    """Makes a vanilla network with fresh parameters.

    Args:
        fields: The encoded fields, in the order of their slots.
        spec: Name and sizes of the collaborative module.
        vector_size: Dimensions of the text vectors that it reads beside the fields; 0 for none.
    """
    return VanillaNetwork(collaborative_module(fields, spec, vector_size))


def gain_network(fields: Sequence[Field], spec: ModelSpec, llm_size: int, vector_size: int = 0) -> GainNetwork:
    """Makes a gain network with fresh parameters.

    Args:
        fields: The encoded fields, in the order of their slots.
        spec: Name and sizes of the collaborative module, the same as the vanilla network's.
        llm_size: Width of the M-LLM's representation.
        vector_size: Dimensions of the text vectors that it reads beside the fields; 0 for none.
    """
    return GainNetwork(collaborative_module(fields, spec, vector_size), llm_size)


def _logit(predicted_B1: torch.Tensor, wide_B: torch.Tensor | None) -> torch.Tensor:
    predicted_B = predicted_B1.squeeze(1)
    return predicted_B if wide_B is None else predicted_B + wide_B
