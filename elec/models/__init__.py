"""The networks: a collaborative module reads encoded columns; the gain and the vanilla network are made of two of them."""

from elec.models.dcnv2 import CrossNetwork, DCNv2
from elec.models.embedding import Embedding
from elec.models.interface import CollaborativeModule, Field
from elec.models.registry import COLLABORATIVE_MODULES, collaborative_module
from elec.models.siamese import (
    GainNetwork,
    SiameseNetwork,
    SiameseOutput,
    VanillaNetwork,
    gain_network,
    vanilla_network,
)

__all__ = [
    "COLLABORATIVE_MODULES",
    "CollaborativeModule",
    "CrossNetwork",
    "DCNv2",
    "Embedding",
    "Field",
    "GainNetwork",
    "SiameseNetwork",
    "SiameseOutput",
    "VanillaNetwork",
    "collaborative_module",
    "gain_network",
    "vanilla_network",
]
