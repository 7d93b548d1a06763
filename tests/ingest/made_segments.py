"""Segments made of event times alone; rows of one time are equal rows if they are said to be."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from elec.ingest.duplicates import write_repeated
from elec.ingest.segment import IDENTITY, REPEATED, ROWS, Meta, Segment
from elec.ingest.sources import SourceFile


def made_segments(folder: Path, times: list[int], identities: list[int], cuts: list[int]) -> list[Segment]:
    """One segment for each piece of the rows.

    Args:
        folder: Where.
        times: Of the rows.
        identities: Equal for equal rows.
        cuts: Where a file ends and the next one begins.
    """
    ends = sorted(min(cut, len(times)) for cut in cuts)
    return [
        _made(folder / str(number), times[begin:end], identities[begin:end], begin)
        for number, (begin, end) in enumerate(zip([0, *ends], [*ends, len(times)], strict=True))
    ]


def _made(folder: Path, times: list[int], identities: list[int], base: int) -> Segment:
    folder.mkdir()
    rows = {"row_id": pa.array(range(base, base + len(times)), pa.int64()), "event_timestamp": pa.array(times, pa.int64())}
    pq.write_table(pa.table(rows), folder / ROWS)
    mixed = (np.array(identities, np.uint64) + np.uint64(1)) * np.uint64(0x9E3779B97F4A7C15)
    mixed.tofile(folder / IDENTITY)
    low, high = min(times, default=None), max(times, default=None)
    meta = Meta(
        base=base,
        read=len(times),
        kept=len(times),
        refused=0,
        dropped=0,
        repeated=0,
        low=low,
        high=high,
        first=low,
        last=high,
        future=None,
        ways_out={},
        clicks=(),
        seen=(),
        sizes={},
    )
    segment = Segment(SourceFile(str(folder), "csv", 1), folder, meta)
    repeated = write_repeated(segment, folder / REPEATED)
    return Segment(segment.file, folder, meta.model_copy(update={"repeated": repeated}))
