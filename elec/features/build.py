"""Ingested rows to encoded columns: Feast's views and online store, the training frame, vocabularies, ids."""

import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path

import orjson
import pyarrow.parquet as pq
from pydantic import BaseModel

from elec.engine import Engine, LocalEngine
from elec.errors import InputError
from elec.features.encoded import fit_files
from elec.features.repository import FeatureRepository
from elec.features.spread import spread_encoding, spread_frame
from elec.ingest.report import SPLITS
from elec.progress import Progress
from elec.spec import Spec


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
        feature_service: The version of Feast's feature service that has the spec's fields; empty if there are none to look up.
        feature_views: Where they are: the names of Feast's views, by ours.
        seconds: By part.
    """

    as_of: datetime
    rows: dict[str, int]
    users: int
    slots: int
    vocabulary: dict[str, int]
    out_of_vocabulary: dict[str, dict[str, float]]
    online: dict[str, str]
    feature_service: str = ""
    feature_views: dict[str, str] = {}
    seconds: dict[str, float]


def build_features(
    spec: Spec,
    ingested: Path,
    folder: Path,
    *,
    feast_folder: str | Path,
    as_of: datetime,
    engine: Engine | None = None,
) -> FeaturesReport:
    """Builds the features of a run.

    Args:
        spec: The data set, and Feast's settings.
        ingested: The folder that ingest wrote.
        folder: The folder to write; it is complete or absent.
        feast_folder: The workspace's Feast folder, a path or `s3://`.
        as_of: The moment that the run stands at.
        engine: Whose workers join, count and encode; this process when left out.

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
        report = _build(spec, ingested, partial, feast_folder, as_of, engine or LocalEngine())
        (partial / "report.json").write_bytes(orjson.dumps(report.model_dump(mode="json"), option=orjson.OPT_INDENT_2))
        partial.chmod(0o755)
        partial.rename(folder)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return report


def _build(
    spec: Spec, ingested: Path, folder: Path, feast_folder: str | Path, as_of: datetime, engine: Engine
) -> FeaturesReport:
    dataset = spec.dataset
    seconds: dict[str, float] = {}
    frame, encoded = folder / "frame", folder / "encoded"
    frame.mkdir()
    encoded.mkdir()
    files = {split: ingested / f"{split}.parquet" for split in SPLITS}
    total = sum(pq.ParquetFile(file).metadata.num_rows for file in files.values())

    repository = FeatureRepository(dataset, feast_folder, spec.run.feast, spec.run.data)
    with ExitStack() as stack:
        with _timed(seconds, "publish"):
            published = stack.enter_context(repository.published(ingested, as_of, engine))
        with _timed(seconds, "frame"), Progress("point-in-time join", unit="rows", total=total) as progress:
            rows = {
                split: spread_frame(
                    engine, published, dataset, file, frame / f"{split}.parquet", progress, join=spec.run.feast.join
                )
                for split, file in files.items()
            }
    with _timed(seconds, "fit"):
        train, *others = (frame / f"{split}.parquet" for split in SPLITS)
        encoder, users = fit_files(dataset, train, others, engine)
        encoder.save(folder / "vocabulary")
    with (
        _timed(seconds, "encode"),
        Progress("encode features", unit="rows", total=total) as progress,
        spread_encoding(engine, encoder, dataset.user, users, folder / "vocabulary") as encode,
    ):
        unknown = {split: encode(frame / f"{split}.parquet", encoded / f"{split}.parquet", progress) for split in SPLITS}
    return FeaturesReport(
        as_of=as_of,
        rows=rows,
        users=len(users.values),
        slots=encoder.slots,
        vocabulary={field.name: field.size for field in encoder.fields},
        out_of_vocabulary=unknown,
        online=published.online,
        feature_service=published.service or "",
        feature_views=published.views,
        seconds={part: round(spent, 3) for part, spent in seconds.items()},
    )


@contextmanager
def _timed(seconds: dict[str, float], part: str) -> Iterator[None]:
    started = time.monotonic()
    yield
    seconds[part] = time.monotonic() - started
