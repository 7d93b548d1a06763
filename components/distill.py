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
    metrics: Output[Metrics],
) -> None:
    """Trains gain and vanilla network together, and the same network without a teacher.

    Args:
        job: The job, from ingest.
        features: The encoded columns and labels.
        texts: The distinct texts.
        mllm: The M-LLM.
        model: The three networks, their curves and predictions.
        metrics: The best epochs.
    """
    from elec.steps.distill import distill

    found = distill(job, features=features.path, texts=texts.path, mllm=mllm.path, model=model.path)
    for name, value in found.items():
        metrics.log_metric(name, value)
