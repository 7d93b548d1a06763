"""Builds the features."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Output

from components.image import TRAINING_IMAGE


@dsl.component(base_image=TRAINING_IMAGE, install_kfp_package=False)
def build_features(job: str, ingested: Input[Dataset], features: Output[Dataset], metrics: Output[Metrics]) -> None:
    """Applies and materialises Feast's views, joins the training frame point-in-time, and encodes it.

    Args:
        job: The job, from ingest.
        ingested: The ingested rows.
        features: The training frame, vocabularies and encoded columns.
        metrics: Rows a split.
    """
    from elec.steps.build_features import build_features

    for name, value in build_features(job, ingested=ingested.path, features=features.path).items():
        metrics.log_metric(name, value)
