"""Adam with a linear decay of the learning rate, and L2 on the embedding rows that a batch reads."""

import torch
from torch import nn

from elec.models.embedding import Embedding

_FINAL_SHARE = 0.02


class Optimiser:
    """Steps a network.

    Args:
        network: Its parameters are updated; its `Embedding` tables are found.
        learning_rate: At the first step; it falls linearly to 2% of this at the last one.
        embedding_l2: Added to the gradient as l2 * row (coupled, as in Adam's own paper), once for every row that the batch
            reads. Rows that the batch does not read stay as they are, so rare values are not pulled to zero by frequent ones.
        steps: Of the whole training.
    """

    def __init__(self, network: nn.Module, *, learning_rate: float, embedding_l2: float, steps: int) -> None:
        self._embeddings = [module for module in network.modules() if isinstance(module, Embedding)]
        self._l2 = embedding_l2
        # Fused: one kernel for all parameters, on the CPU as on CUDA.
        self._adam = torch.optim.Adam(network.parameters(), lr=learning_rate, fused=True)
        self._schedule = torch.optim.lr_scheduler.LinearLR(
            self._adam, start_factor=1.0, end_factor=_FINAL_SHARE, total_iters=max(steps - 1, 1)
        )

    def step(self, loss: torch.Tensor, slots_BS: torch.Tensor) -> None:
        """One update.

        Args:
            loss: A scalar.
            slots_BS: The ids that the loss was computed from.
        """
        self._adam.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if self._l2 > 0:
            for embedding in self._embeddings:
                _add_l2(embedding, slots_BS, self._l2)
        self._adam.step()
        self._schedule.step()


@torch.no_grad()
def _add_l2(embedding: Embedding, slots_BS: torch.Tensor, l2: float) -> None:
    weight_VE = embedding.table.weight
    assert weight_VE.grad is not None
    # A mask over the table marks each row once, however often the batch reads it, without sorting the ids.
    read_V1 = weight_VE.new_zeros((len(weight_VE), 1))
    read_V1[embedding.rows(slots_BS).flatten()] = 1.0
    weight_VE.grad.addcmul_(weight_VE, read_V1, value=l2)
