"""Distils the LLM into the small network."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Model, Output

from components.image import TRAINING_IMAGE


@dsl.component(base_image=TRAINING_IMAGE, install_kfp_package=False)
def distill(
    job: str,
    features: Input[Dataset],
    texts: Input[Dataset],
    mllm: Input[Model],
    model: Output[Model],
    knowledge: Output[Dataset],
    metrics: Output[Metrics],
) -> None:
    """Trains each student with its teacher, and the same network without one.

    Args:
        job: The job, from ingest.
        features: The encoded columns and labels.
        texts: The distinct texts.
        mllm: The M-LLM.
        model: The three networks of each student, their curves and predictions.
        knowledge: What students other than the vanilla one read: semantic ids and text vectors.
        metrics: The best epochs.
    """
    from elec.steps.distill import distill

    paths = {"features": features.path, "texts": texts.path, "mllm": mllm.path, "model": model.path}
    found = distill(job, **paths, knowledge=knowledge.path)
    for name, value in found.items():
        metrics.log_metric(name, value)
