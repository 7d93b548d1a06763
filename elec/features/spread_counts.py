"""Values counted by the workers of an engine, a piece of a split a task, and added up here: exactly, as counts are."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.parquet as pq

from elec.engine import Engine
from elec.engine.pieces import map_pieces
from elec.features.counts import ValueCounts
from elec.progress import Progress
from elec.spec import FieldSpec


@dataclass(frozen=True)
class _Count:
    """Counts the values of a piece."""

    fields: tuple[FieldSpec, ...]
    seen_only: bool

    def __call__(self, frame: Path, target: Path) -> int:
        with ValueCounts() as counts:
            counts.add(frame, self.fields, seen_only=self.seen_only)
            counts.save(target)
        return int(pq.read_metadata(frame).num_rows)


def spread_counts(
    engine: Engine, counts: ValueCounts, frame: Path, fields: Sequence[FieldSpec], *, seen_only: bool, progress: Progress
) -> None:
    """What `ValueCounts.add` counts, counted by workers, and added up here: the same, for counts are exact.

    Args:
        engine: Where.
        counts: Takes the counts.
        frame: A split's Parquet file.
        fields: Those to count.
        seen_only: Whether their values are only seen.
        progress: Counts rows.
    """
    if engine.pieces == 1:
        counts.add(frame, fields, seen_only=seen_only, progress=progress)
        return
    with map_pieces(engine, _Count(tuple(fields), seen_only), frame, frame.parent) as pieces:
        for path, rows in pieces:
            counts.add_saved(path)
            progress.advance(rows)
