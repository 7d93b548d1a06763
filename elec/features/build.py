"""Ingested rows to encoded columns: Feast's views and online store, the training frame, vocabularies, ids."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel

from elec.errors import InputError
from elec.features.encoding import FeatureEncoder
from elec.features.engine import duckdb_connection, quoted
from elec.features.frame import write_frame
from elec.features.ids import OUT_OF_VOCABULARY
from elec.features.lookup import Lookup, one_array
from elec.features.repository import FeatureRepository
from elec.ingest.report import SPLITS
from elec.progress import Progress
from elec.spec import DatasetSpec, Spec

_ENCODED_BATCH = 65_536


class FeaturesReport(BaseModel):
    """What the features step did.

    Attributes:
        as_of: The online store's moment.
        rows: By split.
        users: Distinct users over all splits.
        slots: Ids in an encoded row.
        vocabulary: Ids by field, those of padding, missing and out of vocabulary included.
        out_of_vocabulary: By split and field, the share of rows with a value that training did not know.
        online: By view, which rows went to the online store: `all`, `new` or `none`.
        seconds: By part.
    """

    as_of: datetime
    rows: dict[str, int]
    users: int
    slots: int
    vocabulary: dict[str, int]
    out_of_vocabulary: dict[str, dict[str, float]]
    online: dict[str, str]
    seconds: dict[str, float]


def build_features(spec: Spec, ingested: Path, folder: Path, *, feast_folder: str | Path, as_of: datetime) -> FeaturesReport:
    """Builds the features of a run.

    Args:
        spec: The data set, and Feast's settings.
        ingested: The folder that ingest wrote.
        folder: The folder to write; it is complete or absent.
        feast_folder: The workspace's Feast folder, a path or `s3://`.
        as_of: The moment that the run stands at.

    Returns:
        The report, also in `report.json`.

    Raises:
        InputError: If the folder holds something already, or the settings do not fit the workspace.
        OnlineStoreError: If the online store cannot be reached.
    """
    if folder.exists() and any(folder.iterdir()):
        raise InputError(f"{folder}: holds files already, and nothing is overwritten; give a folder that does not exist yet")
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
    try:
        report = _build(spec, ingested, partial, feast_folder, as_of)
        (partial / "report.json").write_bytes(orjson.dumps(report.model_dump(mode="json"), option=orjson.OPT_INDENT_2))
        partial.chmod(0o755)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return report


def _build(spec: Spec, ingested: Path, folder: Path, feast_folder: str | Path, as_of: datetime) -> FeaturesReport:
    dataset = spec.dataset
    seconds: dict[str, float] = {}
    frame, encoded = folder / "frame", folder / "encoded"
    frame.mkdir()
    encoded.mkdir()
    files = {split: ingested / f"{split}.parquet" for split in SPLITS}
    total = sum(pq.ParquetFile(file).metadata.num_rows for file in files.values())

    repository = FeatureRepository(dataset, feast_folder, spec.run.feast)
    with ExitStack() as stack:
        with _timed(seconds, "publish"):
            published = stack.enter_context(repository.published(ingested, as_of))
        with _timed(seconds, "frame"), Progress("point-in-time join", unit="rows", total=total) as progress:
            rows = {
                split: write_frame(
                    published.store, dataset, file, frame / f"{split}.parquet", progress, join=spec.run.feast.join
                )
                for split, file in files.items()
            }
    with _timed(seconds, "fit"):
        encoder = FeatureEncoder.fit(dataset, frame / "train.parquet")
        encoder.save(folder / "vocabulary")
    with _timed(seconds, "encode"), Progress("encode features", unit="rows", total=total) as progress:
        users = _users(dataset, frame)
        unknown = {
            split: _encode(encoder, dataset.user, users, frame / f"{split}.parquet", encoded / f"{split}.parquet", progress)
            for split in SPLITS
        }
    return FeaturesReport(
        as_of=as_of,
        rows=rows,
        users=len(users.values),
        slots=encoder.slots,
        vocabulary={field.name: field.size for field in encoder.fields},
        out_of_vocabulary=unknown,
        online=published.online,
        seconds={part: round(spent, 3) for part, spent in seconds.items()},
    )


def _users(dataset: DatasetSpec, frame: Path) -> Lookup:
    """The distinct users of all splits, sorted, null last; a user's index is its position."""
    key = quoted(dataset.user)
    with duckdb_connection() as connection:
        found = connection.sql(
            f"SELECT DISTINCT {key} AS user FROM read_parquet($files) ORDER BY 1 NULLS LAST",  # noqa: S608 - the name is quoted
            params={"files": [str(frame / f"{split}.parquet") for split in SPLITS]},
        ).to_arrow_table()
    return Lookup(one_array(found.column(0)))


def _user_index(users: Lookup, keys: pa.Array) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The indices of N users, int64 [N]; rows without a user are all of one, the last."""
    index_N = users.positions(keys)
    if keys.null_count:
        index_N[keys.is_null().to_numpy(zero_copy_only=False)] = len(users.values) - 1
    return index_N


def _encode(
    encoder: FeatureEncoder, user: str, users: Lookup, frame: Path, target: Path, progress: Progress
) -> dict[str, float]:
    """Encodes a split; gives the share of rows out of vocabulary by field."""
    schema = pa.schema(
        [
            ("row_id", pa.int64()),
            ("label", pa.int8()),
            ("user_index", pa.int64()),
            ("slots", pa.list_(pa.int64(), encoder.slots)),
        ]
    )
    unknown: dict[str, int] = dict.fromkeys((field.name for field in encoder.fields), 0)
    rows = 0
    with pq.ParquetFile(frame) as source, pq.ParquetWriter(target, schema) as writer:
        for batch in source.iter_batches(_ENCODED_BATCH):
            slots_NS = encoder.encode(batch)
            writer.write_batch(
                pa.record_batch(
                    [
                        batch.column("row_id"),
                        batch.column("label"),
                        pa.array(_user_index(users, batch.column(user))),
                        pa.FixedSizeListArray.from_arrays(pa.array(slots_NS.reshape(-1)), encoder.slots),
                    ],
                    schema,
                )
            )
            for name, count in _unknown_rows(encoder, slots_NS).items():
                unknown[name] += count
            rows += batch.num_rows
            progress.advance(batch.num_rows)
    return {name: count / max(rows, 1) for name, count in unknown.items()}


def _unknown_rows(encoder: FeatureEncoder, slots_NS: np.ndarray[Any, np.dtype[np.int64]]) -> dict[str, int]:
    """By field, how many of N rows hold a value out of vocabulary."""
    is_unknown = slots_NS == OUT_OF_VOCABULARY
    counts = {}
    slot = 0
    for field in encoder.fields:
        counts[field.name] = int(is_unknown[:, slot : slot + field.width].any(axis=1).sum())
        slot += field.width
    return counts


@contextmanager
def _timed(seconds: dict[str, float], part: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    seconds[part] = time.monotonic() - started
