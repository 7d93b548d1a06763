"""Step 3: Feast's views and online store, the point-in-time training frame, vocabularies and encoded columns."""

from pathlib import Path

from elec.steps.data import work_on_data
from elec.steps.ingest import DESCRIPTION, PAGE
from elec.steps.job import Job, parse_job


def build_features(job: str, *, ingested: str, features: str) -> dict[str, float]:
    """Builds the features of a run.

    Args:
        job: The `Job`, as JSON.
        ingested: Folder of the ingest step.
        features: Folder to write.

    Returns:
        Figures for the pipeline UI.
    """
    from elec.features.build import FeaturesReport

    this = parse_job(job)
    with this.step("build_features") as record:
        found = work_on_data(this, "build_features", {"ingested": Path(ingested)}, Path(features))
        report = FeaturesReport.model_validate(found)
        record.facts.update(report.model_dump(mode="json"))
        _describe_aggregates(this, Path(features))
    return {f"rows_{split}": float(count) for split, count in report.rows.items()}


def _describe_aggregates(this: Job, features: Path) -> None:
    """Adds the aggregates to what the run's folder says of the data; ingest did not have them yet."""
    from pydantic import ValidationError

    from elec.describe import DataSummary, data_page, with_aggregates

    if not this.spec.dataset.aggregates:
        return
    content = this.folder.get(DESCRIPTION)
    if content is None:
        return
    try:
        before = DataSummary.model_validate_json(content)
    except ValidationError:
        # Of another version, whose page stays as it is: the features do not depend on it.
        return
    found = with_aggregates(before, this.spec.dataset, features / "frame")
    this.folder.put(DESCRIPTION, found.model_dump_json().encode())
    this.folder.put(PAGE, data_page(found).encode())
