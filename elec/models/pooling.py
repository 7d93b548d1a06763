"""Slots to fields: a multi-valued field is the mean of its values' vectors."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import nn
from torch.nn import functional

_PADDING = 0


class FieldPooling(nn.Module):
    """Turns a vector a slot into a vector a field, in one kernel for all fields.

    A padding id never contributes: its share in the mean is zero, and so is its vector's gradient. A field of paddings only
    is zero.

    Args:
        widths: Slots of each field.
    """

    start_F: torch.Tensor
    field_S: torch.Tensor

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        width_F = torch.tensor(widths, dtype=torch.int64)
        # Both follow from the fields; a checkpoint does not repeat them.
        self.register_buffer("start_F", width_F.cumsum(dim=0) - width_F, persistent=False)
        self.register_buffer("field_S", torch.arange(len(widths)).repeat_interleave(width_F), persistent=False)
        self._groups = _groups(widths)
        self._group_widths = [group.width for group in self._groups]

    def forward(self, vectors_BSE: torch.Tensor, slots_BS: torch.Tensor) -> torch.Tensor:
        """Pools.

        Args:
            vectors_BSE: Of each slot.
            slots_BS: int64 ids; 0 pads a multi-valued field.

        Returns:
            x_BFE; the input itself where no field is multi-valued.
        """
        if len(self.start_F) == len(self.field_S):
            return vectors_BSE
        shares = [
            _share(ids, vectors_BSE.dtype) if group.pooled else ids.new_ones(ids.shape, dtype=vectors_BSE.dtype)
            for group, ids in zip(self._groups, slots_BS.split_with_sizes(self._group_widths, dim=1), strict=True)
        ]
        if torch.compiler.is_exporting():
            return self._by_group(vectors_BSE, shares)
        return _Pool.apply(vectors_BSE, torch.cat(shares, dim=1), self.start_F, self.field_S)  # type: ignore[no-untyped-call, no-any-return]

    def _by_group(self, vectors_BSE: torch.Tensor, shares: Sequence[torch.Tensor]) -> torch.Tensor:
        """The same for ONNX, which has no such kernel: a slice or a sum a group of slots, side by side."""
        parts = [
            (part_BWE * share_BW.unsqueeze(2)).sum(dim=1, keepdim=True) if group.pooled else part_BWE
            for group, part_BWE, share_BW in zip(
                self._groups, vectors_BSE.split_with_sizes(self._group_widths, dim=1), shares, strict=True
            )
        ]
        return torch.cat(parts, dim=1)


class _Pool(torch.autograd.Function):
    """x_BFE = sum over the field's slots of share_BS * vectors_BSE.

    The forward pass is one `embedding_bag`: a bag a field. Its own backward pass sorts the indices, which are all distinct
    here; a gather of the fields' gradients is all that is needed.
    """

    @staticmethod
    def forward(
        ctx: Any, vectors_BSE: torch.Tensor, share_BS: torch.Tensor, start_F: torch.Tensor, field_S: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(share_BS, field_S)
        rows, slots, size = vectors_BSE.shape
        every = torch.arange(rows * slots, device=start_F.device)
        start_BF = torch.arange(0, rows * slots, slots, device=start_F.device).unsqueeze(1) + start_F
        x_NE = functional.embedding_bag(
            every, vectors_BSE.reshape(-1, size), start_BF.flatten(), mode="sum", per_sample_weights=share_BS.flatten()
        )
        return x_NE.view(rows, len(start_F), size)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor, None, None, None]:
        share_BS, field_S = ctx.saved_tensors
        return gradients[0].index_select(1, field_S).mul_(share_BS.unsqueeze(2)), None, None, None


class _Group(NamedTuple):
    """Neighbouring slots: a run of single-valued fields, or one multi-valued field."""

    width: int
    pooled: bool


def _groups(widths: Sequence[int]) -> list[_Group]:
    groups: list[_Group] = []
    for width in widths:
        if width == 1 and groups and not groups[-1].pooled:
            groups[-1] = _Group(groups[-1].width + 1, False)
        else:
            groups.append(_Group(width, width > 1))
    return groups


def _share(ids_BW: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Each slot's share in the mean of its field."""
    real_BW = (ids_BW != _PADDING).to(dtype)
    # The encoder fills at least one slot; the clamp keeps an all-padding row at zero instead of NaN.
    return real_BW / real_BW.sum(dim=1, keepdim=True).clamp(min=1.0)
