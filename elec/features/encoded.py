"""Encoded rows on disk: `row_id`, `label`, `user_index` and the slots of all fields, a Parquet file a split."""

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from elec.engine import Engine, LocalEngine
from elec.features.counts import ValueCounts, coded_batches
from elec.features.encoding import EncodedField, FeatureEncoder
from elec.features.ids import OUT_OF_VOCABULARY
from elec.features.lookup import Lookup
from elec.features.spread_counts import spread_counts
from elec.ingest.parallel import in_order
from elec.progress import Progress
from elec.spec import DatasetSpec

#: Rows of a row group: what training reads at once (`elec.training.order.BLOCK_ROWS`).
GROUP_ROWS = 65_536


def fit_files(
    dataset: DatasetSpec, train: Path, others: Sequence[Path], engine: Engine | None = None
) -> tuple[FeatureEncoder, Lookup]:
    """Learns the encoder from the training rows, and numbers the users of all rows, in one pass over the files.

    Args:
        dataset: Names the fields, their least counts and buckets.
        train: The Parquet file of the training rows.
        others: Those of all other rows; only their users are read.
        engine: Whose workers count; this process when left out.

    Returns:
        The encoder, and the distinct users, sorted, null last; a user's index is its position.
    """
    total = sum(pq.ParquetFile(file).metadata.num_rows for file in (train, *others))
    counted = [field for field in dataset.tabular_fields if field.hash_buckets is None or field.name == dataset.user]
    users = [field for field in counted if field.name == dataset.user]
    with ValueCounts() as counts, Progress("fit vocabularies", unit="rows", total=total) as progress:
        engine = engine or LocalEngine()
        spread_counts(engine, counts, train, counted, seen_only=False, progress=progress)
        encoder = FeatureEncoder.of_counts(dataset.tabular_fields, counts)
        for file in others:
            spread_counts(engine, counts, file, users, seen_only=True, progress=progress)
        found = Lookup(counts.distinct(dataset.user))
    return encoder.with_crossed(dataset.crossed_fields, train, engine), found


def encode_file(
    encoder: FeatureEncoder, user: str, users: Lookup, frame: Path, target: Path, progress: Progress
) -> dict[str, float]:
    """Encodes a split.

    Args:
        encoder: Of all fields.
        user: The column of the user's key.
        users: All users.
        frame: The Parquet file with the fields' raw values.
        target: The Parquet file to write, its rows in the same order.
        progress: Counts rows.

    Returns:
        By field, the share of rows with a value out of vocabulary.
    """
    schema = pa.schema(
        [
            ("row_id", pa.int64()),
            ("label", pa.int8()),
            ("user_index", pa.int64()),
            ("slots", pa.list_(pa.int64(), encoder.slots)),
        ]
    )
    there = pq.read_schema(frame).names
    wanted = {"row_id", "label", user, *(spec.name for spec in encoder.specs)}
    columns = [name for name in there if name in wanted]

    def encoded(batch: pa.RecordBatch) -> tuple[pa.RecordBatch, dict[str, int]]:
        slots_SN = encoder.encode_by_slot(batch)
        slots = pa.FixedSizeListArray.from_arrays(pa.array(slots_SN.T.reshape(-1)), encoder.slots)
        index = pa.array(_user_index(users, batch.column(user)))
        rows = pa.record_batch([batch.column("row_id"), batch.column("label"), index, slots], schema)
        return rows, unknown_rows(encoder.fields, slots_SN)

    unknown: dict[str, int] = dict.fromkeys((field.name for field in encoder.fields), 0)
    count = 0
    with EncodedWriter(target, schema) as writer:
        for rows, found in in_order(encoded, coded_batches(frame, columns)):
            writer.write(rows)
            for name, number in found.items():
                unknown[name] += number
            count += rows.num_rows
            progress.advance(rows.num_rows)
    return {name: number / max(count, 1) for name, number in unknown.items()}


class EncodedWriter:
    """Writes encoded rows as training reads them: row groups of `GROUP_ROWS`, quick to read, in a thread of its own.

    Ids are small, so most of their eight bytes are zero: with the first bytes of all ids together, then the second ones and so
    on, LZ4 leaves little of them, in a third of the time that a dictionary takes to write and to read.

    Args:
        path: The Parquet file.
        schema: Its columns.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        whole = [name for name in schema.names if pa.types.is_integer(schema.field(name).type) and name != "label"]
        lists = [f"{name}.list.element" for name in schema.names if pa.types.is_fixed_size_list(schema.field(name).type)]
        self._writer = pq.ParquetWriter(
            path,
            schema,
            compression="lz4",
            use_dictionary=["label"],
            use_byte_stream_split=[*whole, *lists],
            write_statistics=["row_id"],
        )
        self._waiting: list[pa.RecordBatch] = []
        self._thread = ThreadPoolExecutor(1, "write-encoded")
        self._written: Future[None] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        try:
            if error is None:
                self._flush(1)
        finally:
            self._thread.shutdown()
            self._writer.close()
        if error is None and self._written is not None:
            self._written.result()

    def write(self, rows: pa.RecordBatch) -> None:
        """Adds rows."""
        self._waiting.append(rows)
        self._flush(GROUP_ROWS)

    def _flush(self, least: int) -> None:
        """Writes whole row groups, or what is left."""
        rows = sum(batch.num_rows for batch in self._waiting)
        if rows < least:
            return
        waiting = pa.Table.from_batches(self._waiting)
        whole = rows // GROUP_ROWS * GROUP_ROWS if least == GROUP_ROWS else rows
        self._waiting = waiting.slice(whole).to_batches()
        if self._written is not None:
            self._written.result()
        self._written = self._thread.submit(self._writer.write_table, waiting.slice(0, whole), GROUP_ROWS)


def unknown_rows(fields: Sequence[EncodedField], slots_SN: npt.NDArray[np.int64]) -> dict[str, int]:
    """By field, how many of N rows hold a value out of vocabulary."""
    counts = {}
    slot = 0
    for field in fields:
        is_unknown = slots_SN[slot : slot + field.width] == OUT_OF_VOCABULARY
        counts[field.name] = int(np.count_nonzero(is_unknown.any(axis=0) if field.width > 1 else is_unknown))
        slot += field.width
    return counts


def _user_index(users: Lookup, keys: pa.Array) -> npt.NDArray[np.int64]:
    """The indices of N users, int64 [N]; rows without a user are all of one, the last."""
    if not isinstance(keys, pa.DictionaryArray):
        keys = keys.dictionary_encode()
    index_D = np.append(users.positions(keys.dictionary), len(users.values) - 1)
    code_N = keys.indices.fill_null(len(index_D) - 1) if keys.null_count else keys.indices
    index_N: npt.NDArray[np.int64] = index_D.take(code_N.to_numpy())
    return index_N
