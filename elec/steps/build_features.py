"""Step 3: Feast's views and online store, the point-in-time training frame, vocabularies and encoded columns."""

from pathlib import Path

from elec.steps.data import work_on_data
from elec.steps.job import parse_job


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
    return {f"rows_{split}": float(count) for split, count in report.rows.items()}
