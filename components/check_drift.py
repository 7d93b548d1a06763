"""Checks the window for drift."""

from kfp import dsl
from kfp.dsl import HTML, Dataset, Input, Metrics, Output

from components.image import TRAINING_IMAGE


@dsl.component(base_image=TRAINING_IMAGE, install_kfp_package=False)
def check_drift(
    job: str,
    force: bool,
    ingested: Input[Dataset],
    window: Output[Dataset],
    report: Output[HTML],
    metrics: Output[Metrics],
) -> str:
    """Compares the ingested window with the one that the champion was trained on.

    Args:
        job: The job, from ingest.
        force: Train whatever the verdict.
        ingested: The ingested rows.
        window: This window's profile and sample, the reference of a later run.
        report: The verdict as a page.
        metrics: Rows, label rate and, if there is a champion, the worst PSI.

    Returns:
        `train`, `stop` or `block`.
    """
    from elec.steps.check_drift import check_drift

    found = check_drift(job, force=force, ingested=ingested.path, window=window.path, report=report.path)
    for name, value in found.metrics.items():
        metrics.log_metric(name, value)
    return found.decision
