"""Data-parallel training: several processes, started by `torchrun`, train one network on their parts of every batch.

Every process holds the whole network and reads its contiguous part of each batch. The outputs of all processes are gathered
before a loss is computed, so each process has the loss of the whole batch (CLID's list is the whole batch), while its gradient
is that of its own rows. Summed over the processes it is the gradient that one process would have found.
"""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import distributed

from elec.errors import InputError


class ProcessGroup:
    """This process among those that train together; see `elec.training.state.Parallel`.

    Args:
        rank: Of this process, from 0.
        world: How many processes.
    """

    def __init__(self, rank: int, world: int) -> None:
        self.rank = rank
        self.world = world

    def dense(self, gradients: Sequence[torch.Tensor]) -> None:
        """Sums each gradient over the processes, in place.

        Args:
            gradients: The same shapes on every process.
        """
        # One message instead of one a parameter: most of them are small.
        joined = torch.cat([gradient.flatten() for gradient in gradients])
        distributed.all_reduce(joined)
        parts = torch.split(joined, [gradient.numel() for gradient in gradients])
        for gradient, part in zip(gradients, parts, strict=True):
            gradient.copy_(part.view_as(gradient))

    def rows(self, rows_N: torch.Tensor, gradient_NE: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Gathers the table's rows and their gradients of all processes, in the order of the ranks.

        Args:
            rows_N: int64; N differs between processes.
            gradient_NE: Of these rows.

        Returns:
            The rows of all, one that several processes read once for each, and their gradients; the same on every process.
        """
        sizes = _sizes(rows_N)
        return _gather(rows_N, sizes), _gather(gradient_NE, sizes)

    def first(self, numbers: Sequence[float]) -> list[float]:
        """The numbers that process 0 has, so that all decide alike.

        Args:
            numbers: As many on every process.
        """
        told = torch.tensor(numbers, dtype=torch.float64, device=_device())
        distributed.broadcast(told, src=0)
        return [float(number) for number in told.cpu()]


def current() -> ProcessGroup | None:
    """The group of this process, or None where it trains alone."""
    if not distributed.is_available() or not distributed.is_initialized() or distributed.get_world_size() == 1:
        return None
    return ProcessGroup(distributed.get_rank(), distributed.get_world_size())


def is_first() -> bool:
    """Whether this process is the one that writes files: the first of its group, or alone."""
    group = current()
    return group is None or group.rank == 0


def gathered(*tensors_B: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """The outputs of all processes for the whole batch, in the order of its rows; in a single process the outputs themselves.

    Each process has to compute the same loss from them. Its gradient then reaches the rows that the process itself put in.

    Args:
        tensors_B: Each [B] or [B, D] for this process's part of the batch, floating point; B differs between processes.

    Returns:
        The same tensors for the whole batch.
    """
    if current() is None:
        return tensors_B
    widths = [1 if tensor.dim() == 1 else tensor.shape[1] for tensor in tensors_B]
    columns_BK = torch.cat([tensor.reshape(len(tensor), width) for tensor, width in zip(tensors_B, widths, strict=True)], dim=1)
    parts = _Gathered.apply(columns_BK).split(widths, dim=1)  # type: ignore[no-untyped-call]
    return tuple(part.squeeze(1) if tensor.dim() == 1 else part for part, tensor in zip(parts, tensors_B, strict=True))


@contextmanager
def process_group() -> Iterator[ProcessGroup | None]:
    """Joins the group that `torchrun` started this process in, with NCCL where there is a GPU for each, else with gloo.

    Raises:
        InputError: If there are fewer GPUs than processes on this machine.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) == 1:
        yield None
        return
    backend = "gloo"
    if torch.cuda.is_available():
        here, gpus = int(os.environ.get("LOCAL_WORLD_SIZE", "1")), torch.cuda.device_count()
        if here > gpus:
            raise InputError(
                f"--nproc-per-node {here}: this machine has {gpus} GPUs; start as many processes, or set CUDA_VISIBLE_DEVICES="
            )
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        backend = "nccl"
    distributed.init_process_group(backend)
    try:
        yield current()
    finally:
        distributed.destroy_process_group()


class _Gathered(torch.autograd.Function):
    """All processes' rows forward; backward, this process's own rows of the gradient.

    Nothing is summed backward: every process computes the whole loss, so the gradient of its rows is complete already.
    """

    @staticmethod
    def forward(ctx: Any, columns_BK: torch.Tensor) -> torch.Tensor:
        sizes = _sizes(columns_BK)
        ctx.part = slice(sum(sizes[: distributed.get_rank()]), sum(sizes[: distributed.get_rank() + 1]))
        return _gather(columns_BK, sizes)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        return gradients[0][ctx.part]


def _sizes(tensor_N: torch.Tensor) -> list[int]:
    """How many rows each process has."""
    sizes = [torch.zeros(1, dtype=torch.int64, device=tensor_N.device) for _ in range(distributed.get_world_size())]
    distributed.all_gather(sizes, torch.tensor([len(tensor_N)], device=tensor_N.device))
    return [int(size) for size in torch.cat(sizes).cpu()]


def _gather(tensor_N: torch.Tensor, sizes: Sequence[int]) -> torch.Tensor:
    """The rows of all processes one after the other; gloo sends equal shapes only, so the parts travel padded."""
    padded = tensor_N.new_zeros((max(sizes), *tensor_N.shape[1:]))
    padded[: len(tensor_N)] = tensor_N.detach()
    parts = [torch.empty_like(padded) for _ in sizes]
    distributed.all_gather(parts, padded)
    return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])


def _device() -> torch.device:
    """Where the group's messages have to lie."""
    return torch.device("cuda" if distributed.get_backend() == "nccl" else "cpu")
