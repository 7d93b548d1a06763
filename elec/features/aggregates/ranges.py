"""Ranges of keys, each with so few counts that they can be summed up in a set amount of memory."""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import pyarrow as pa

from elec.engine.pieces import opened
from elec.features.aggregates.impressions import Key, Run


@dataclass(frozen=True)
class KeyRange:
    """The keys from one on and before another.

    Attributes:
        least: The first key; None for all that are before `end`.
        end: The first key that is not among them; None if they are the last ones.
        batches: Runs, and which of their batches may hold some of them: from one on and before another.
    """

    least: Key | None
    end: Key | None
    batches: tuple[tuple[str, int, int], ...]

    def read(self) -> Iterator[pa.RecordBatch]:
        """The counts that may be of these keys."""
        for uri, first, end in self.batches:
            with opened(uri) as stream, pa.ipc.open_file(stream) as run:
                for number in range(first, end):
                    yield run.get_batch(number)


def key_ranges(runs: Sequence[Run], most_rows: int) -> list[KeyRange]:
    """Cuts the keys of all runs into ranges.

    Args:
        runs: Of one aggregate.
        most_rows: Counts of a range; a few batches of every run may come on top, and whatever a single key has.

    Returns:
        Ranges that follow each other, at least one.
    """
    bounds: list[Key | None] = [None]
    held = 0
    for first, rows in sorted((first, rows) for run in runs for first, rows in zip(run.firsts, run.rows, strict=True)):
        if held + rows > most_rows and held and first != bounds[-1]:
            bounds.append(first)
            held = 0
        held += rows
    return [_range(runs, least, end) for least, end in pairwise([*bounds, None])]


def _range(runs: Sequence[Run], least: Key | None, end: Key | None) -> KeyRange:
    batches = []
    for run in runs:
        # The batch before the first that begins with such a key may end with some of them.
        first = 0 if least is None else max(bisect_left(run.firsts, least) - 1, 0)
        stop = len(run.firsts) if end is None else bisect_left(run.firsts, end)
        if first < stop:
            batches.append((run.uri, first, stop))
    return KeyRange(least, end, tuple(batches))
