"""Does a step's work on data in the workers of Ray: stage the inputs, start a `RayJob`, wait, fetch the output, clean up.

The pods share nothing with this task but the workspace, so what they read and write goes through it:

    <workspace>/datajobs/<run id>/<step>/job.json             the run
    <workspace>/datajobs/<run id>/<step>/<input>/             as the steps before left it
    <workspace>/datajobs/<run id>/<step>/exchange/            what workers give each other
    <workspace>/datajobs/<run id>/<step>/output/, report.json what the driver writes

See `elec.cluster.jobs` for a task that is tried again, and `elec.engine.__main__` for the driver.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from elec import storage
from elec.cluster.jobs import Kind, Look, carry_out, namespace_of, report, stage
from elec.cluster.rayjob import problems, ray_job
from elec.deploy.cluster import Cluster
from elec.errors import InputError, RunFailedError
from elec.steps.job import Job

#: The last file of each input.
_LAST = {"ingested": "report.json"}


def work_on_nodes(
    job: Job, step: str, inputs: Mapping[str, Path], output: Path, cluster: Cluster | None = None, *, namespace: str = ""
) -> dict[str, Any]:
    """Does a step's work in the workers of a RayJob.

    Args:
        job: The run; `run.data` says how many workers, `run.cluster` what each asks for.
        step: `ingest` or `build_features`.
        inputs: The step's input folders, by name.
        output: Folder to write; complete, or not there.
        cluster: Where; the one that this runs in when left out.
        namespace: Of the RayJob; this pod's own when left out, or else `run.deploy.namespace`.

    Returns:
        The step's report, as JSON has it.

    Raises:
        InputError: If something is not on S3, or what the user gave is wrong.
        BlockedError: If the workers say that the data must not be used.
        RunFailedError: If the work fails.
    """
    run = job.spec.run
    _check_reachable(job)
    place = job.space.data_job(job.run_id, step)
    document = ray_job(
        run,
        run_id=job.run_id,
        step=step,
        namespace=namespace or namespace_of(job),
        place=place,
        inputs=list(inputs),
    )
    found = problems(document)
    if found:
        raise InputError(f"the manifest would not work: {found[0]}; change run.data and run.cluster in the spec")
    # A task may have been lost after its workers were done.
    if "facts" not in report(place):
        stage(job, inputs, place, _LAST)
        kind = Kind(
            what=step,
            nodes=run.data.workers,
            needs="that KubeRay runs, and run.cluster's cpu and memory against the cluster's nodes",
            lost="a worker may have been lost or out of memory",
            look=_look,
        )
        carry_out(cluster or Cluster.connect("run.data.engine is ray"), document, place, kind)
    told = report(place)
    if "facts" not in told:
        raise RunFailedError(f"{place}: the workers ended without a report; look at their logs, and try the run again")
    with storage.whole_folder(output) as written:
        storage.fetch_folder(storage.join(place, "output"), written)
    storage.remove_folder(place)
    return dict(told["facts"])


def _check_reachable(job: Job) -> None:
    """Makes sure that pods can read what the spec names.

    Raises:
        InputError: If they cannot.
    """
    dataset = job.spec.dataset
    named = {"the workspace": job.workspace, "source.path": dataset.source.path}
    if dataset.label.clicks is not None:
        named["label.clicks.path"] = dataset.label.clicks.path
    for name, table in (("users", dataset.tables.users), ("items", dataset.tables.items)):
        if table is not None:
            named[f"tables.{name}.path"] = table.path
    for name, uri in named.items():
        if not storage.is_s3(uri):
            raise InputError(
                f"run.data.engine is ray, but {name} is {uri}, which other pods do not see; put it on S3, or set local"
            )


def _look(status: Mapping[str, Any]) -> Look:
    """What a RayJob's status says."""
    deployment, job = status.get("jobDeploymentStatus", ""), status.get("jobStatus", "")
    failed = deployment in {"Failed", "ValidationFailed"} or job in {"FAILED", "STOPPED"}
    # Ray's message may be the end of a traceback: its last line says what happened.
    lines = str(status.get("message") or status.get("reason") or "").strip().splitlines()
    return Look(
        done=deployment == "Complete" and job == "SUCCEEDED",
        failure=(lines or [""])[-1] if failed else None,
        queued=deployment in {"Suspending", "Suspended"},
        active=deployment in {"Running", "Retrying"},
    )
