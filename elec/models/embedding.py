"""One embedding table for all fields, with an offset a field."""

from collections.abc import Sequence

import torch
from torch import nn

from elec.models.interface import Field

_PADDING = 0
_INITIAL_DEVIATION = 0.01


class Embedding(nn.Module):
    """Looks up all fields in one table and pools multi-valued ones by the mean over their values.

    One table instead of one a field: a single gather, a single gradient, a single optimiser step. A padding id never
    contributes: it is masked out of the mean, so its row is neither read into a result nor given a gradient.

    Args:
        fields: The encoded fields, in the order of their slots.
        size: Width E of an embedding.
    """

    offset_S: torch.Tensor

    def __init__(self, fields: Sequence[Field], size: int) -> None:
        super().__init__()
        if not fields:
            raise ValueError("an embedding needs at least one field")
        self.size = size
        self.fields_count = len(fields)
        self._groups = _groups([field.width for field in fields])
        starts, rows = [], 0
        for field in fields:
            starts.extend([rows] * field.width)
            rows += field.size
        # The offsets follow from the fields; a checkpoint does not repeat them.
        self.register_buffer("offset_S", torch.tensor(starts, dtype=torch.int64), persistent=False)
        self.table = nn.Embedding(rows, size)
        nn.init.normal_(self.table.weight, std=_INITIAL_DEVIATION)

    @property
    def output_size(self) -> int:
        """Width F*E of the output."""
        return self.fields_count * self.size

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
            x_BD with D = fields x E.
        """
        vectors_BSE = self.table(self.rows(slots_BS))
        parts = []
        for start, width, pooled in self._groups:
            part = vectors_BSE[:, start : start + width]
            if pooled:
                real_BW1 = (slots_BS[:, start : start + width] != _PADDING).unsqueeze(-1).to(part.dtype)
                # The encoder fills at least one slot; the clamp keeps an all-padding row at zero instead of NaN.
                part = (part * real_BW1).sum(dim=1) / real_BW1.sum(dim=1).clamp(min=1.0)
            parts.append(part.flatten(start_dim=1))
        return torch.cat(parts, dim=1)


def _groups(widths: Sequence[int]) -> list[tuple[int, int, bool]]:
    """Slices of slots as (start, width, pooled): a run of single-valued fields is one slice, a multi-valued field another."""
    groups: list[tuple[int, int, bool]] = []
    start = 0
    for width in widths:
        if width == 1 and groups and not groups[-1][2]:
            first, length, _ = groups[-1]
            groups[-1] = (first, length + 1, False)
        else:
            groups.append((start, width, width > 1))
        start += width
    return groups
