"""Steps a network: the embedding tables by their rows, the dense half by one fused Adam, with a linear decay."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from elec.models.embedding import Embedding
from elec.spec.learning import TrainingSpec
from elec.training.state import Parallel
from elec.training.table import BETA_1, BETA_2, EPSILON, TABLE_OPTIMISERS, TableOptimiser, WholeAdam, distinct

_FINAL_SHARE = 0.02

#: What a step overwrote: a table or its state, the rows, and what they were.
_Overwritten = tuple[torch.Tensor, torch.Tensor | None, torch.Tensor]


class Optimiser:
    """Steps a network.

    The parameters outside the tables are laid out in one vector, and so are their gradients: one kernel clears them, one
    steps them, one message sums them over processes. `release` gives each parameter its own memory again.

    Args:
        network: On its device; its parameters are updated, its `Embedding` tables are found and capture what they read.
        learning_rate: At the first step; it falls linearly to 2% of this at the last one.
        embedding_l2: See `TableOptimiser`.
        steps: Of the whole training.
        training: `table_optimiser` counts here; the loop reads the rest.
    """

    def __init__(
        self,
        network: nn.Module,
        *,
        learning_rate: float,
        embedding_l2: float,
        steps: int,
        training: TrainingSpec | None = None,
    ) -> None:
        self.training = training or TrainingSpec()
        self.steps_done = 0
        self.learning_rate = learning_rate
        self._steps = max(steps - 1, 1)
        found = (module for module in network.modules() if isinstance(module, Embedding))
        self._embeddings = [embedding for embedding in found if embedding.table.weight.requires_grad]
        self._tables = [
            TABLE_OPTIMISERS[self.training.table_optimiser](embedding.table.weight.detach(), embedding_l2)
            for embedding in self._embeddings
        ]
        for embedding in self._embeddings:
            embedding.captures = True
            embedding.captured.clear()
        self._dense = _DenseAdam(network, self._embeddings)
        most = max((len(table.weight_VE) for table in self._tables), default=0)
        self._position_V = torch.empty(most, dtype=torch.int64, device=self._dense.gradient.device)
        self._overwritten: list[_Overwritten] | None = None

    def step(self, loss: torch.Tensor, parallel: Parallel | None = None) -> None:
        """One update.

        Args:
            loss: A scalar.
            parallel: The processes that train together; their gradients are added up.
        """
        self._dense.clear()
        loss.backward()  # type: ignore[no-untyped-call]
        learning_rate = self.learning_rate * (1 - (1 - _FINAL_SHARE) * min(self.steps_done / self._steps, 1.0))
        self.steps_done += 1
        if parallel is not None:
            parallel.dense([self._dense.gradient])
        for embedding, table in zip(self._embeddings, self._tables, strict=True):
            self._step_table(embedding, table, parallel, learning_rate)
        self._dense.step(learning_rate, self.steps_done)

    @torch.no_grad()
    def _step_table(self, embedding: Embedding, table: TableOptimiser, parallel: Parallel | None, learning_rate: float) -> None:
        read = [(rows_BS.flatten(), vectors_BSE.grad) for rows_BS, vectors_BSE in embedding.captured]
        embedding.captured.clear()
        # A forward pass that the loss does not reach leaves rows without a gradient: they were not read.
        found = [(rows, grad.flatten(end_dim=-2)) for rows, grad in read if grad is not None]
        width = table.weight_VE.shape[1]
        rows_N = torch.cat([rows for rows, _ in found]) if found else self._position_V.new_empty(0)
        gradient_NE = torch.cat([grad for _, grad in found]) if found else table.weight_VE.new_empty((0, width))
        # Counting the distinct rows would make a GPU wait in every step; there the duplicates stay.
        compact = parallel is not None or not rows_N.is_cuda
        rows_U, gradient_UE, index_N = self._added_up(rows_N, gradient_NE, compact)
        if parallel is not None:
            rows_U, gradient_UE, index_N = self._added_up(*parallel.rows(rows_U, gradient_UE), compact)
        if self._overwritten is not None:
            self._remember(table, rows_U)
        table.step(rows_U, gradient_UE, None if compact else index_N, learning_rate, self.steps_done)

    def _added_up(
        self, rows_N: torch.Tensor, gradient_NE: torch.Tensor, compact: bool
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        rows_U, index_N = distinct(rows_N, self._position_V, compact=compact)
        gradient_UE = gradient_NE.new_zeros((len(rows_U), gradient_NE.shape[1])).index_add_(0, index_N, gradient_NE)
        return rows_U, gradient_UE, index_N

    @property
    def gradient(self) -> torch.Tensor:
        """Of the last step, of all parameters outside the tables in one vector; the next step overwrites it."""
        return self._dense.gradient

    def state_dict(self) -> dict[str, torch.Tensor]:
        """All that decides the next step besides the parameters, as live tensors by name."""
        dense = {"dense.first": self._dense.first, "dense.second": self._dense.second}
        state = {"steps_done": torch.tensor(self.steps_done), **dense}
        for number, table in enumerate(self._tables):
            state |= {f"table_{number}.{name}": tensor for name, tensor in table.state.items()}
        return state

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Goes on from a state; the next step is then the one that would have followed it, bit by bit.

        Raises:
            ValueError: If the state is of another network or another table optimiser.
        """
        own = self.state_dict()
        shapes = {name: tuple(tensor.shape) for name, tensor in own.items()}
        if shapes != {name: tuple(tensor.shape) for name, tensor in state.items()}:
            raise ValueError(f"the optimiser's state has {sorted(state)}, not {sorted(own)} of the same shapes")
        for name, tensor in own.items():
            tensor.copy_(state[name])
        self.steps_done = int(state["steps_done"])

    @contextmanager
    def trial(self, learning_rate: float) -> Iterator[None]:
        """What is stepped inside the block is undone after it: parameters, tables and the optimiser's state.

        Args:
            learning_rate: At most this, inside the block.
        """
        dense = (self._dense.parameter, self._dense.first, self._dense.second)
        before = [tensor.clone() for tensor in dense], self.steps_done, self.learning_rate
        self._overwritten, self.learning_rate = [], min(learning_rate, self.learning_rate)
        try:
            yield
        finally:
            with torch.no_grad():
                for tensor, was in zip(dense, before[0], strict=True):
                    tensor.copy_(was)
                for tensor, rows, was in reversed(self._overwritten):
                    tensor.copy_(was) if rows is None else tensor.index_copy_(0, rows, was)
            _, self.steps_done, self.learning_rate = before
            self._overwritten = None

    def _remember(self, table: TableOptimiser, rows_U: torch.Tensor) -> None:
        assert self._overwritten is not None
        whole = isinstance(table, WholeAdam)
        if whole and any(tensor is table.weight_VE for tensor, _, _ in self._overwritten):
            return
        for tensor in (table.weight_VE, *table.state.values()):
            rows = None if whole else rows_U
            self._overwritten.append((tensor, rows, tensor.clone() if rows is None else tensor.index_select(0, rows)))

    def release(self) -> None:
        """Ends the training: the tables capture no more, and every parameter has its own memory."""
        for embedding in self._embeddings:
            embedding.captures = False
            embedding.captured.clear()
        self._dense.release()


class _DenseAdam:
    """Adam on one vector that all parameters outside the tables are views of, in one kernel, on the CPU as on CUDA."""

    def __init__(self, network: nn.Module, embeddings: list[Embedding]) -> None:
        tables = {id(embedding.table.weight) for embedding in embeddings}
        self._parameters = [
            parameter for parameter in network.parameters() if parameter.requires_grad and id(parameter) not in tables
        ]
        if not self._parameters:
            raise ValueError("the network has no parameter outside its embedding tables")
        self.parameter = torch.cat([parameter.detach().flatten() for parameter in self._parameters])
        self.gradient = torch.zeros_like(self.parameter)
        start = 0
        for parameter in self._parameters:
            part = slice(start, start + parameter.numel())
            parameter.data = self.parameter[part].view_as(parameter)
            parameter.grad = self.gradient[part].view_as(parameter)
            start = part.stop
        self.first, self.second = torch.zeros_like(self.gradient), torch.zeros_like(self.gradient)
        self._count = torch.zeros((), dtype=torch.float32, device=self.gradient.device)

    def clear(self) -> None:
        """Zeroes the gradients, in one kernel."""
        self.gradient.zero_()

    @torch.no_grad()
    def step(self, learning_rate: float, step: int) -> None:
        """One update; `step` from 1."""
        # The kernel of torch.optim.Adam(fused=True), without its class: that imports torch's compiler, which takes seconds.
        self._count.fill_(step)
        torch._fused_adam_(
            [self.parameter],
            [self.gradient],
            [self.first],
            [self.second],
            [],
            [self._count],
            lr=learning_rate,
            beta1=BETA_1,
            beta2=BETA_2,
            weight_decay=0.0,
            eps=EPSILON,
            amsgrad=False,
            maximize=False,
        )

    def release(self) -> None:
        """Gives each parameter its own memory."""
        for parameter in self._parameters:
            parameter.data = parameter.data.clone()
            parameter.grad = None
