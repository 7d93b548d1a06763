"""Ends a blocked run."""

from kfp import dsl

from components.image import TRAINING_IMAGE


@dsl.component(base_image=TRAINING_IMAGE, install_kfp_package=False)
def stop(job: str) -> None:
    """Fails the run with the drift check's reasons, once its report is in place.

    Args:
        job: The job, from ingest.
    """
    from elec.steps.check_drift import stop

    stop(job)
