"""Collaborative modules by the name that a spec gives; a new model is one file and one line here."""

from collections.abc import Callable, Sequence

from elec.models.autoint import AutoInt
from elec.models.dcnv2 import DCNv2
from elec.models.deepfm import DeepFM
from elec.models.dnn import DNN
from elec.models.field import Field
from elec.models.interface import CollaborativeModule
from elec.spec.learning import ModelSpec

COLLABORATIVE_MODULES: dict[str, Callable[[Sequence[Field], ModelSpec, int], CollaborativeModule]] = {
    "dnn": DNN,
    "deepfm": DeepFM,
    "autoint": AutoInt,
    "dcnv2": DCNv2,
}


def collaborative_module(fields: Sequence[Field], spec: ModelSpec, vector_size: int = 0) -> CollaborativeModule:
    """Makes the collaborative module that a spec names.

    Args:
        fields: The encoded fields, in the order of their slots.
        spec: Its name and sizes.
        vector_size: Dimensions of the text vectors that it reads beside the fields; 0 for none.
    """
    return COLLABORATIVE_MODULES[spec.name](fields, spec, vector_size)
