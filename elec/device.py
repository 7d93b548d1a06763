"""Where the computing is done."""

from typing import TYPE_CHECKING

from elec.errors import InputError

if TYPE_CHECKING:
    import torch


def choose_device(name: str = "auto") -> "torch.device":
    """The device to compute on.

    Args:
        name: `auto` (a GPU if there is one), `cpu` or `cuda`.

    Raises:
        InputError: If it is none of these, or there is no GPU to use.
    """
    import torch

    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if name not in {"cpu", "cuda"}:
        raise InputError(f"device '{name}': unknown; use auto, cpu or cuda")
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError("device 'cuda': this machine has no GPU that torch can use; use auto or cpu")
    return torch.device(name)
