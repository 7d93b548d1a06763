"""Other ways to compute the dense half of a network in training: in bfloat16, compiled, or both."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import nn

from elec.models.interface import CollaborativeModule, ModuleOutput

_Interact = Callable[[torch.Tensor], ModuleOutput]


class Option(NamedTuple):
    """How the dense half is computed in training.

    Attributes:
        bfloat16: Matrix products in bfloat16 (autocast); weights, their gradients and the optimiser stay in float32.
        compiled: By torch.compile.
    """

    bfloat16: bool = False
    compiled: bool = False

    def __str__(self) -> str:
        return ("bfloat16" if self.bfloat16 else "float32") + (", compiled" if self.compiled else "")


@contextmanager
def applied(network: nn.Module, option: Option) -> Iterator[None]:
    """Inside the block, the collaborative modules of a network compute `interact` in this way while they are trained.

    What is evaluated, on validation rows too, is computed as it will be served: in float32.

    Args:
        network: In whole.
        option: The way.
    """
    modules = [module for module in network.modules() if isinstance(module, CollaborativeModule)] if any(option) else []
    for module in modules:
        # The instance's attribute hides the method of its class.
        module.__dict__["interact"] = _interact(module, option)
    try:
        yield
    finally:
        for module in modules:
            del module.__dict__["interact"]


def _interact(module: CollaborativeModule, option: Option) -> _Interact:
    plain = module.interact
    # Torch's own random numbers, so that a compiled network drops the units that the other ways drop.
    compiled = torch.compile(plain, dynamic=False, options={"fallback_random": True}) if option.compiled else plain
    sizes: list[int] = []

    def interact(x_BFE: torch.Tensor) -> ModuleOutput:
        if not module.training:
            return plain(x_BFE)
        if not sizes:
            sizes.append(len(x_BFE))
        # A batch of another size, such as the last one, is not worth a compilation of its own.
        chosen = compiled if len(x_BFE) in sizes else plain
        with torch.autocast(x_BFE.device.type, torch.bfloat16, enabled=option.bfloat16):
            return chosen(x_BFE)

    return interact
