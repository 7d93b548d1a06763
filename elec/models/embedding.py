"""One embedding table for all fields, with an offset a field."""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import torch
from torch import nn
from torch.nn import functional

from elec.models.field import Field
from elec.models.pooling import FieldPooling

_INITIAL_DEVIATION = 0.01


class Captured(NamedTuple):
    """What one forward pass read of the table.

    Attributes:
        rows_BS: int64, the table's rows.
        vectors_BSE: Their values: a leaf, so that `vectors_BSE.grad` is theirs after the backward pass.
    """

    rows_BS: torch.Tensor
    vectors_BSE: torch.Tensor


class Embedding(nn.Module):
    """Looks up all fields in one table and pools multi-valued ones by the mean over their values.

    One table instead of one a field: a single gather, a single gradient, a single optimiser step.

    Ordinarily the gradient is that of `table.weight`, as large as the table. With `captures` on, a forward pass in training
    cuts the graph at the rows that it reads and appends them to `captured`; who steps the table clears that list.

    Args:
        fields: The encoded fields, in the order of their slots.
        size: Width E of an embedding.

    Attributes:
        captures: Whether passes in training are captured.
        captured: The passes since it was cleared last.
    """

    offset_S: torch.Tensor

    def __init__(self, fields: Sequence[Field], size: int) -> None:
        super().__init__()
        if not fields:
            raise ValueError("an embedding needs at least one field")
        self.captures = False
        self.captured: list[Captured] = []
        *starts, rows = accumulate((field.size for field in fields), initial=0)
        offsets = [start for start, field in zip(starts, fields, strict=True) for _ in range(field.width)]
        # The offsets follow from the fields; a checkpoint does not repeat them.
        self.register_buffer("offset_S", torch.tensor(offsets, dtype=torch.int64), persistent=False)
        self.table = nn.Embedding(rows, size)
        nn.init.normal_(self.table.weight, std=_INITIAL_DEVIATION)
        self.pooling = FieldPooling([field.width for field in fields])

    def rows(self, slots_BS: torch.Tensor) -> torch.Tensor:
        """The table's rows that the slots name.

        Args:
            slots_BS: int64 ids.

        Returns:
            rows_BS, int64.
        """
        return slots_BS + self.offset_S

    def forward(self, slots_BS: torch.Tensor) -> torch.Tensor:
        """Embeds encoded rows.

        Args:
            slots_BS: int64 ids.

        Returns:
            x_BFE, a vector a field.
        """
        rows_BS = self.rows(slots_BS)
        if self.captures and self.training and torch.is_grad_enabled():
            vectors_BSE = functional.embedding(rows_BS, self.table.weight.detach()).requires_grad_()
            self.captured.append(Captured(rows_BS, vectors_BSE))
        else:
            vectors_BSE = self.table(rows_BS)
        x_BFE: torch.Tensor = self.pooling(vectors_BSE, slots_BS)
        return x_BFE
