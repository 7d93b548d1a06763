"""Evaluates the students and judges the challenger."""

from kfp import dsl
from kfp.dsl import HTML, ClassificationMetrics, Dataset, Input, Markdown, Metrics, Model, Output

from components.image import TRAINING_IMAGE


@dsl.component(base_image=TRAINING_IMAGE, install_kfp_package=False)
def evaluate(
    job: str,
    features: Input[Dataset],
    model: Input[Model],
    knowledge: Input[Dataset],
    bundle: Output[Model],
    metrics: Output[Metrics],
    roc: Output[ClassificationMetrics],
    page: Output[HTML],
    summary: Output[Markdown],
) -> str:
    """Measures every student, makes the best the challenger and decides whether it replaces the champion.

    Args:
        job: The job, from ingest.
        features: The training frame.
        model: The trained networks and their predictions.
        knowledge: What students other than the vanilla one read.
        bundle: The challenger's bundle, not yet published.
        metrics: AUC, per-user AUC, LogLoss and PCOC of every network.
        roc: The challenger's ROC curve.
        page: The results as a page.
        summary: The results as Markdown.

    Returns:
        `promote`, `keep` or `reject`.
    """
    from elec.steps.evaluate import evaluate

    read = {"features": features.path, "model": model.path, "knowledge": knowledge.path}
    found = evaluate(job, **read, bundle=bundle.path, page=page.path, summary=summary.path)
    for name, value in found.metrics.items():
        metrics.log_metric(name, value)
    roc.log_roc_curve(found.roc["fpr"], found.roc["tpr"], found.roc["thresholds"])
    return found.verdict
