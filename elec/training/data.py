"""Encoded rows, and batches of them: slices of a shuffled order that in-memory and streamed rows share."""

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt
import torch

from elec.training.beside import Beside, Floats
from elec.training.encoded import EncodedFile
from elec.training.order import shuffled_windows

_Index = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Batch:
    """Some rows.

    Attributes:
        label_B: float32, 0 or 1.
        slots_BS: int64 ids.
        llm_BL: The M-LLM's representations, float32; None where no teacher is needed.
        vectors_B2V: The user's and the item's text vector, float32; None where the student reads none.
        index_B: int64, the rows' positions in their split.
    """

    label_B: torch.Tensor
    slots_BS: torch.Tensor
    llm_BL: torch.Tensor | None
    vectors_B2V: torch.Tensor | None
    index_B: torch.Tensor

    def __len__(self) -> int:
        return len(self.label_B)

    def part(self, rows: slice) -> "Batch":
        """Some of its rows, as views."""
        return Batch(*(tensor[rows] if tensor is not None else None for tensor in self.tensors()))  # type: ignore[arg-type]

    def to(self, device: torch.device) -> "Batch":
        """The same batch on a device, without waiting for the copy."""
        if device == self.label_B.device:
            return self
        moved = (tensor.pin_memory().to(device, non_blocking=True) if tensor is not None else None for tensor in self.tensors())
        return Batch(*moved)  # type: ignore[arg-type]

    def tensors(self) -> list[torch.Tensor | None]:
        """Its columns in their order."""
        return [getattr(self, column.name) for column in fields(self)]


class Shard(NamedTuple):
    """Which part of every batch a process trains on: the `rank`-th of `world` contiguous ones."""

    rank: int = 0
    world: int = 1

    def of(self, rows: int) -> slice:
        """Its rows of a batch; the parts differ by one row at most."""
        return slice(rows * self.rank // self.world, rows * (self.rank + 1) // self.world)


#: A process that trains alone.
WHOLE = Shard()


class RowSource(Protocol):
    """One split. For the same seed and epoch all sources give the same batches, bit by bit.

    Attributes:
        row_id_N: int64, ascending.
        user_index_N: int64.
        label_N: float32, 0 or 1.
    """

    @property
    def row_id_N(self) -> _Index: ...  # noqa: D102, N802

    @property
    def user_index_N(self) -> _Index: ...  # noqa: D102, N802

    @property
    def label_N(self) -> torch.Tensor: ...  # noqa: D102, N802

    def __len__(self) -> int: ...

    def to(self, device: torch.device) -> Self:
        """The same rows, giving batches on a device."""

    def shuffled(self, size: int, seed: int, epoch: int, *, start: int = 0, shard: Shard = WHOLE) -> Iterator[Batch]:
        """Batches of one epoch in an order that depends on seed and epoch only, the short last one included.

        Args:
            size: Rows a batch.
            seed: Of the run.
            epoch: From 1.
            start: Batches to leave out at the beginning.
            shard: The part of each batch to give.
        """

    def in_order(self, size: int) -> Iterator[Batch]:
        """Batches in the order of the rows."""


@dataclass(frozen=True)
class Rows:
    """A split in memory. What only the evaluation reads stays in numpy.

    Attributes:
        row_id_N: int64, ascending.
        user_index_N: int64.
        label_N: float32, 0 or 1.
        slots_NS: int64 ids.
        llm_NL: The M-LLM's representations, float32 or float16; None where no teacher is needed.
        vectors_N2V: The user's and the item's text vector, float32 or float16; None where the student reads none.
    """

    row_id_N: _Index
    user_index_N: _Index
    label_N: torch.Tensor
    slots_NS: torch.Tensor
    llm_NL: torch.Tensor | None = None
    vectors_N2V: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.row_id_N)

    def to(self, device: torch.device) -> "Rows":
        """The same rows with their tensors on a device."""
        return replace(
            self,
            label_N=self.label_N.to(device),
            slots_NS=self.slots_NS.to(device),
            llm_NL=self.llm_NL.to(device) if self.llm_NL is not None else None,
            vectors_N2V=self.vectors_N2V.to(device) if self.vectors_N2V is not None else None,
        )

    def shuffled(self, size: int, seed: int, epoch: int, *, start: int = 0, shard: Shard = WHOLE) -> Iterator[Batch]:
        """See `RowSource.shuffled`."""
        device = self.label_N.device
        rest = torch.empty(0, dtype=torch.int64, device=device)
        for window, order in shuffled_windows(len(self), seed, epoch, skip=start * size):
            index = torch.cat([rest, window.positions()[order].to(device)])
            whole = len(index) // size * size
            for begin in range(0, whole, size):
                yield self.take(index[begin : begin + size][shard.of(size)])
            rest = index[whole:]
        if len(rest):
            yield self.take(rest[shard.of(len(rest))])

    def take(self, index_B: torch.Tensor) -> Batch:
        """The rows at these positions, int64, on the device of the rows."""
        return Batch(
            self.label_N.index_select(0, index_B),
            self.slots_NS.index_select(0, index_B),
            self.llm_NL.index_select(0, index_B).float() if self.llm_NL is not None else None,
            self.vectors_N2V.index_select(0, index_B).float() if self.vectors_N2V is not None else None,
            index_B,
        )

    def in_order(self, size: int) -> Iterator[Batch]:
        """Batches as slices, in the order of the rows; nothing is copied but float16 to float32."""
        for start in range(0, len(self), size):
            part = slice(start, start + size)
            llm = self.llm_NL[part].float() if self.llm_NL is not None else None
            vectors = self.vectors_N2V[part].float() if self.vectors_N2V is not None else None
            index = torch.arange(start, min(start + size, len(self)), device=self.label_N.device)
            yield Batch(self.label_N[part], self.slots_NS[part], llm, vectors, index)


def load_rows(path: Path, llm_NL: Floats | Path | None = None, vectors_N2V: Floats | Path | None = None) -> Rows:
    """Reads one encoded split, block by block, into tensors that are allocated once.

    Args:
        path: `encoded/<split>.parquet`.
        llm_NL: The M-LLM's representations of the same rows in the same order, float16 or float32: an array or a .npy file.
        vectors_N2V: The text vectors of the same rows in the same order, likewise.

    Raises:
        InputError: If a file is missing or empty.
        ValueError: If there are not as many representations or vectors as rows, or the rows are not sorted by `row_id`.
    """
    with EncodedFile(path) as file:
        columns = file.columns(file.rows)
        file.read_all(columns)
    beside: list[torch.Tensor | None] = []
    for what, source in (("representations", llm_NL), ("text vectors", vectors_N2V)):
        found = Beside(what, source, file.rows, path) if source is not None else None
        beside.append(torch.from_numpy(found.whole()) if found is not None else None)
    label, slots = torch.from_numpy(columns.label_N), torch.from_numpy(columns.slots_NS)
    return Rows(columns.row_id_N, columns.user_index_N, label, slots, *beside)
