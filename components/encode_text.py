"""Encodes a shard of the texts."""

from kfp import dsl
from kfp.dsl import Dataset, Input

from components.image import TRAINING_IMAGE


@dsl.component(base_image=TRAINING_IMAGE, install_kfp_package=False)
def encode_text(job: str, shard: str, texts: Input[Dataset]) -> int:
    """Lets the frozen LLM read each new text of a shard once.

    Args:
        job: The job, from ingest.
        shard: Which one of how many, `0/2`.
        texts: The distinct texts.

    Returns:
        How many texts were encoded now.
    """
    from elec.steps.encode_text import encode_text

    return encode_text(job, shard=shard, texts=texts.path)
