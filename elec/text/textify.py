"""Writes the texts of a training frame: each distinct text once, and for every row which texts are its own.

Per entity (the default) a row has two texts, one of the user and one of the item, each encoded once however often it is
shown. Per sample, as in the paper, a row has one text of the whole record. With a history, the text of the user (or of the
record) also says what the user liked before, so there are as many of it as users have had histories.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from elec import storage
from elec.ingest.report import SPLITS
from elec.progress import Progress
from elec.spec import DatasetSpec, Entity, FieldSpec, Kind, Spec
from elec.text.history import Histories, Past
from elec.text.summarise import long_texts, summarise
from elec.text.template import distinct, render, values

_ROWS_AT_ONCE = 65_536
# With histories, whose sentences are long.
_HISTORIES_AT_ONCE = 8_192


class TextReport(BaseModel):
    """What was written.

    Attributes:
        roles: What a row's texts are of: `user` and `item`, or `sample`.
        unique: Distinct texts.
        unique_by_role: Distinct texts of each role; two roles may share one.
        rows: By split.
        summarised: Distinct long texts that became tags.
        summaries_reused: Those of them whose tags were known.
    """

    model_config = ConfigDict(frozen=True)

    roles: tuple[str, ...]
    unique: int
    unique_by_role: dict[str, int]
    rows: dict[str, int]
    summarised: int
    summaries_reused: int


def textify(spec: Spec, features: Path, folder: Path, *, summary_cache: Path | None = None) -> TextReport:
    """Turns records into texts.

    Writes `texts.parquet` (key: sha256 of the text, text; sorted by key), `rows/<split>.parquet` (row_id and, for each role,
    the number of its text in `texts.parquet`) and `report.json`.

    Args:
        spec: The data set and the run's text settings.
        features: Folder with `frame/<split>.parquet`.
        folder: To be written; complete, or absent.
        summary_cache: Tags of long texts that were made before.

    Raises:
        InputError: If the user's texts are to have a history, but the LLM reads no field of the item.
        FileExistsError: If the folder holds something already.
    """
    frames = {split: features / "frame" / f"{split}.parquet" for split in SPLITS}
    roles = roles_of(spec)
    read = list({field.name: field for fields in roles.values() for field in fields}.values())
    long = long_texts(list(frames.values()), read, spec.run.text.summarise_above)
    tags, summarised, reused = summarise(long, spec.run.text, summary_cache)
    history = spec.run.text.history
    histories = Histories(spec.dataset, frames, history, tags) if history else None

    with storage.whole_folder(folder) as staging:
        (staging / "rows").mkdir()
        numbers: dict[str, int] = {}
        total = sum(pq.read_metadata(frame).num_rows for frame in frames.values())
        with Progress("textify", unit="rows", total=total) as progress:
            rows = {
                split: _number(split, frame, roles, tags, histories, numbers, staging / f"{split}.unsorted", progress)
                for split, frame in frames.items()
            }
        rank = _write_texts(numbers, staging / "texts.parquet")
        used = {role: np.zeros(len(rank), bool) for role in roles}
        for split in SPLITS:
            unsorted = staging / f"{split}.unsorted"
            _rank(unsorted, rank, used, staging / "rows" / f"{split}.parquet")
            unsorted.unlink()
            _assert_rows(frames[split], staging / "rows" / f"{split}.parquet", rows[split])
        report = TextReport(
            roles=tuple(roles),
            unique=len(numbers),
            unique_by_role={role: int(found.sum()) for role, found in used.items()},
            rows=rows,
            summarised=summarised,
            summaries_reused=reused,
        )
        (staging / "report.json").write_text(report.model_dump_json(indent=2), encoding="utf-8")
    return report


def roles_of(spec: Spec) -> dict[str, list[FieldSpec]]:
    """The fields that each text of a row is made of, in the spec's order."""
    dataset: DatasetSpec = spec.dataset
    read = [field for field in dataset.fields if field.in_text]
    if spec.run.text.per == "sample":
        return {"sample": read}
    return {str(role): [field for field in read if field.of is role] for role in (Entity.USER, Entity.ITEM)}


def _number(
    split: str,
    frame: Path,
    roles: dict[str, list[FieldSpec]],
    tags: dict[str, str],
    histories: Histories | None,
    numbers: dict[str, int],
    target: Path,
    progress: Progress,
) -> int:
    """Numbers texts in the order in which they turn up, adds new ones to `numbers`, and writes each row's numbers."""
    read = [field.name for fields in roles.values() for field in fields]
    columns = list(dict.fromkeys(["row_id", *read, *(histories.columns if histories else ())]))
    at_once = _HISTORIES_AT_ONCE if histories else _ROWS_AT_ONCE
    rows = 0
    with pq.ParquetWriter(target, _row_schema(roles)) as writer:
        for batch in pq.ParquetFile(frame).iter_batches(batch_size=at_once, columns=columns):
            past = histories.of(split, batch) if histories else None
            found = [
                _texts_of(batch, fields, tags, past if role != Entity.ITEM else None, numbers) for role, fields in roles.items()
            ]
            writer.write_batch(pa.record_batch([batch.column("row_id"), *found], schema=_row_schema(roles)))
            rows += batch.num_rows
            progress.advance(batch.num_rows)
    return rows


def _texts_of(
    batch: pa.RecordBatch, fields: Sequence[FieldSpec], tags: dict[str, str], past: Past | None, numbers: dict[str, int]
) -> pa.Array:
    columns = [values(field, batch.column(field.name), tags if field.kind is Kind.TEXT else None) for field in fields]
    first, which = distinct([*columns, past.states] if past else columns, batch.num_rows)
    texts = render(fields, [column.take(pa.array(first)) for column in columns], len(first))
    if past:
        texts = past.append(texts, first)
    # The loop is over the batch's distinct texts; different records may share one ("a. B is c" in a value).
    number = np.fromiter((numbers.setdefault(text, len(numbers)) for text in texts.to_pylist()), np.int32, len(first))
    return pa.array(number[which])


def _write_texts(numbers: dict[str, int], target: Path) -> np.ndarray:
    """Writes the texts sorted by key; gives int32 [texts], the place of each number."""
    texts = pa.array(list(numbers), pa.string())
    keys = np.array([hashlib.sha256(text.encode()).hexdigest() for text in numbers], dtype="U64")
    order = np.argsort(keys)
    table = pa.table({"key": pa.array(keys[order], pa.string()), "text": texts.take(pa.array(order))})
    pq.write_table(table, target, row_group_size=_ROWS_AT_ONCE)
    rank = np.empty(len(order), dtype=np.int32)
    rank[order] = np.arange(len(order), dtype=np.int32)
    return rank


def _rank(source: Path, rank: np.ndarray, used: dict[str, np.ndarray], target: Path) -> None:
    """Writes the places of a split's texts; marks in `used` (bool [texts] by role) which ones it has."""
    schema = pq.read_schema(source)
    with pq.ParquetWriter(target, schema) as writer:
        for batch in pq.ParquetFile(source).iter_batches(batch_size=_ROWS_AT_ONCE):
            placed = {role: rank[batch.column(role).to_numpy()] for role in used}
            for role, places in placed.items():
                used[role][places] = True
            columns = [batch.column("row_id"), *(pa.array(places) for places in placed.values())]
            writer.write_batch(pa.record_batch(columns, schema=schema))


def _row_schema(roles: dict[str, list[FieldSpec]]) -> pa.Schema:
    return pa.schema([("row_id", pa.int64()), *((role, pa.int32()) for role in roles)])


def _assert_rows(frame: Path, written: Path, counted: int) -> None:
    expected, found = pq.read_metadata(frame).num_rows, pq.read_metadata(written).num_rows
    if not expected == found == counted:
        raise AssertionError(f"{frame} has {expected} rows, its texts {found}")
