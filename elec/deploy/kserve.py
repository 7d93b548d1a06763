"""The manifests of a bundle's service on KServe: what a cluster is asked for, as plain dicts.

The ServingRuntime says how our image serves a bundle, the InferenceService which bundle it is and on which nodes. KServe's
storage initializer copies the bundle to `/mnt/models`; the server checks every hash of it before it is ready.

Two versions during a canary, by mode:

- Standard (Deployments, formerly "RawDeployment"; KServe 0.20 and later, with its Gateway API ingress): `spec.canary` has the
  challenger's predictor and its share. Each predictor has a name of its own, its slot, and so a Deployment of its own. KServe
  removes a Deployment whose slot is no longer named at once, so a slot changes only through a canary: the challenger's
  becomes the predictor's.
- Knative: the challenger is the newest revision with `canaryTrafficPercent`, and the revision before has the rest. Knative has
  to allow what pods of ours say: its feature flags `kubernetes.podspec-nodeselector`, `-tolerations` and `-securitycontext`.
"""

import hashlib
import json
import math
from dataclasses import dataclass
from typing import Any, Literal

import yaml

from elec import storage
from elec.deploy.arguments import settings_arguments
from elec.deploy.environment import SCRATCH, environment
from elec.errors import InputError
from elec.spec import Spec
from elec.version import image_name, image_tag

SERVING_GROUP = "serving.kserve.io"
CONTAINER = "kserve-container"
GPU = "nvidia.com/gpu"
PORT = 8080
#: Of the container's port, and so of the Service's. Knative takes no other name for HTTP/1.
PORT_NAME = "http1"
#: Of a version's pods.
VERSION_LABEL = "elec/version"

_FORMAT = {"name": "elec", "version": "1"}
_USER = 10001
_BUNDLE = "/mnt/models"
#: Of a pod that ends: until no proxy sends it requests, and from the last answer to its end.
_SECONDS_TO_BE_FORGOTTEN, _SECONDS_TO_END = 5, 5
_SCRATCH_MEBIBYTES = 1024

Manifest = dict[str, Any]
Slot = Literal["", "blue", "green"]


@dataclass(frozen=True)
class Version:
    """A bundle in a service.

    Attributes:
        uri: Where it is published, on storage that the cluster reaches.
        bundle_id: Its id.
        code_version: The tag of the serving image, if not this code's: a bundle is served by the code that built it.
        slot: The name of its predictor in Standard mode; empty for KServe's default.
    """

    uri: str
    bundle_id: str
    code_version: str = ""
    slot: Slot = ""

    @property
    def label(self) -> str:
        """What its pods are told by: the bundle's id, as much of its end as a label may have."""
        return self.bundle_id[-63:].strip("-_.")


def manifests(
    spec: Spec, stable: Version, *, feast_folder: str, canary: Version | None = None, share: int = 0
) -> list[Manifest]:
    """The ServiceAccount, ServingRuntimes and InferenceService of a service, in the order in which they are applied.

    Args:
        spec: Says where and how large.
        stable: What serves.
        feast_folder: The workspace's Feast folder.
        canary: The challenger beside it.
        share: Of the traffic that the challenger is given, in percent; 0 starts it without any.

    Raises:
        InputError: If a bundle, or Feast's online store, is where a cluster cannot reach it, or the bearer token is in no
            secret.
    """
    for version in (stable, canary):
        if version is not None and not storage.is_s3(version.uri):
            raise InputError(
                f"{version.uri}: a cluster cannot read this bundle; give a workspace on S3 (--workspace s3://bucket/prefix)"
            )
    if spec.run.feast.online_store != "redis":
        raise InputError("run.feast.online_store is sqlite, a file that a cluster's pods do not share; set it to redis")
    token = spec.run.serving.token
    if token and token not in spec.run.cluster.secrets:
        raise InputError(f"run.serving.token is {token}, which no pod has; add {token}: SECRET/KEY to run.cluster.secrets")
    runtimes = {}
    for version in (stable, canary) if canary is not None else (stable,):
        content = _runtime(spec, version, feast_folder)
        name = _runtime_name(spec, content)
        runtimes[name] = {
            "apiVersion": f"{SERVING_GROUP}/v1alpha1",
            "kind": "ServingRuntime",
            "metadata": {"name": name, **about(spec, version.code_version)},
            "spec": content,
        }
    service = {
        "apiVersion": f"{SERVING_GROUP}/v1beta1",
        "kind": "InferenceService",
        "metadata": _service_metadata(spec, stable, canary),
        "spec": _service(spec, stable, canary, share, feast_folder),
    }
    return [_service_account(spec, about(spec, stable.code_version)), *runtimes.values(), service]


def about(spec: Spec, code_version: str = "") -> dict[str, Any]:
    """Namespace and labels of an object of the service."""
    return {"namespace": spec.run.deploy.namespace, "labels": {**selector(spec), **_kind_labels(code_version)}}


def selector(spec: Spec) -> dict[str, str]:
    """The labels that all pods of the service have, whatever their version, and no others."""
    return {"app.kubernetes.io/name": "elec-serving", "app.kubernetes.io/instance": spec.run.deploy.name}


def workload(spec: Spec, slot: str) -> str:
    """The name of a predictor's Deployment and Service in Standard mode."""
    return "-".join(part for part in (spec.run.deploy.name, slot, "predictor") if part)


def to_yaml(documents: list[Manifest]) -> str:
    """The manifests as one YAML file."""
    # Through JSON, so that what two manifests share is written out in both.
    return yaml.safe_dump_all([json.loads(json.dumps(document)) for document in documents], sort_keys=False)


def _service_metadata(spec: Spec, stable: Version, canary: Version | None) -> dict[str, Any]:
    deploy = spec.run.deploy
    annotations = {f"{SERVING_GROUP}/deploymentMode": deploy.mode, "elec/bundle": stable.bundle_id}
    if deploy.mode == "Standard":
        # Ours, one a slot: KServe's would shrink the champion's Deployment by the challenger's pods.
        annotations[f"{SERVING_GROUP}/autoscalerClass"] = "external" if deploy.scaling.most > 1 else "none"
    elif deploy.monitoring:
        # The Services of revisions come and go, and nobody can name them beforehand.
        annotations[f"{SERVING_GROUP}/enable-prometheus-scraping"] = "true"
    if canary is not None:
        annotations["elec/challenger"] = canary.bundle_id
    return {"name": deploy.name, **about(spec, stable.code_version), "annotations": annotations}


def _service(spec: Spec, stable: Version, canary: Version | None, share: int, feast_folder: str) -> dict[str, Any]:
    if canary is None:
        return {"predictor": _predictor(spec, stable, feast_folder)}
    if spec.run.deploy.mode == "Knative":
        return {"predictor": {**_predictor(spec, canary, feast_folder), "canaryTrafficPercent": share}}
    beside = _predictor(spec, canary, feast_folder)
    # It is not for KServe to scale, and it has to run before it is given any share.
    del beside["maxReplicas"]
    beside["minReplicas"] = 1
    return {
        "predictor": _predictor(spec, stable, feast_folder),
        "canary": [{"predictor": beside, "trafficPercent": share}],
    }


def _service_account(spec: Spec, metadata: dict[str, Any]) -> Manifest:
    account: Manifest = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": spec.run.deploy.service_account, **metadata},
        # The server never talks to the cluster.
        "automountServiceAccountToken": False,
    }
    if spec.run.cluster.s3_secret:
        # The storage initializer takes its S3 credentials from the account's secrets.
        account["secrets"] = [{"name": spec.run.cluster.s3_secret}]
    return account


def _runtime_name(spec: Spec, content: dict[str, Any]) -> str:
    """A name by content: a challenger's image or settings do not restart the champion's pods."""
    digest = hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
    return f"{spec.run.deploy.name}-{digest[:8]}"


def _runtime(spec: Spec, version: Version, feast_folder: str) -> dict[str, Any]:
    deploy = spec.run.deploy
    arguments = ["--bundle", _BUNDLE, "--host", "0.0.0.0", "--port", str(PORT), "--feast", feast_folder]  # noqa: S104
    arguments += settings_arguments(spec.run.serving)
    kind = "serving-gpu" if deploy.gpus else "serving"
    scratch = _SCRATCH_MEBIBYTES
    if spec.run.serving.log_share:
        arguments += ["--prediction-log", f"{SCRATCH}/predictions"]
        scratch += math.ceil(spec.run.serving.log_bytes / 2**20)
    container = {
        "name": CONTAINER,
        "image": deploy.image or image_name(kind, spec.run.cluster.registry, version.code_version),
        "command": ["python", "-m", "elec.serving"],
        "args": arguments,
        "ports": [{"name": PORT_NAME, "containerPort": PORT, "protocol": "TCP"}],
        "env": environment(spec.run.cluster),
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "privileged": False,
            "readOnlyRootFilesystem": True,
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        # Loading a large vocabulary takes a while: until it is done only the first probe counts.
        "startupProbe": _probe("ready", period=2, failures=150),
        "readinessProbe": _probe("ready", period=5, failures=3),
        "livenessProbe": _probe("live", period=10, failures=3),
        "volumeMounts": [{"name": "scratch", "mountPath": SCRATCH}],
    }
    if deploy.mode == "Standard":
        # Requests still come until every proxy knows that the pod goes; Knative sees to that itself, and forbids this.
        container["lifecycle"] = {"preStop": {"exec": {"command": ["sleep", str(_SECONDS_TO_BE_FORGOTTEN)]}}}
    return {
        "supportedModelFormats": [{**_FORMAT, "autoSelect": False}],
        "protocolVersions": ["v2"],
        "multiModel": False,
        "labels": {**selector(spec), **_kind_labels(version.code_version)},
        "containers": [container],
        "volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": f"{scratch}Mi"}}],
    }


def _predictor(spec: Spec, version: Version, feast_folder: str) -> dict[str, Any]:
    deploy = spec.run.deploy
    amounts: dict[str, Any] = {"cpu": deploy.cpu, "memory": deploy.memory}
    predictor: dict[str, Any] = {
        "labels": {**selector(spec), **_kind_labels(version.code_version), VERSION_LABEL: version.label},
        "minReplicas": deploy.scaling.least,
        "maxReplicas": deploy.scaling.most,
        "serviceAccountName": deploy.service_account,
        "automountServiceAccountToken": False,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": _USER,
            "fsGroup": _USER,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
    }
    if deploy.mode == "Standard":
        patience = _SECONDS_TO_BE_FORGOTTEN + spec.run.serving.drain_seconds + _SECONDS_TO_END
        predictor["terminationGracePeriodSeconds"] = math.ceil(patience)
    if version.slot:
        predictor = {"name": version.slot, **predictor}
    if deploy.gpus:
        amounts[GPU] = deploy.gpus
        predictor["nodeSelector"] = dict(deploy.node_selector)
        predictor["tolerations"] = [{"key": deploy.toleration, "operator": "Exists", "effect": "NoSchedule"}]
    predictor["model"] = {
        # KServe's own default; the schema of a canary asks for it.
        "name": CONTAINER,
        "modelFormat": dict(_FORMAT),
        "runtime": _runtime_name(spec, _runtime(spec, version, feast_folder)),
        "protocolVersion": "v2",
        "storageUri": version.uri,
        "resources": {"requests": dict(amounts), "limits": dict(amounts)},
    }
    return predictor


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": f"/v2/health/{path}", "port": PORT},
        "periodSeconds": period,
        "timeoutSeconds": 2,
        "failureThreshold": failures,
    }


def _kind_labels(code_version: str) -> dict[str, str]:
    # A label's value ends in a letter or digit and has 63 characters at most.
    version = image_tag(code_version)[:63].strip("-_.")
    return {"app.kubernetes.io/part-of": "elec", "app.kubernetes.io/version": version}
