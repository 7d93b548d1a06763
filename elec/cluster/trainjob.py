"""The manifest of a data-parallel training: a Kubeflow Trainer `TrainJob`, made from the pipeline task's own settings.

The schema is that of Kubeflow Trainer 2.2 and 2.3 (`trainer.kubeflow.org/v1alpha1`). Its `torch-distributed` runtime starts
the command on every node with torchrun's environment (`PET_NNODES`, `PET_NODE_RANK`, `PET_MASTER_ADDR` ...). Manifests were
checked against the schema and applied to an API server on loopback, which knows no controller; no cluster has run one yet.
"""

import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from elec import storage
from elec.cluster.jobs import REPORT, owner
from elec.deploy.check import problems as pod_problems
from elec.deploy.environment import environment
from elec.deploy.kserve import GPU, Manifest
from elec.spec.run import ClusterSpec
from elec.version import image_name, image_tag

TRAINER_GROUP = "trainer.kubeflow.org"
#: The names that Kubeflow Trainer's torch runtimes give their one job and its container.
NODE = "node"

_USER = 10001
_SCRATCH = "/tmp"  # noqa: S108 - a volume of the pod's own
_SHARED_MEMORY = "/dev/shm"  # noqa: S108 - another one, that NCCL's processes talk through
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_MANAGER = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[-A-Za-z0-9_.]+")

#: What a TrainJob's spec may hold, as far as we use it; a type stands for a value, a list for a list of what is in it.
_SCHEMA: Mapping[str, Any] = {
    "runtimeRef": {"apiGroup": str, "kind": str, "name": str},
    "trainer": {
        "image": str,
        "command": [str],
        "args": [str],
        "env": [{"name": str, "value": str, "valueFrom": {"secretKeyRef": {"name": str, "key": str}}}],
        "numNodes": int,
        "numProcPerNode": int,
        "resourcesPerNode": {"requests": dict, "limits": dict},
    },
    "runtimePatches": [
        {
            "manager": str,
            "trainingRuntimeSpec": {
                "template": {
                    "spec": {
                        "replicatedJobs": [
                            {
                                "name": str,
                                "template": {
                                    "spec": {
                                        "template": {
                                            "metadata": {"labels": dict},
                                            "spec": {
                                                "nodeSelector": dict,
                                                "tolerations": [dict],
                                                "securityContext": dict,
                                                "volumes": [dict],
                                                "containers": [{"name": str, "securityContext": dict, "volumeMounts": [dict]}],
                                            },
                                        }
                                    }
                                },
                            }
                        ]
                    }
                }
            },
        }
    ],
}


def train_job(cluster: ClusterSpec, *, run_id: str, namespace: str, place: str, inputs: Sequence[str]) -> Manifest:
    """The manifest of a run's training.

    Args:
        cluster: The settings of the pipeline's tasks; `nodes` of them train.
        run_id: The run.
        namespace: Where the secrets are: the pipeline's own.
        place: Where the step's inputs are staged, and where the model goes (`elec.cluster.launch`).
        inputs: The folders that are staged there.
    """
    amounts: dict[str, Any] = {"cpu": cluster.cpu, "memory": cluster.memory}
    pod = pod_settings() | {"containers": [container_settings(NODE)]}
    if cluster.gpus:
        amounts[GPU] = cluster.gpus
        pod["nodeSelector"] = dict(cluster.node_selector)
        if cluster.toleration:
            pod["tolerations"] = [{"key": cluster.toleration, "operator": "Exists", "effect": "NoSchedule"}]
    labels = {
        "app.kubernetes.io/name": "elec-training",
        "app.kubernetes.io/part-of": "elec",
        "app.kubernetes.io/version": image_tag()[:63].strip("-_."),
    }
    metadata: dict[str, Any] = {
        "name": train_job_name(run_id),
        "namespace": namespace,
        "labels": labels,
        # A run's name may be too long for a label.
        "annotations": {"elec/run": run_id},
    }
    if found := owner():
        metadata["ownerReferences"] = [found]
    patch = {"name": NODE, "template": {"spec": {"template": {"metadata": {"labels": labels}, "spec": pod}}}}
    return {
        "apiVersion": f"{TRAINER_GROUP}/v1alpha1",
        "kind": "TrainJob",
        "metadata": metadata,
        "spec": {
            "runtimeRef": {"apiGroup": TRAINER_GROUP, "kind": "ClusterTrainingRuntime", "name": cluster.training_runtime},
            "trainer": {
                "image": image_name("training", cluster.registry),
                # Its number of nodes and processes, and where the first one is, come from the runtime's environment.
                "command": ["torchrun"],
                "args": ["-m", "elec.training", *_arguments(place, inputs)],
                "env": environment(cluster),
                "numNodes": cluster.nodes,
                "numProcPerNode": max(1, cluster.gpus),
                "resourcesPerNode": {"requests": dict(amounts), "limits": dict(amounts)},
            },
            "runtimePatches": [
                {"manager": "elec/distill", "trainingRuntimeSpec": {"template": {"spec": {"replicatedJobs": [patch]}}}}
            ],
        },
    }


def train_job_name(run_id: str) -> str:
    """A name that only this run's training has, so that a task that is tried again finds it; the cluster's rule: RFC 1035."""
    return f"elec-{hashlib.sha256(run_id.encode()).hexdigest()[:16]}"


def problems(document: Manifest, *, taint: str = GPU) -> list[str]:
    """What is wrong with the manifest of a TrainJob: fields that its schema does not have, and what would never run.

    Args:
        document: The manifest.
        taint: The key of the taint that GPU nodes carry.

    Returns:
        A sentence a problem; none if all is well.
    """
    found = list(unknown_fields(document["spec"], _SCHEMA, "spec", "TrainJob"))
    if found:
        return found
    name, trainer = document["metadata"]["name"], document["spec"]["trainer"]
    found = name_problems("TrainJob", name, 63)
    for count in ("numNodes", "numProcPerNode"):
        if isinstance(trainer[count], bool) or trainer[count] < 1:
            found.append(f"TrainJob {name}: {count} is {trainer[count]!r}; give 1 or more")
    for entry in trainer["env"]:
        if entry["name"].startswith("PET_"):
            found.append(f"TrainJob {name}: {entry['name']} is the runtime's to set; leave it out")
    for patch in document["spec"]["runtimePatches"]:
        if not _MANAGER.fullmatch(patch["manager"]):
            found.append(f"TrainJob {name}: the manager {patch['manager']!r} of a patch is not of the form domain/name")
    return found + pod_problems([document], taint=taint)


def _arguments(place: str, inputs: Sequence[str]) -> list[str]:
    """What the workers are told: where their inputs are, and where the results go."""
    told = {"job": "job.json", **{name: name for name in inputs}, "model": "model", "report": REPORT}
    return [f"--{name}={storage.join(place, where)}" for name, where in told.items()]


def pod_settings() -> dict[str, Any]:
    """What every pod of ours has, but for its containers: a user that is not root, and room for what they write."""
    return {
        "securityContext": {"runAsNonRoot": True, "runAsUser": _USER, "seccompProfile": {"type": "RuntimeDefault"}},
        "volumes": [
            {"name": "scratch", "emptyDir": {}},
            {"name": "shared-memory", "emptyDir": {"medium": "Memory"}},
        ],
    }


def container_settings(name: str) -> dict[str, Any]:
    """What every container of ours has: no privileges, and its pod's volumes.

    Args:
        name: Of the container.
    """
    return {
        "name": name,
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [
            {"name": "scratch", "mountPath": _SCRATCH},
            {"name": "shared-memory", "mountPath": _SHARED_MEMORY},
        ],
    }


def name_problems(kind: str, name: str, longest: int) -> list[str]:
    """What is wrong with an object's name: none, or one sentence.

    Args:
        kind: Of the object.
        name: The name.
        longest: Letters that its controller takes.
    """
    if _NAME.fullmatch(name) and len(name) <= longest:
        return []
    return [f"{kind} {name}: the name has to be of small letters, digits and '-', begin with a letter, {longest} at most"]


def unknown_fields(value: Any, schema: Any, where: str, kind: str) -> Iterator[str]:
    """Fields that the schema does not have, and values of another type.

    Args:
        value: What is looked at.
        schema: What it may be: a type stands for a value, a list for a list of what is in it.
        where: The value's place.
        kind: The object's.
    """
    if isinstance(schema, Mapping):
        if not isinstance(value, Mapping):
            yield f"{where} is {value!r}, not an object"
            return
        for name, part in value.items():
            if name in schema:
                yield from unknown_fields(part, schema[name], f"{where}.{name}", kind)
            else:
                yield f"{where}.{name}: {kind} has no such field"
    elif isinstance(schema, list):
        if not isinstance(value, list):
            yield f"{where} is {value!r}, not a list"
            return
        for number, part in enumerate(value):
            yield from unknown_fields(part, schema[0], f"{where}[{number}]", kind)
    elif not isinstance(value, schema) or (schema is int and isinstance(value, bool)):
        yield f"{where} is {value!r}, not {schema.__name__}"
