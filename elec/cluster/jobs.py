"""Work that a controller of the cluster does for a step: an object is started, waited for, and removed, however it ends.

What does the work shares nothing with the step but the workspace: it leaves `report.json` there, with `{"facts": ...}` or
`{"error": ...}`. A step that is tried again finds the object of the one before by its name, and waits for it, or starts it anew
if it failed.
"""

import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from elec import storage
from elec.deploy.cluster import Cluster
from elec.deploy.kserve import Manifest
from elec.errors import BlockedError, ElecError, InputError, RunFailedError
from elec.progress import Progress
from elec.steps.job import Job

log = logging.getLogger("elec.cluster")

#: Where the workers say how they ended.
REPORT = "report.json"
#: Where Kubernetes tells a pod its namespace.
_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
#: An object that no queue holds back has its nodes by then, or never.
_SECONDS_TO_START = 3600.0
#: Looks in a row that may fail: an API server that restarts must not end the work of hours.
_FAILED_LOOKS = 30


@dataclass(frozen=True)
class Look:
    """What an object's status says.

    Attributes:
        done: It ended well.
        failure: Why it failed; None where it has not.
        queued: Something holds it back for now.
        active: It has nodes, or is about to.
    """

    done: bool = False
    failure: str | None = None
    queued: bool = False
    active: bool = False


@dataclass(frozen=True)
class Kind:
    """A kind of such objects.

    Attributes:
        what: The work, for the progress.
        nodes: How many nodes work.
        needs: What to look at if it gets no node.
        lost: What a failure may come from.
        look: Reads a status.
    """

    what: str
    nodes: int
    needs: str
    lost: str
    look: Callable[[Mapping[str, Any]], Look]


def carry_out(cluster: Cluster, document: Manifest, place: str, kind: Kind) -> None:
    """Starts an object, waits for its end and removes it.

    Args:
        cluster: Where.
        document: The object's manifest.
        place: Where its workers leave the report.
        kind: How it is read.

    Raises:
        ElecError: What the workers say that ended them.
        RunFailedError: If it fails without a word, or the cluster no longer answers.
    """
    with _stoppable():
        try:
            _start(cluster, document, place, kind)
            _wait(cluster, document, kind)
        except RunFailedError as error:
            raise _reported(place) or error from None
        finally:
            _remove(cluster, document)


def report(place: str) -> dict[str, Any]:
    """What the workers wrote: `{"facts": ...}` or `{"error": ...}`; empty before that."""
    try:
        found: dict[str, Any] = orjson.loads(storage.read_bytes(storage.join(place, REPORT)))
    except (FileNotFoundError, orjson.JSONDecodeError):
        return {}
    return found


def stage(job: Job, inputs: Mapping[str, Path], place: str, last: Mapping[str, str]) -> None:
    """Puts what the workers read where they can read it; what an earlier attempt has staged stays.

    Args:
        job: The run.
        inputs: The step's input folders, by name.
        place: Where they go.
        last: The last file of each input: its presence says that the folder is staged completely.
    """
    with Progress("stage inputs", unit="folders", total=len(inputs)) as progress:
        for name, folder in inputs.items():
            target = storage.join(place, name)
            if not storage.exists(storage.join(target, last[name])):
                storage.publish_folder(folder, target, last=last[name])
            progress.advance(1, note=name)
    storage.write_bytes(storage.join(place, "job.json"), job.model_dump_json().encode())


def on_a_cluster() -> bool:
    """Whether this process is a pod's."""
    return _NAMESPACE.is_file()


def namespace_of(job: Job) -> str:
    """The pipeline's own namespace: its secrets are there."""
    if on_a_cluster():
        return _NAMESPACE.read_text(encoding="utf-8").strip()
    return os.environ.get("KFP_NAMESPACE") or job.spec.run.deploy.namespace


def owner() -> dict[str, Any] | None:
    """The pipeline task's pod: when the run is deleted, its work goes with it. Kubeflow Pipelines names it to its tasks."""
    name, uid = os.environ.get("KFP_POD_NAME"), os.environ.get("KFP_POD_UID")
    return {"apiVersion": "v1", "kind": "Pod", "name": name, "uid": uid} if name and uid else None


def _start(cluster: Cluster, document: Manifest, place: str, kind: Kind) -> None:
    """Starts the object; one that an earlier attempt started goes on, one that has failed is replaced."""
    before = cluster.get(document)
    if before is not None and kind.look(before.get("status", {})).failure is None:
        return
    # What earlier workers said of their end is not about the ones to come.
    storage.write_bytes(storage.join(place, REPORT), b"{}")
    if before is not None:
        cluster.delete(document)
        with Progress(f"remove the failed {document['kind']}", unit="looks") as progress:
            while cluster.get(document) is not None:
                progress.advance(1)
                time.sleep(cluster.poll)
    cluster.apply(document)


def _wait(cluster: Cluster, document: Manifest, kind: Kind) -> None:
    """Waits for the object to end well.

    Raises:
        RunFailedError: If it fails, is removed by someone else, or the cluster no longer answers.
    """
    name = f"{document['kind']} {document['metadata']['name']}"
    failed_looks, waiting_since = 0, time.monotonic()
    with Progress(f"{kind.what} on {kind.nodes} nodes", unit="looks") as progress:
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
                raise RunFailedError(f"{name} was removed while it ran; start the run again")
            look = kind.look(found.get("status", {}))
            if look.failure is not None:
                raise RunFailedError(f"{name} failed: {look.failure or 'the cluster does not say why'}; {kind.lost}")
            if look.done:
                return
            if look.queued or look.active:
                waiting_since = time.monotonic()
            elif time.monotonic() - waiting_since > _SECONDS_TO_START:
                raise RunFailedError(f"{name} has no node after {_SECONDS_TO_START:g} seconds; check {kind.needs}")
            at_work = f"{kind.nodes} nodes at work" if look.active else "waits for nodes"
            progress.advance(1, note="waits in a queue" if look.queued else at_work)
            time.sleep(cluster.poll)


def _reported(place: str) -> ElecError | None:
    """The error that ended the workers, as they told it."""
    error = report(place).get("error")
    if error is None:
        return None
    if error["input"]:
        return InputError(error["message"])
    if error.get("blocked"):
        return BlockedError(error["message"])
    return RunFailedError(f"a worker failed: {error['message']}")


def _remove(cluster: Cluster, document: Manifest) -> None:
    try:
        cluster.delete(document)
    except ElecError:
        # How the work ended is what the user has to know.
        log.exception("%s %s could not be removed", document["kind"], document["metadata"]["name"])


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
