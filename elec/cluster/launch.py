"""Trains a run's networks on several nodes: stage the inputs, start a `TrainJob`, wait, fetch the model, clean up.

The workers share nothing with this task but the workspace, so what they read and write goes through it:

    <workspace>/trainjobs/<run id>/job.json            the run
    <workspace>/trainjobs/<run id>/<input>/            features, texts, mllm ... as the steps before left them
    <workspace>/trainjobs/<run id>/model/, report.json what the first worker writes

Workers of a task that is tried again go on from their snapshots; see `elec.cluster.jobs` for the rest.
"""

import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from elec import storage
from elec.cluster.jobs import Kind, Look, carry_out, namespace_of, report, stage
from elec.cluster.trainjob import problems, train_job
from elec.deploy.cluster import Cluster, condition
from elec.errors import InputError, RunFailedError
from elec.steps.job import Job

#: The last file of each input.
LAST = {
    "features": "vocabulary/encoder.json",
    "texts": "texts.parquet",
    "mllm": "mllm.json",
    "knowledge": "report.json",
}


def train_on_nodes(
    job: Job, inputs: Mapping[str, Path], model: Path, cluster: Cluster | None = None, *, namespace: str = ""
) -> dict[str, Any]:
    """Trains in the workers of a TrainJob.

    Args:
        job: The run; `run.cluster` says how many nodes, and what each asks for.
        inputs: The step's input folders, by name.
        model: Folder to write; complete, or not there.
        cluster: Where; the one that this runs in when left out.
        namespace: Of the TrainJob; this pod's own when left out, or else `run.deploy.namespace`.

    Returns:
        What the step's record says of the training.

    Raises:
        InputError: If the workspace is not on S3, or an input is wrong.
        RunFailedError: If the training fails.
    """
    settings = job.spec.run.cluster
    if not storage.is_s3(job.workspace):
        raise InputError(
            f"run.cluster.nodes is {settings.nodes}, but the workspace {job.workspace} is a folder, which other nodes do not "
            "share; give a workspace on S3 (--workspace s3://bucket/prefix), or set nodes to 1"
        )
    place = job.space.train_job(job.run_id)
    document = train_job(
        settings, run_id=job.run_id, namespace=namespace or namespace_of(job), place=place, inputs=list(inputs)
    )
    found = problems(document, taint=settings.toleration)
    if found:
        raise InputError(f"the manifest would not work: {found[0]}; change run.cluster in the spec")
    # A task may have been lost after its workers were done.
    if "facts" not in report(place):
        stage(job, inputs, place, LAST)
        kind = Kind(
            what="train",
            nodes=settings.nodes,
            needs="that Kubeflow Trainer runs, and run.cluster's gpus, cpu, memory and node_selector against its nodes",
            lost="a worker may have been lost or out of memory",
            look=_look,
        )
        carry_out(cluster or Cluster.connect(f"run.cluster.nodes is {settings.nodes}"), document, place, kind)
    told = report(place)
    if "facts" not in told:
        raise RunFailedError(f"{place}: the workers ended without a report; look at their logs, and try the run again")
    with TemporaryDirectory(prefix="elec-model-") as scratch, storage.whole_folder(model) as written:
        shutil.copytree(storage.fetch_folder(storage.join(place, "model"), Path(scratch)), written, dirs_exist_ok=True)
    storage.remove_folder(place)
    return dict(told["facts"])


def _look(status: Mapping[str, Any]) -> Look:
    """What a TrainJob's status says."""
    failure = condition(status, "Failed")
    return Look(
        done=condition(status, "Complete").get("status") == "True",
        failure=(str(failure.get("message") or failure.get("reason") or "") if failure.get("status") == "True" else None),
        queued=condition(status, "Suspended").get("status") == "True",
        active=any(int(part.get("active") or 0) for part in status.get("jobsStatus", [])),
    )
