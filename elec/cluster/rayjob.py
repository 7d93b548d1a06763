"""The manifest of a step's work on data in the workers of Ray: KubeRay's `RayJob`, made from the pipeline task's own settings.

The schema is that of KubeRay 1.6 and 1.7 (`ray.io/v1`). The operator starts the head and the workers, submits the entrypoint
to the head by HTTP and removes all of it at the end; no pod of another image is needed. Manifests were checked against the
schema and applied to an API server on loopback, which knows no operator; no cluster has run one yet.
"""

import hashlib
import math
import shlex
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from elec import storage
from elec.cluster.jobs import REPORT, owner
from elec.cluster.trainjob import container_settings, name_problems, pod_settings, unknown_fields
from elec.deploy.check import problems as pod_problems
from elec.deploy.environment import environment
from elec.deploy.kserve import Manifest
from elec.errors import InputError
from elec.spec.run import RunSpec
from elec.version import image_name, image_tag

RAY_GROUP = "ray.io"
#: KubeRay's name for the one group of workers.
WORKERS = "workers"
#: Times that Kubernetes' pods of the cluster are made anew when they are lost, before the job counts as failed.
_BACKOFF = 0
#: After the end the cluster goes at once; its logs are with the pods until then.
_SECONDS_TO_STAY = 0

_POD: Mapping[str, Any] = {
    "metadata": {"labels": dict},
    "spec": {
        "nodeSelector": dict,
        "tolerations": [dict],
        "securityContext": dict,
        "volumes": [dict],
        "restartPolicy": str,
        "containers": [
            {
                "name": str,
                "image": str,
                "env": [{"name": str, "value": str, "valueFrom": {"secretKeyRef": {"name": str, "key": str}}}],
                "resources": {"requests": dict, "limits": dict},
                "securityContext": dict,
                "volumeMounts": [dict],
            }
        ],
    },
}
#: What a RayJob's spec may hold, as far as we use it; see `elec.cluster.trainjob`.
_SCHEMA: Mapping[str, Any] = {
    "entrypoint": str,
    "submissionMode": str,
    "shutdownAfterJobFinishes": bool,
    "ttlSecondsAfterFinished": int,
    "backoffLimit": int,
    "rayClusterSpec": {
        "rayVersion": str,
        "authOptions": {"mode": str},
        "headGroupSpec": {"rayStartParams": dict, "template": _POD},
        "workerGroupSpecs": [
            {
                "groupName": str,
                "replicas": int,
                "minReplicas": int,
                "maxReplicas": int,
                "rayStartParams": dict,
                "template": _POD,
            }
        ],
    },
}


def ray_job(run: RunSpec, *, run_id: str, step: str, namespace: str, place: str, inputs: Sequence[str]) -> Manifest:
    """The manifest of a step's work.

    Args:
        run: Its `data` says how many workers, its `cluster` what each asks for.
        run_id: The run.
        step: The step.
        namespace: Where the secrets are: the pipeline's own.
        place: Where the step's inputs are staged, and where its output goes (`elec.cluster.data`).
        inputs: The folders that are staged there.

    Raises:
        InputError: If Ray is not installed here: the workers' version has to be this one.
    """
    cluster, workers = run.cluster, run.data.workers
    cpus = max(1, math.floor(_cpus(cluster.cpu)))
    labels = {
        "app.kubernetes.io/name": "elec-data",
        "app.kubernetes.io/part-of": "elec",
        "app.kubernetes.io/version": image_tag()[:63].strip("-_."),
    }
    container = {
        "image": image_name("training", cluster.registry),
        "env": [*environment(cluster), {"name": "RAY_USAGE_STATS_ENABLED", "value": "0"}],
        "resources": {
            "requests": {"cpu": cluster.cpu, "memory": cluster.memory},
            "limits": {"cpu": cluster.cpu, "memory": cluster.memory},
        },
    }
    metadata: dict[str, Any] = {
        "name": ray_job_name(run_id, step),
        "namespace": namespace,
        "labels": labels,
        # A run's name may be too long for a label.
        "annotations": {"elec/run": run_id, "elec/step": step},
    }
    if found := owner():
        metadata["ownerReferences"] = [found]

    def pod(name: str) -> dict[str, Any]:
        spec = pod_settings() | {"containers": [container_settings(name) | container], "restartPolicy": "Never"}
        return {"metadata": {"labels": labels}, "spec": spec}

    return {
        "apiVersion": f"{RAY_GROUP}/v1",
        "kind": "RayJob",
        "metadata": metadata,
        "spec": {
            "entrypoint": shlex.join(["python", "-m", "elec.engine", *_arguments(step, place, inputs)]),
            "submissionMode": "HTTPMode",
            "shutdownAfterJobFinishes": True,
            "ttlSecondsAfterFinished": _SECONDS_TO_STAY,
            "backoffLimit": _BACKOFF,
            "rayClusterSpec": {
                "rayVersion": _ray_version(),
                # Ray asks for a token by default; without this the operator would make none, and no worker could join.
                "authOptions": {"mode": "token"},
                "headGroupSpec": {
                    # The head computes nothing of what is mapped: the step's own process runs there.
                    "rayStartParams": {"dashboard-host": "0.0.0.0", "num-cpus": "0"},  # noqa: S104 - in a pod of its own
                    "template": pod("ray-head"),
                },
                "workerGroupSpecs": [
                    {
                        "groupName": WORKERS,
                        "replicas": workers,
                        "minReplicas": workers,
                        "maxReplicas": workers,
                        "rayStartParams": {"num-cpus": str(cpus)},
                        "template": pod("ray-worker"),
                    }
                ],
            },
        },
    }


def ray_job_name(run_id: str, step: str) -> str:
    """A name that only this step of this run has, so that a task that is tried again finds it; KubeRay takes 47 letters."""
    return f"elec-{hashlib.sha256(f'{run_id}/{step}'.encode()).hexdigest()[:16]}"


def problems(document: Manifest) -> list[str]:
    """What is wrong with the manifest of a RayJob: fields that its schema does not have, and what would never run.

    Args:
        document: The manifest.

    Returns:
        A sentence a problem; none if all is well.
    """
    found = list(unknown_fields(document["spec"], _SCHEMA, "spec", "RayJob"))
    if found:
        return found
    name, spec = document["metadata"]["name"], document["spec"]
    found = name_problems("RayJob", name, 47)
    for group in spec["rayClusterSpec"]["workerGroupSpecs"]:
        if not 1 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]:
            found.append(f"RayJob {name}: group {group['groupName']} has {group['replicas']} replicas; give 1 or more")
    for params in [spec["rayClusterSpec"]["headGroupSpec"], *spec["rayClusterSpec"]["workerGroupSpecs"]]:
        for key, value in params["rayStartParams"].items():
            if not isinstance(value, str):
                found.append(f"RayJob {name}: rayStartParams {key} is {value!r}; KubeRay takes text only")
    if spec["submissionMode"] != "HTTPMode":
        found.append(f"RayJob {name}: submissionMode is {spec['submissionMode']}, which needs a pod of its own; write HTTPMode")
    return found + pod_problems([document])


def _arguments(step: str, place: str, inputs: Sequence[str]) -> list[str]:
    """What the driver is told: where the step's inputs are, and where its results go."""
    told = {"job": "job.json", **{name: name for name in inputs}, "output": "output", "report": REPORT, "exchange": "exchange"}
    return [step, *(f"--{name}={storage.join(place, where)}" for name, where in told.items())]


def _cpus(amount: str) -> float:
    return float(amount[:-1]) / 1000 if amount.endswith("m") else float(amount)


def _ray_version() -> str:
    try:
        return version("ray")
    except PackageNotFoundError:
        raise InputError(
            "run.data.engine is ray, but the package ray is not installed; install the extra `ray`, or set local"
        ) from None
