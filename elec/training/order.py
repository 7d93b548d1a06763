"""The order of the rows in an epoch: shuffled by blocks, so that rows on disk can be read in it too."""

from collections.abc import Iterator
from dataclasses import dataclass

import torch

#: Rows that lie next to each other in the file and stay in one window.
BLOCK_ROWS = 65_536
#: Blocks whose rows are shuffled among each other; so many are in memory at once when rows are streamed.
WINDOW_BLOCKS = 8


@dataclass(frozen=True)
class Window:
    """Blocks whose rows are shuffled among each other.

    Attributes:
        blocks: (first row, row after the last) of each, in shuffled order.
    """

    blocks: tuple[tuple[int, int], ...]

    def __len__(self) -> int:
        return sum(stop - start for start, stop in self.blocks)

    def positions(self) -> torch.Tensor:
        """The rows' positions in their split, block after block."""
        return torch.cat([torch.arange(start, stop) for start, stop in self.blocks])


def shuffled_windows(rows: int, seed: int, epoch: int, *, skip: int = 0) -> Iterator[tuple[Window, torch.Tensor]]:
    """The order of an epoch: blocks in random order, and within windows of some blocks the rows in random order.

    Up to half a million rows are one window, that is one permutation of all.

    Args:
        rows: Of the split.
        seed: Of the run.
        epoch: From 1.
        skip: Rows to leave out at the beginning; windows that fall away wholly are not given.

    Yields:
        A window, and the order of its rows (of those not skipped): int64 positions in the window.
    """
    # Drawn on the CPU, so that every device and every source sees the same batches.
    generator = torch.Generator().manual_seed(seed * 1_000_003 + epoch)
    blocks = [(start, min(start + BLOCK_ROWS, rows)) for start in range(0, rows, BLOCK_ROWS)]
    windows = [blocks]
    if len(blocks) > WINDOW_BLOCKS:
        count = -(-len(blocks) // WINDOW_BLOCKS)
        shuffled = torch.randperm(len(blocks), generator=generator).tolist()
        # Of about the same size each: a small last window would hardly be shuffled.
        bounds = [len(blocks) * number // count for number in range(count + 1)]
        windows = [[blocks[block] for block in shuffled[bounds[number] : bounds[number + 1]]] for number in range(count)]
    for window in (Window(tuple(found)) for found in windows):
        order = torch.randperm(len(window), generator=generator)
        if skip < len(order):
            yield window, order[skip:]
        skip = max(skip - len(order), 0)
