"""Optimisers of the embedding table that touch only the rows that a batch reads, outside of autograd.

A click-through-rate model keeps most of its parameters in the table and reads a few thousand rows of it a step. So the table
never has a dense gradient: the embedding hands out the gathered rows with their gradients, duplicates are added up, and the
distinct rows and their state are read, stepped and written back.
"""

import math
from abc import ABC, abstractmethod
from typing import Literal

import torch

#: Adam's, for the tables and the dense half alike.
BETA_1, BETA_2 = 0.9, 0.999
EPSILON = 1e-8

Kind = Literal["lazy_adam", "rowwise_adagrad", "adam"]


def distinct(rows_N: torch.Tensor, position_V: torch.Tensor, *, compact: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """The distinct rows among N, in O(N) and without a sort: each row remembers where it was seen last.

    Args:
        rows_N: int64, with duplicates.
        position_V: int64 scratch, one number a row of the table; its content does not matter and is overwritten.
        compact: Whether duplicates leave the result, which makes the device wait for its size (free on the CPU). Otherwise
            the result keeps all N, and only the positions that `index_N` names count.

    Returns:
        rows_U, and index_N with rows_U[index_N] = rows_N.
    """
    order_N = torch.arange(len(rows_N), device=rows_N.device)
    position_V.scatter_(0, rows_N, order_N)
    index_N = position_V.index_select(0, rows_N)
    if not compact:
        return rows_N, index_N
    rows_U = rows_N.index_select(0, (index_N == order_N).nonzero().squeeze(1))
    position_V.scatter_(0, rows_U, order_N[: len(rows_U)])
    return rows_U, position_V.index_select(0, rows_N)


class TableOptimiser(ABC):
    """Steps the rows of one table.

    Args:
        weight_VE: The table; changed in place.
        l2: Added to a row's gradient as l2 * row (coupled, as in Adam's own paper), once a step for every row that was read.
            Other rows stay as they are, so rare values are not pulled to zero by frequent ones.
    """

    def __init__(self, weight_VE: torch.Tensor, l2: float) -> None:
        self.weight_VE = weight_VE
        self.l2 = l2

    @property
    @abstractmethod
    def state(self) -> dict[str, torch.Tensor]:
        """What the optimiser remembers of each row, by name; the first dimension is V."""

    @abstractmethod
    def step(self, rows_U: torch.Tensor, gradient_UE: torch.Tensor, index_N: torch.Tensor | None, lr: float, step: int) -> None:
        """Steps the rows.

        Args:
            rows_U: The rows that the batch read. Distinct, or else `index_N` says which of them counts.
            gradient_UE: Of these rows; may be changed.
            index_N: With duplicates in `rows_U`: the position that counts for each. Then all of them write its value.
            lr: Learning rate of this step.
            step: From 1, of the whole training; rows that are read seldom are corrected for bias like all others.
        """


def _write(table_VE: torch.Tensor, rows_U: torch.Tensor, value_UE: torch.Tensor, index_N: torch.Tensor | None) -> None:
    table_VE.index_copy_(0, rows_U, value_UE if index_N is None else value_UE.index_select(0, index_N))


class LazyAdam(TableOptimiser):
    """Adam (Kingma and Ba, 2015, Algorithm 1) on the rows read, as `torch.optim.SparseAdam` does it.

    The moments of a row decay only in steps that read it; the bias correction counts all steps.
    """

    def __init__(self, weight_VE: torch.Tensor, l2: float) -> None:
        super().__init__(weight_VE, l2)
        # Both moments of a row lie side by side: one gather and one write for the two.
        self._moments_V2E = weight_VE.new_zeros((len(weight_VE), 2 * weight_VE.shape[1]))

    @property
    def state(self) -> dict[str, torch.Tensor]:
        """The first and second moment of each row, side by side."""
        return {"moments": self._moments_V2E}

    def step(self, rows_U: torch.Tensor, gradient_UE: torch.Tensor, index_N: torch.Tensor | None, lr: float, step: int) -> None:
        """See `TableOptimiser.step`."""
        weight_UE = self.weight_VE.index_select(0, rows_U)
        moments_U2E = self._moments_V2E.index_select(0, rows_U)
        first_UE, second_UE = torch.split(moments_U2E, weight_UE.shape[1], dim=1)
        if self.l2 > 0:
            gradient_UE.add_(weight_UE, alpha=self.l2)
        first_UE.lerp_(gradient_UE, 1 - BETA_1)
        second_UE.mul_(BETA_2).addcmul_(gradient_UE, gradient_UE, value=1 - BETA_2)
        deviation_UE = second_UE.sqrt().mul_(1 / math.sqrt(1 - BETA_2**step)).add_(EPSILON)
        weight_UE.addcdiv_(first_UE, deviation_UE, value=-lr / (1 - BETA_1**step))
        _write(self.weight_VE, rows_U, weight_UE, index_N)
        _write(self._moments_V2E, rows_U, moments_U2E, index_N)


class RowwiseAdagrad(TableOptimiser):
    """Adagrad (Duchi et al., 2011) with one number of state a row: the sum over steps of the mean square of its gradient.

    A sixty-fourth of Adam's state at width 32. The learning rate is the same setting as Adam's; it usually wants to be
    larger.
    """

    def __init__(self, weight_VE: torch.Tensor, l2: float) -> None:
        super().__init__(weight_VE, l2)
        self._square_V = weight_VE.new_zeros(len(weight_VE))

    @property
    def state(self) -> dict[str, torch.Tensor]:
        """The sum of squares of each row."""
        return {"square": self._square_V}

    def step(self, rows_U: torch.Tensor, gradient_UE: torch.Tensor, index_N: torch.Tensor | None, lr: float, step: int) -> None:
        """See `TableOptimiser.step`."""
        weight_UE = self.weight_VE.index_select(0, rows_U)
        if self.l2 > 0:
            gradient_UE.add_(weight_UE, alpha=self.l2)
        square_U = self._square_V.index_select(0, rows_U).add_(gradient_UE.square().mean(dim=1))
        weight_UE.addcdiv_(gradient_UE, square_U.sqrt().add_(EPSILON).unsqueeze(1), value=-lr)
        _write(self.weight_VE, rows_U, weight_UE, index_N)
        _write(self._square_V, rows_U, square_U, index_N)


class WholeAdam(TableOptimiser):
    """Adam on the whole table: the moments of all rows decay in every step, and rows that are not read move on with them."""

    def __init__(self, weight_VE: torch.Tensor, l2: float) -> None:
        super().__init__(weight_VE, l2)
        self._first_VE, self._second_VE = torch.zeros_like(weight_VE), torch.zeros_like(weight_VE)
        self._gradient_VE = torch.zeros_like(weight_VE)

    @property
    def state(self) -> dict[str, torch.Tensor]:
        """The first and second moment of each row."""
        return {"first": self._first_VE, "second": self._second_VE}

    def step(self, rows_U: torch.Tensor, gradient_UE: torch.Tensor, index_N: torch.Tensor | None, lr: float, step: int) -> None:
        """See `TableOptimiser.step`."""
        if self.l2 > 0:
            gradient_UE.add_(self.weight_VE.index_select(0, rows_U), alpha=self.l2)
        _write(self._gradient_VE, rows_U, gradient_UE, index_N)
        self._first_VE.lerp_(self._gradient_VE, 1 - BETA_1)
        self._second_VE.mul_(BETA_2).addcmul_(self._gradient_VE, self._gradient_VE, value=1 - BETA_2)
        # The scratch gradient is as large as the table; it is used as the denominator, then cleared for the next step.
        torch.sqrt(self._second_VE, out=self._gradient_VE)
        self._gradient_VE.mul_(1 / math.sqrt(1 - BETA_2**step)).add_(EPSILON)
        self.weight_VE.addcdiv_(self._first_VE, self._gradient_VE, value=-lr / (1 - BETA_1**step))
        self._gradient_VE.zero_()


TABLE_OPTIMISERS: dict[Kind, type[TableOptimiser]] = {
    "lazy_adam": LazyAdam,
    "rowwise_adagrad": RowwiseAdagrad,
    "adam": WholeAdam,
}
