"""Encoded rows as contiguous tensors, and batches as slices of a shuffled index."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from elec.errors import InputError

_ROWS_READ_AT_ONCE = 262_144


@dataclass(frozen=True)
class Rows:
    """One split. What only the evaluation reads stays in numpy.

    Attributes:
        row_id_N: int64, ascending.
        user_index_N: int64.
        label_N: float32, 0 or 1.
        slots_NS: int64 ids.
        llm_NL: The M-LLM's representations, float32; None where no teacher is needed.
    """

    row_id_N: npt.NDArray[np.int64]
    user_index_N: npt.NDArray[np.int64]
    label_N: torch.Tensor
    slots_NS: torch.Tensor
    llm_NL: torch.Tensor | None

    def __len__(self) -> int:
        return len(self.row_id_N)

    def to(self, device: torch.device) -> "Rows":
        """The same rows with their tensors on a device."""
        llm = self.llm_NL.to(device) if self.llm_NL is not None else None
        return Rows(self.row_id_N, self.user_index_N, self.label_N.to(device), self.slots_NS.to(device), llm)


@dataclass(frozen=True)
class Batch:
    """Some rows: see `Rows`."""

    label_B: torch.Tensor
    slots_BS: torch.Tensor
    llm_BL: torch.Tensor | None


def load_rows(path: Path, llm_NL: npt.NDArray[np.float32] | None = None) -> Rows:
    """Reads one encoded split, batch by batch, into tensors that are allocated once.

    Args:
        path: `encoded/<split>.parquet`.
        llm_NL: The M-LLM's representations of the same rows in the same order.

    Raises:
        InputError: If the file is missing or empty.
        ValueError: If there are not as many representations as rows, or the rows are not sorted by `row_id`.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such file; build the features first")
    with pq.ParquetFile(path) as file:
        rows = file.metadata.num_rows
        if rows == 0:
            raise InputError(f"{path}: holds no rows; give the split more data")
        if llm_NL is not None and len(llm_NL) != rows:
            raise ValueError(f"{path} has {rows:,} rows, but there are {len(llm_NL):,} representations")
        width = _width(file.schema_arrow, path)
        row_id, user = np.empty(rows, np.int64), np.empty(rows, np.int64)
        label, slots = np.empty(rows, np.float32), np.empty((rows, width), np.int64)
        start = 0
        for batch in file.iter_batches(_ROWS_READ_AT_ONCE, columns=["row_id", "label", "user_index", "slots"]):
            part = slice(start, start + len(batch))
            row_id[part] = batch.column("row_id").to_numpy()
            user[part] = batch.column("user_index").to_numpy()
            label[part] = batch.column("label").to_numpy()
            slots[part] = batch.column("slots").flatten().to_numpy().reshape(-1, width)
            start = part.stop
    if not (np.diff(row_id) > 0).all():
        raise ValueError(f"{path} is not sorted by row_id, so its rows cannot be matched with the representations")
    llm = torch.from_numpy(np.ascontiguousarray(llm_NL, dtype=np.float32)) if llm_NL is not None else None
    return Rows(row_id, user, torch.from_numpy(label), torch.from_numpy(slots), llm)


def shuffled_batches(rows: Rows, size: int, seed: int, epoch: int) -> Iterator[Batch]:
    """Batches of one epoch in an order that depends on seed and epoch only, the short last one included.

    Args:
        rows: Tensors on the device that trains.
        size: Rows a batch.
        seed: Of the run.
        epoch: From 1.
    """
    # Drawn on the CPU, so that every device sees the same batches.
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    order = torch.randperm(len(rows), generator=generator).to(rows.label_N.device)
    for index in torch.split(order, size):
        llm = rows.llm_NL.index_select(0, index) if rows.llm_NL is not None else None
        yield Batch(rows.label_N.index_select(0, index), rows.slots_NS.index_select(0, index), llm)


def batches_in_order(rows: Rows, size: int) -> Iterator[Batch]:
    """Batches as slices, without a copy, in the order of the rows.

    Args:
        rows: One split.
        size: Rows a batch.
    """
    for start in range(0, len(rows), size):
        part = slice(start, start + size)
        llm = rows.llm_NL[part] if rows.llm_NL is not None else None
        yield Batch(rows.label_N[part], rows.slots_NS[part], llm)


def _width(schema: pa.Schema, path: Path) -> int:
    kind = schema.field("slots").type
    if not pa.types.is_fixed_size_list(kind) or kind.value_type != pa.int64():
        raise ValueError(f"{path}: `slots` is {kind}, not a fixed-size list of int64")
    return int(kind.list_size)
