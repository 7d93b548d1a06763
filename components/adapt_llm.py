"""Adapts the LLM."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Model, Output

from components.image import TRAINING_IMAGE


@dsl.component(base_image=TRAINING_IMAGE, install_kfp_package=False)
def adapt_llm(
    job: str,
    encoded: list[int],
    features: Input[Dataset],
    texts: Input[Dataset],
    mllm: Output[Model],
    metrics: Output[Metrics],
) -> None:
    """Trains the transformation layer and the prediction layer of the M-LLM.

    Args:
        job: The job, from ingest.
        encoded: What the encoding shards did; it makes this step wait for them.
        features: The encoded columns and labels.
        texts: The distinct texts.
        mllm: The M-LLM's two added layers.
        metrics: Validation AUC and LogLoss.
    """
    from elec.steps.adapt_llm import adapt_llm

    for name, value in adapt_llm(job, features=features.path, texts=texts.path, mllm=mllm.path).items():
        metrics.log_metric(name, value)
