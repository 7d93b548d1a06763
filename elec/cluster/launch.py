"""Trains a run's networks on several nodes: stage the inputs, start a `TrainJob`, wait, fetch the model, clean up.

The workers share nothing with this task but the workspace, so what they read and write goes through it:

    <workspace>/trainjobs/<run id>/job.json            the run
    <workspace>/trainjobs/<run id>/<input>/            features, texts, mllm ... as the steps before left them
    <workspace>/trainjobs/<run id>/model/, report.json what the first worker writes

A task that is tried again finds the TrainJob of the one before by its name and waits for it, or starts it anew if it failed;
its workers then go on from their snapshots.
"""

import logging
import os
import shutil
import signal
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import orjson

from elec import storage
from elec.cluster.trainjob import REPORT, problems, train_job
from elec.deploy.cluster import Cluster, condition
from elec.deploy.kserve import Manifest
from elec.errors import ElecError, InputError, RunFailedError
from elec.progress import Progress
from elec.steps.job import Job

log = logging.getLogger("elec.cluster")

#: Where Kubernetes tells a pod its namespace.
_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
#: The last file of each input: its presence says that the folder is staged completely.
_LAST = {
    "features": "vocabulary/encoder.json",
    "texts": "texts.parquet",
    "mllm": "mllm.json",
    "knowledge": "report.json",
}
#: A TrainJob that no queue holds back has its nodes by then, or never.
_SECONDS_TO_START = 3600.0
#: Looks in a row that may fail: an API server that restarts must not end a training of hours.
_FAILED_LOOKS = 30


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
    document = train_job(settings, run_id=job.run_id, namespace=namespace or _namespace(job), place=place, inputs=list(inputs))
    found = problems(document, taint=settings.toleration)
    if found:
        raise InputError(f"the manifest would not work: {found[0]}; change run.cluster in the spec")
    # A task may have been lost after its workers were done.
    if "facts" not in _report(place):
        stage(job, inputs, place)
        _train(cluster or Cluster.connect(f"run.cluster.nodes is {settings.nodes}"), document, place, settings.nodes)
    report = _report(place)
    if "facts" not in report:
        raise RunFailedError(f"{place}: the workers ended without a report; look at their logs, and try the run again")
    with TemporaryDirectory(prefix="elec-model-") as scratch, storage.whole_folder(model) as written:
        shutil.copytree(storage.fetch_folder(storage.join(place, "model"), Path(scratch)), written, dirs_exist_ok=True)
    storage.remove_folder(place)
    return dict(report["facts"])


def stage(job: Job, inputs: Mapping[str, Path], place: str) -> None:
    """Puts what the workers read where they can read it; what an earlier attempt has staged stays.

    Args:
        job: The run.
        inputs: The step's input folders, by name.
        place: Where they go.
    """
    with Progress("stage inputs", unit="folders", total=len(inputs)) as progress:
        for name, folder in inputs.items():
            target = storage.join(place, name)
            if not storage.exists(storage.join(target, _LAST[name])):
                storage.publish_folder(folder, target, last=_LAST[name])
            progress.advance(1, note=name)
    storage.write_bytes(storage.join(place, "job.json"), job.model_dump_json().encode())


def _train(cluster: Cluster, document: Manifest, place: str, nodes: int) -> None:
    """Starts the TrainJob, waits for it and removes it, however it ends."""
    with _stoppable():
        try:
            _start(cluster, document, place)
            _wait(cluster, document, nodes)
        except RunFailedError as error:
            raise _reported(place) or error from None
        finally:
            _remove(cluster, document)


def _start(cluster: Cluster, document: Manifest, place: str) -> None:
    """Starts the TrainJob; one that an earlier attempt started goes on, one that has failed is replaced."""
    before = cluster.get(document)
    if before is not None and condition(before.get("status", {}), "Failed").get("status") != "True":
        return
    # What earlier workers said of their end is not about the ones to come.
    storage.write_bytes(storage.join(place, REPORT), b"{}")
    if before is not None:
        cluster.delete(document)
        with Progress("remove the failed TrainJob", unit="looks") as progress:
            while cluster.get(document) is not None:
                progress.advance(1)
                time.sleep(cluster.poll)
    cluster.apply(document)


def _wait(cluster: Cluster, document: Manifest, nodes: int) -> None:
    """Waits for the TrainJob to end well.

    Raises:
        RunFailedError: If it fails, is removed by someone else, or the cluster no longer answers.
    """
    name = document["metadata"]["name"]
    failed_looks, waiting_since = 0, time.monotonic()
    with Progress(f"train on {nodes} nodes", unit="looks") as progress:
        while True:
            try:
                found = cluster.get(document)
                failed_looks = 0
            except RunFailedError:
                failed_looks += 1
                if failed_looks >= _FAILED_LOOKS:
                    raise
                time.sleep(cluster.poll)
                continue
            if found is None:
                raise RunFailedError(f"TrainJob {name} was removed while it ran; start the run again")
            status = found.get("status", {})
            failure = condition(status, "Failed")
            if failure.get("status") == "True":
                why = failure.get("message") or failure.get("reason") or "the cluster does not say why"
                raise RunFailedError(f"TrainJob {name} failed: {why}; a worker may have been lost or out of memory")
            if condition(status, "Complete").get("status") == "True":
                return
            queued = condition(status, "Suspended").get("status") == "True"
            active = sum(int(part.get("active") or 0) for part in status.get("jobsStatus", []))
            if queued or active:
                waiting_since = time.monotonic()
            elif time.monotonic() - waiting_since > _SECONDS_TO_START:
                raise RunFailedError(
                    f"TrainJob {name} has no node after {_SECONDS_TO_START:g} seconds; check that Kubeflow Trainer runs, and "
                    "run.cluster's gpus, cpu, memory and node_selector against the cluster's nodes"
                )
            progress.advance(
                1, note="waits in a queue" if queued else f"{nodes} nodes at work" if active else "waits for nodes"
            )
            time.sleep(cluster.poll)


def _report(place: str) -> dict[str, Any]:
    """What the workers wrote: `{"facts": ...}` or `{"error": ...}`; empty before that."""
    try:
        found: dict[str, Any] = orjson.loads(storage.read_bytes(storage.join(place, REPORT)))
    except (FileNotFoundError, orjson.JSONDecodeError):
        return {}
    return found


def _reported(place: str) -> ElecError | None:
    """The error that ended the workers, as they told it."""
    error = _report(place).get("error")
    if error is None:
        return None
    return InputError(error["message"]) if error["input"] else RunFailedError(f"a worker failed: {error['message']}")


def _remove(cluster: Cluster, document: Manifest) -> None:
    try:
        cluster.delete(document)
    except ElecError:
        # How the training ended is what the user has to know.
        log.exception("TrainJob %s could not be removed", document["metadata"]["name"])


def _namespace(job: Job) -> str:
    """The pipeline's own namespace: its secrets are there."""
    if _NAMESPACE.is_file():
        return _NAMESPACE.read_text(encoding="utf-8").strip()
    return os.environ.get("KFP_NAMESPACE") or job.spec.run.deploy.namespace


@contextmanager
def _stoppable() -> Iterator[None]:
    """A run that is stopped takes its workers along: SIGTERM ends this process through the `finally` clauses."""

    def stop(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
