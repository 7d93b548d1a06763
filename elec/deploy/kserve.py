"""The manifests of a bundle's service on KServe: what a cluster is asked for, as plain dicts.

Standard mode (a Deployment, formerly "RawDeployment"): the ServingRuntime says how our image serves a bundle, the
InferenceService which bundle it is and on which nodes. KServe's storage initializer copies the bundle to `/mnt/models`; the
server checks every hash of it before it is ready.
"""

import json
from typing import Any

import yaml

from elec import storage
from elec.errors import InputError
from elec.spec import Spec
from elec.spec.run import ClusterSpec
from elec.version import image_name, image_tag

SERVING_GROUP = "serving.kserve.io"
CONTAINER = "kserve-container"
GPU = "nvidia.com/gpu"

_FORMAT = {"name": "elec", "version": "1"}
_PORT = 8080
_USER = 10001
_BUNDLE = "/mnt/models"
_SCRATCH = "/tmp"  # noqa: S108 - a volume of the pod's own

Manifest = dict[str, Any]


def manifests(spec: Spec, bundle: str, bundle_id: str, *, feast_folder: str, code_version: str = "") -> list[Manifest]:
    """The manifests of a service, in the order in which they are applied.

    Args:
        spec: Says where and how large.
        bundle: URI of the published bundle, on storage that the cluster reaches.
        bundle_id: Its id.
        feast_folder: The workspace's Feast folder.
        code_version: The tag of the serving image, if not this code's: a bundle is served by the code that built it.

    Raises:
        InputError: If the bundle, or Feast's online store, is where a cluster cannot reach it.
    """
    if not storage.is_s3(bundle):
        raise InputError(f"{bundle}: a cluster cannot read this bundle; give a workspace on S3 (--output s3://bucket/prefix)")
    if spec.run.feast.online_store != "redis":
        raise InputError("run.feast.online_store is sqlite, a file that a cluster's pods do not share; set it to redis")
    labels = _labels(spec, code_version)
    about = {"namespace": spec.run.deploy.namespace, "labels": labels}
    annotations = {
        f"{SERVING_GROUP}/deploymentMode": "Standard",
        # The id is too long for a label.
        "elec/bundle": bundle_id,
    }
    return [
        _service_account(spec, about),
        {
            "apiVersion": f"{SERVING_GROUP}/v1alpha1",
            "kind": "ServingRuntime",
            "metadata": {"name": spec.run.deploy.name, **about},
            "spec": _runtime(spec, labels, feast_folder, code_version),
        },
        {
            "apiVersion": f"{SERVING_GROUP}/v1beta1",
            "kind": "InferenceService",
            "metadata": {"name": spec.run.deploy.name, **about, "annotations": annotations},
            "spec": {"predictor": _predictor(spec, labels, bundle)},
        },
    ]


def to_yaml(documents: list[Manifest]) -> str:
    """The manifests as one YAML file."""
    # Through JSON, so that what two manifests share is written out in both.
    return yaml.safe_dump_all([json.loads(json.dumps(document)) for document in documents], sort_keys=False)


def _service_account(spec: Spec, about: dict[str, Any]) -> Manifest:
    account: Manifest = {
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": {"name": spec.run.deploy.service_account, **about},
        # The server never talks to the cluster.
        "automountServiceAccountToken": False,
    }
    if spec.run.cluster.s3_secret:
        # The storage initializer takes its S3 credentials from the account's secrets.
        account["secrets"] = [{"name": spec.run.cluster.s3_secret}]
    return account


def _runtime(spec: Spec, labels: dict[str, str], feast_folder: str, code_version: str) -> dict[str, Any]:
    deploy = spec.run.deploy
    container = {
        "name": CONTAINER,
        "image": deploy.image or image_name("serving", spec.run.cluster.registry, code_version),
        "command": ["python", "-m", "elec.serving"],
        "args": ["--bundle", _BUNDLE, "--host", "0.0.0.0", "--port", str(_PORT), "--feast", feast_folder],  # noqa: S104
        "ports": [{"containerPort": _PORT, "protocol": "TCP"}],
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
        "volumeMounts": [{"name": "scratch", "mountPath": _SCRATCH}],
    }
    return {
        "supportedModelFormats": [{**_FORMAT, "autoSelect": False}],
        "protocolVersions": ["v2"],
        "multiModel": False,
        "labels": labels,
        "containers": [container],
        "volumes": [{"name": "scratch", "emptyDir": {"sizeLimit": "1Gi"}}],
    }


def _predictor(spec: Spec, labels: dict[str, str], bundle: str) -> dict[str, Any]:
    deploy = spec.run.deploy
    amounts: dict[str, Any] = {"cpu": deploy.cpu, "memory": deploy.memory}
    predictor: dict[str, Any] = {
        "labels": labels,
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
    if deploy.gpus:
        amounts[GPU] = deploy.gpus
        predictor["nodeSelector"] = dict(deploy.node_selector)
        predictor["tolerations"] = [{"key": deploy.toleration, "operator": "Exists", "effect": "NoSchedule"}]
    predictor["model"] = {
        "modelFormat": dict(_FORMAT),
        "runtime": deploy.name,
        "protocolVersion": "v2",
        "storageUri": bundle,
        "resources": {"requests": dict(amounts), "limits": dict(amounts)},
    }
    return predictor


def environment(cluster: ClusterSpec) -> list[dict[str, Any]]:
    """The environment of a container of ours: switches, and secrets by reference."""
    variables: list[dict[str, Any]] = [
        {"name": "DO_NOT_TRACK", "value": "1"},
        {"name": "FEAST_USAGE", "value": "False"},
        {"name": "HOME", "value": _SCRATCH},
        {"name": "ELEC_CACHE", "value": f"{_SCRATCH}/elec"},
    ]
    if cluster.s3_endpoint:
        variables.append({"name": "AWS_ENDPOINT_URL", "value": cluster.s3_endpoint})
    secrets = dict(cluster.secrets)
    if cluster.s3_secret:
        secrets |= {name: f"{cluster.s3_secret}/{name}" for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")}
    for name, place in secrets.items():
        secret, _, key = place.partition("/")
        variables.append({"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}})
    return variables


def _probe(path: str, *, period: int, failures: int) -> dict[str, Any]:
    return {
        "httpGet": {"path": f"/v2/health/{path}", "port": _PORT},
        "periodSeconds": period,
        "timeoutSeconds": 2,
        "failureThreshold": failures,
    }


def _labels(spec: Spec, code_version: str) -> dict[str, str]:
    # A label's value ends in a letter or digit and has 63 characters at most.
    version = image_tag(code_version)[:63].strip("-_.")
    return {
        "app.kubernetes.io/name": "elec-serving",
        "app.kubernetes.io/instance": spec.run.deploy.name,
        "app.kubernetes.io/part-of": "elec",
        "app.kubernetes.io/version": version,
    }
