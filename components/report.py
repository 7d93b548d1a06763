"""Writes the run's page."""

from kfp import dsl
from kfp.dsl import HTML, Output, PipelineTaskFinalStatus

from components.image import TRAINING_IMAGE


@dsl.component(base_image=TRAINING_IMAGE, install_kfp_package=False)
def report(workspace: str, run_id: str, status: PipelineTaskFinalStatus, page: Output[HTML]) -> None:
    """Writes the run's summary and page, whatever happened.

    Args:
        workspace: Folder or `s3://` URI that outlives the run.
        run_id: The run's name.
        status: How the run ended.
        page: The run's page.
    """
    from pathlib import Path

    from elec.steps.report import report

    failure = "" if status.state == "SUCCEEDED" else (status.error_message or "the run did not succeed")
    text = report(workspace, run_id, failure=failure)
    Path(page.path).parent.mkdir(parents=True, exist_ok=True)
    Path(page.path).write_text(text, encoding="utf-8")
