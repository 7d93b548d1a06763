"""Collaborative modules by the name that a spec gives; a new model is one file and one line here."""

from collections.abc import Callable, Sequence

from elec.models.dcnv2 import DCNv2
from elec.models.interface import CollaborativeModule, Field
from elec.spec.run import ModelSpec

COLLABORATIVE_MODULES: dict[str, Callable[[Sequence[Field], ModelSpec], CollaborativeModule]] = {
    "dcnv2": DCNv2,
}


def collaborative_module(fields: Sequence[Field], spec: ModelSpec) -> CollaborativeModule:
    """Makes the collaborative module that a spec names.

    Args:
        fields: The encoded fields, in the order of their slots.
        spec: Its name and sizes.
    """
    return COLLABORATIVE_MODULES[spec.name](fields, spec)
