"""The state of a training between two steps, and where it is kept: all that a killed training needs to go on bit-exactly."""

from dataclasses import dataclass, field
from typing import Any, Protocol

import torch


@dataclass(frozen=True)
class Snapshot:
    """A training between two steps: `tensors` fit one safetensors file, `values` one JSON file.

    Random numbers need no state: the order of the rows follows (seed, epoch), the dropout (seed, step).

    Attributes:
        tensors: By a name that is unique in the snapshot: `network.<learner>.<parameter>`, `best.<learner>.<parameter>`,
            `sums.<learner>.<term>` and `optimiser.<...>`. They are the live ones, on their device: write or copy them before
            the training goes on.
        values: JSON: `epoch` (the one in training, from 1), `step` (steps done in it), `learners` (curve, best epoch and best
            LogLoss of each), `choice` (how the dense half is computed) and `job` (seed, settings, rows: what has to be the same
            to go on). Floats are float64 and survive JSON exactly.
    """

    tensors: dict[str, torch.Tensor] = field(default_factory=dict)
    values: dict[str, Any] = field(default_factory=dict)

    def part(self, prefix: str) -> dict[str, torch.Tensor]:
        """The tensors under `<prefix>.`, by the rest of their name."""
        start = f"{prefix}."
        return {name[len(start) :]: tensor for name, tensor in self.tensors.items() if name.startswith(start)}


class Snapshots(Protocol):
    """Where the snapshots of one training are kept; only the newest one counts.

    The loop calls `load` once before the first step, and `save` after every epoch's validation and, within an epoch, when
    `training.checkpoint_seconds` have passed since the last one. To drop them is the business of who keeps the result.
    """

    def load(self) -> Snapshot | None:
        """The newest complete snapshot with its tensors on the CPU, or None to start from the beginning."""

    def save(self, snapshot: Snapshot) -> None:
        """Replaces the newest one atomically: a kill at any moment leaves the old or the new one, whole."""


class Parallel(Protocol):
    """Several processes that train one network together, each on its contiguous part of every batch.

    Every process holds the whole network and table, and they stay equal bit by bit: each adds up the same gradients. A
    step's loss is that of the whole batch on every process (from the outputs of all), its gradient that of the own rows; so
    gradients are summed and losses are not. A process whose part is empty takes part in the step all the same.
    """

    @property
    def rank(self) -> int:
        """Of this process, from 0."""

    @property
    def world(self) -> int:
        """How many processes."""

    def dense(self, gradients: list[torch.Tensor]) -> None:
        """Sums each gradient over the processes, in place."""

    def rows(self, rows_N: torch.Tensor, gradient_NE: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Gathers the table's rows and their gradients of all processes, in the order of the ranks.

        Args:
            rows_N: int64, distinct within a process; N differs between processes.
            gradient_NE: Of these rows.

        Returns:
            The rows of all (one that several processes read comes once for each) and their gradients, the same on every
            process.
        """

    def first(self, numbers: list[float]) -> list[float]:
        """The numbers that process 0 has, so that all decide alike."""
