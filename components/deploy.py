"""Puts the challenger into service."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Model

from components.image import TRAINING_IMAGE


@dsl.component(base_image=TRAINING_IMAGE, install_kfp_package=False)
def deploy(job: str, bundle: Input[Model], window: Input[Dataset], model: Input[Model]) -> str:
    """Publishes the bundle, questions a server started from it, and makes it the champion.

    Args:
        job: The job, from ingest.
        bundle: The challenger's bundle.
        window: The reference for the drift checks of later runs.
        model: The trained networks, for a later run that starts from them.

    Returns:
        The published bundle's URI.
    """
    from elec.steps.deploy import deploy

    return deploy(job, bundle=bundle.path, window=window.path, model=model.path)
