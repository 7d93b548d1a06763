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


def fast_bfloat16(device: "torch.device") -> bool:
    """Whether a device multiplies matrices in bfloat16 by instructions of its own; without them it would be slower.

    Args:
        device: The CPU or a GPU.
    """
    import torch

    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
