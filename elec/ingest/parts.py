"""The three parts of a data set: every visible row goes to train, valid or test, in reading order."""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from elec.ingest import fields
from elec.ingest.duplicates import Duplicates
from elec.ingest.log import SPLIT
from elec.ingest.part import Part
from elec.ingest.report import NEGATIVES, SPLITS
from elec.ingest.segment import Segment
from elec.ingest.splits import Boundaries
from elec.ingest.visible import is_outside, is_whole
from elec.ingest.window import Window
from elec.ingest.writing import LEAST_ROWS, text_columns
from elec.progress import Progress
from elec.spec import DatasetSpec, Entity

_BATCH_ROWS = 131_072
Mask = npt.NDArray[np.bool_]


def part_schema(spec: DatasetSpec) -> pa.Schema:
    """The columns of `train.parquet`, `valid.parquet` and `test.parquet`."""
    return pa.schema(
        [
            ("row_id", pa.int64()),
            ("label", pa.int8()),
            ("event_timestamp", fields.TIME),
            (spec.user, pa.string()),
            (spec.item, pa.string()),
            *((field.name, fields.ARROW_TYPES[field.kind]) for field in spec.fields_of(Entity.CONTEXT)),
        ]
    )


@dataclass(frozen=True)
class Choice:
    """What decides where a row goes.

    Attributes:
        window: What is visible.
        duplicates: Which rows are left out.
        limits: Where valid and test begin, for a split by time.
        labels: By `row_id`, where a log of clicks says them.
        negatives: Share of train's rows without a click that is kept.
    """

    window: Window
    duplicates: Duplicates
    limits: Boundaries | None
    labels: npt.NDArray[np.int8] | None
    negatives: float


def write_parts(spec: DatasetSpec, segments: list[Segment], choice: Choice, target: Path) -> tuple[dict[str, Part], int]:
    """Writes the parts.

    Args:
        spec: What the data set is.
        segments: The log's, in order.
        choice: What decides.
        target: The folder.

    Returns:
        The parts, and how many rows without a click were left out of train.
    """
    schema = part_schema(spec)
    counted = [NEGATIVES] if spec.aggregates and choice.negatives < 1 else []
    columns = [*schema.names, *([SPLIT] if choice.limits is None else [])]
    left_out = 0
    seen = [segment for segment in segments if not is_outside(segment, choice.window)]
    with ExitStack() as stack:
        progress = stack.enter_context(Progress("split", unit="rows", total=sum(segment.meta.kept for segment in seen)))
        parts = {name: stack.enter_context(Part(target / f"{name}.parquet", schema)) for name in (*SPLITS, *counted)}
        for segment in seen:
            done = 0
            with pq.ParquetFile(segment.rows, read_dictionary=text_columns(schema)) as file:
                for number in range(file.num_row_groups):
                    size = file.metadata.row_group(number).num_rows
                    if not _copied(parts, file, number, segment, choice):
                        begin = done
                        for batch in file.iter_batches(batch_size=_BATCH_ROWS, row_groups=[number], columns=columns):
                            hashes = segment.identity(begin, len(batch)) if choice.negatives < 1 else None
                            left_out += _write(parts, pa.Table.from_batches([batch]), hashes, segment, choice)
                            begin += len(batch)
                    done += size
                    progress.advance(size)
    return parts, left_out


def _copied(parts: dict[str, Part], file: pq.ParquetFile, number: int, segment: Segment, choice: Choice) -> bool:
    """Copies a row group if all of its rows go to one part; says whether it did."""
    group = file.metadata.row_group(number)
    # Smaller ones are put together instead.
    if choice.limits is None or group.num_rows < LEAST_ROWS:
        return False
    columns = file.schema_arrow.names
    ids, times = (group.column(columns.index(name)).statistics for name in ("row_id", "event_timestamp"))
    first, last = choice.limits.split_of(np.array([times.min, times.max]))
    if first != last or not choice.window.holds(times.min, times.max) or (first == 0 and choice.negatives < 1):
        return False
    dropped = choice.duplicates.dropped(np.arange(ids.min, ids.max + 1))
    if dropped is not None and dropped.any():
        return False
    clicks, labels = segment.meta.clicks[number], None
    if choice.labels is not None:
        found = choice.labels[file.read_row_group(number, columns=["row_id"])["row_id"].to_numpy()]
        clicks, labels = int(found.sum(dtype=np.int64)), pa.table({"label": pa.array(np.asarray(found))})
    parts[SPLITS[first]].copy(segment.rows, number, times.min, times.max, clicks, labels)
    return True


def _write(
    parts: dict[str, Part],
    rows: pa.Table,
    hashes: npt.NDArray[np.uint64] | None,
    segment: Segment,
    choice: Choice,
) -> int:
    ids, times = rows["row_id"].to_numpy(), rows["event_timestamp"].to_numpy()
    if choice.labels is not None:
        rows = rows.set_column(rows.column_names.index("label"), "label", pa.array(np.asarray(choice.labels[ids])))
    position = rows[SPLIT].to_numpy() if choice.limits is None else choice.limits.split_of(times)
    if choice.limits is None:
        rows = rows.drop_columns(SPLIT)
    stays = np.ones(len(rows), dtype=bool)
    if not is_whole(segment, choice.window):
        stays &= choice.window.visible(times)
    dropped = choice.duplicates.dropped(ids)
    if dropped is not None:
        stays &= ~dropped
    left_out = 0
    if hashes is not None:
        spare = stays & (position == 0) & (rows["label"].to_numpy() == 0) & ~sampled(hashes, choice.negatives)
        left_out = int(spare.sum())
        if left_out and NEGATIVES in parts:
            parts[NEGATIVES].write(rows.filter(pa.array(spare)))
        stays &= ~spare
    for number, split in enumerate(SPLITS):
        mine = stays & (position == number)
        if mine.all():
            parts[split].write(rows)
        elif mine.any():
            parts[split].write(rows.filter(pa.array(mine)))
    return left_out


def sampled(hashes: npt.NDArray[np.uint64], share: float) -> Mask:
    """Which rows are in a sample: the same ones whatever other rows there are.

    Args:
        hashes: Of the rows.
        share: Of rows that are in it.
    """
    # SplitMix64's last step: the sample has nothing to do with what else the hash is used for.
    mixed = (hashes ^ (hashes >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed = mixed ^ (mixed >> np.uint64(31))
    chosen: Mask = mixed.astype(np.float64) < share * 2.0**64
    return chosen
