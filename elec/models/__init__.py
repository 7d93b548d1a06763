"""The networks: a collaborative module reads encoded columns; the gain and the vanilla network are made of two of them."""

from elec.models.autoint import AutoInt, InteractingLayer
from elec.models.dcnv2 import CrossNetwork, DCNv2
from elec.models.deepfm import DeepFM
from elec.models.dnn import DNN
from elec.models.embedding import Captured, Embedding
from elec.models.field import Field
from elec.models.interface import CollaborativeModule, ModuleOutput
from elec.models.registry import COLLABORATIVE_MODULES, collaborative_module
from elec.models.siamese import (
    GainNetwork,
    SiameseNetwork,
    SiameseOutput,
    VanillaNetwork,
    gain_network,
    vanilla_network,
)
from elec.models.text_vectors import PSEUDO_FIELDS, TextVectors

__all__ = [
    "COLLABORATIVE_MODULES",
    "DNN",
    "PSEUDO_FIELDS",
    "AutoInt",
    "Captured",
    "CollaborativeModule",
    "CrossNetwork",
    "DCNv2",
    "DeepFM",
    "Embedding",
    "Field",
    "GainNetwork",
    "InteractingLayer",
    "ModuleOutput",
    "SiameseNetwork",
    "SiameseOutput",
    "TextVectors",
    "VanillaNetwork",
    "collaborative_module",
    "gain_network",
    "vanilla_network",
]
