"""Aggregates, as a run's training frame has them: how they are distributed, and the click rate along them."""

# ruff: noqa: S608 - names and paths are quoted by elec.ingest.sql, everything else is a number of ours

import tempfile
from pathlib import Path

from elec.describe.fields import summarise_values
from elec.describe.summary import Counted, DataSummary
from elec.ingest.report import SPLITS
from elec.ingest.sql import Sql, name, texts
from elec.progress import Progress
from elec.spec import DatasetSpec


def with_aggregates(summary: DataSummary, spec: DatasetSpec, frame: Path) -> DataSummary:
    """A description with the aggregates behind its fields.

    Args:
        summary: Of the data set.
        spec: What it is.
        frame: The folder of the training frame.
    """
    fields = spec.aggregate_fields
    made_of = {feature: view.columns for view in spec.aggregate_views for feature in view.features}
    files = texts(str(frame / f"{split}.parquet") for split in SPLITS)
    with tempfile.TemporaryDirectory(prefix="elec-describe-") as spill:
        database = Sql(Path(spill))
        try:
            rows, clicks = database.one(f"SELECT count(*), sum(label)::BIGINT FROM read_parquet({files})")
            total = Counted(rows=rows, clicks=clicks)
            found = []
            with Progress("describe aggregates", unit="fields", total=len(fields)) as progress:
                for field in fields:
                    values = f"SELECT {name(field.name)} AS value, 1 AS rows, label AS clicks FROM read_parquet({files})"
                    found.append(summarise_values(database, field, values, total, made_of=made_of[field.name]))
                    progress.advance(1, note=field.name)
        finally:
            database.close()
    before = tuple(field for field in summary.fields if field.name not in made_of)
    return summary.model_copy(update={"fields": (*before, *found)})
