"""Ingests the raw log."""

from kfp import dsl
from kfp.dsl import HTML, Dataset, Output

from components.image import TRAINING_IMAGE


@dsl.component(base_image=TRAINING_IMAGE, install_kfp_package=False)
def ingest(
    spec: str,
    workspace: str,
    run_id: str,
    as_of: str,
    ingested: Output[Dataset],
    page: Output[HTML],
) -> str:
    """Turns raw logs into labelled, validated and split Parquet.

    Args:
        spec: Data set and run settings, as JSON.
        workspace: Folder or `s3://` URI that outlives the run.
        run_id: The run's name.
        as_of: The moment the run stands at (ISO 8601); empty for now.
        ingested: Train, valid and test rows, users, items, quarantine.
        page: What the data looks like.

    Returns:
        The job that the following steps take.
    """
    from elec.steps.ingest import ingest

    return ingest(spec, workspace, run_id, as_of, ingested=ingested.path, page=page.path)
