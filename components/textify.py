"""Writes the records as text."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Output

from components.image import TRAINING_IMAGE


@dsl.component(base_image=TRAINING_IMAGE, install_kfp_package=False)
def textify(job: str, features: Input[Dataset], texts: Output[Dataset]) -> list[str]:
    """Turns records into distinct texts, and long texts into tags.

    Args:
        job: The job, from ingest.
        features: The training frame.
        texts: Distinct texts, and which row reads which.

    Returns:
        The shards that encode what is new.
    """
    from elec.steps.textify import textify

    return textify(job, features=features.path, texts=texts.path)
