from dataclasses import replace
from typing import Any

import kubernetes_validate
import pytest
import yaml

from elec.deploy.check import pod_specs, problems
from elec.deploy.kserve import Manifest, Version, manifests, to_yaml
from elec.errors import InputError
from elec.spec import Spec
from elec.version import image_tag
from tests.serving.made import SPEC

BUNDLES = "s3://elec/ws/registry/bundles"
STABLE = Version(f"{BUNDLES}/toy-20240501T000000-0123456789ab", "toy-20240501T000000-0123456789ab")
CHALLENGER = Version(f"{BUNDLES}/toy-20240601T000000-ba9876543210", "toy-20240601T000000-ba9876543210", "newer", "green")
FEAST = "s3://elec/ws/feast"


def cluster_spec(**deploy: Any) -> Spec:
    content = SPEC.model_dump()
    content["run"]["feast"] = {"online_store": "redis", "redis": "redis:6379,password=${REDIS_PASSWORD}"}
    content["run"]["serving"] |= deploy.pop("serving", {})
    secrets = {"REDIS_PASSWORD": "redis/password"} | deploy.pop("secrets", {})
    content["run"]["deploy"] |= {"target": "kserve"} | deploy
    content["run"]["cluster"] |= {
        "registry": "images.example/team",
        "s3_secret": "s3",
        "s3_endpoint": "http://s3:9000",
        "secrets": secrets,
    }
    return Spec.model_validate(content)


def rendered(**deploy: Any) -> list[Manifest]:
    """The account, the runtime and the service."""
    return manifests(cluster_spec(**deploy), STABLE, feast_folder=FEAST)


def test_the_gpu_variant() -> None:
    account, runtime, service = rendered(gpus=2, node_selector={"pool": "a100"}, toleration="gpu-only")
    assert problems([account, runtime, service], taint="gpu-only") == []
    predictor = service["spec"]["predictor"]
    assert service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Standard"
    assert predictor["nodeSelector"] == {"pool": "a100"}
    assert predictor["tolerations"] == [{"key": "gpu-only", "operator": "Exists", "effect": "NoSchedule"}]
    resources = predictor["model"]["resources"]
    assert resources["limits"] == resources["requests"] == {"cpu": "2", "memory": "4Gi", "nvidia.com/gpu": 2}
    assert predictor["model"]["storageUri"] == STABLE.uri
    assert predictor["model"]["runtime"] == runtime["metadata"]["name"]
    assert predictor["serviceAccountName"] == account["metadata"]["name"]
    assert account["secrets"] == [{"name": "s3"}]


def test_the_cpu_variant_asks_for_no_gpu_anywhere() -> None:
    documents = rendered(gpus=0)
    assert problems(documents) == []
    assert "nvidia" not in to_yaml(documents)
    assert "nodeSelector" not in documents[2]["spec"]["predictor"]
    assert "tolerations" not in documents[2]["spec"]["predictor"]


def test_the_container_is_ours_and_has_no_privileges() -> None:
    _, runtime, _ = rendered()
    (container,) = runtime["spec"]["containers"]
    assert container["image"] == f"images.example/team/elec-serving-gpu:{image_tag()}"
    context = container["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] != 0
    assert context["readOnlyRootFilesystem"] is True
    assert context["allowPrivilegeEscalation"] is False
    assert context["capabilities"] == {"drop": ["ALL"]}
    assert container["readinessProbe"]["httpGet"]["path"] == "/v2/health/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/v2/health/live"
    variables = {entry["name"]: entry for entry in container["env"]}
    assert variables["REDIS_PASSWORD"]["valueFrom"] == {"secretKeyRef": {"name": "redis", "key": "password"}}
    assert variables["AWS_SECRET_ACCESS_KEY"]["valueFrom"]["secretKeyRef"]["name"] == "s3"
    assert variables["AWS_ENDPOINT_URL"]["value"] == "http://s3:9000"


def test_the_arguments_are_ones_that_the_server_takes() -> None:
    from elec.serving.__main__ import parser

    _, runtime, _ = rendered()
    (container,) = runtime["spec"]["containers"]
    assert container["command"] == ["python", "-m", "elec.serving"]
    given = parser().parse_args(container["args"])
    assert (given.bundle, given.port, given.feast) == ("/mnt/models", 8080, "s3://elec/ws/feast")
    assert given.settings == []
    assert container["ports"] == [{"name": "http1", "containerPort": 8080, "protocol": "TCP"}]


def test_settings_that_are_not_the_default_reach_the_server() -> None:
    from elec.serving.__main__ import parser
    from elec.serving.settings import read_settings

    spec = cluster_spec(serving={"queue": 128, "split": False, "log_share": 0.25, "log_bytes": 2**31, "drain_seconds": 30})
    _, runtime, service = manifests(spec, STABLE, feast_folder=FEAST)
    given = parser().parse_args(runtime["spec"]["containers"][0]["args"])
    assert read_settings(given.settings) == spec.run.serving
    assert given.prediction_log == "/tmp/predictions"
    (scratch,) = runtime["spec"]["volumes"]
    assert scratch["emptyDir"]["sizeLimit"] == "3072Mi", "the log's 2 GiB are beside what else is there"
    assert service["spec"]["predictor"]["terminationGracePeriodSeconds"] == 40, "requests in progress end before the pod does"


def test_an_image_of_ones_own_and_the_code_of_an_older_bundle() -> None:
    _, runtime, _ = rendered(image="other/image:1")
    assert runtime["spec"]["containers"][0]["image"] == "other/image:1"
    older = replace(STABLE, code_version="0.1.0+local")
    _, runtime, service = manifests(cluster_spec(), older, feast_folder="s3://f")
    assert runtime["spec"]["containers"][0]["image"] == "images.example/team/elec-serving-gpu:0.1.0-local"
    assert service["metadata"]["labels"]["app.kubernetes.io/version"] == "0.1.0-local"


def test_yaml_reads_back_and_holds_no_anchors() -> None:
    documents = rendered()
    text = to_yaml(documents)
    assert list(yaml.safe_load_all(text)) == documents
    assert "&id" not in text


def test_what_a_cluster_cannot_reach_is_refused() -> None:
    with pytest.raises(InputError, match="a cluster cannot read this bundle"):
        manifests(cluster_spec(), Version("/home/me/runs/registry/bundles/x", "toy-1"), feast_folder="s3://f")
    with pytest.raises(InputError, match="online_store is sqlite"):
        manifests(SPEC, STABLE, feast_folder="s3://f")
    serving = {"token": "ELEC_TOKEN"}
    with pytest.raises(InputError, match=r"token is ELEC_TOKEN, which no pod has; add ELEC_TOKEN: SECRET/KEY"):
        manifests(cluster_spec(serving=serving), STABLE, feast_folder="s3://f")


@pytest.mark.parametrize("gpus", [0, 1])
def test_kubernetes_knows_every_field(gpus: int) -> None:
    """Its schemas have the account and the pod that KServe makes; KServe's own kinds they do not have."""
    documents = rendered(gpus=gpus)
    kubernetes_validate.validate(documents[0], "1.34", strict=True)
    ((_, labels, spec),) = pod_specs(documents)
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "elec", "labels": dict(labels)}, "spec": spec}
    kubernetes_validate.validate(pod, "1.34", strict=True)
    pod["spec"]["containers"][0]["colour"] = "red"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(pod, "1.34", strict=True)


def test_a_canary_stands_beside_the_champion() -> None:
    spec = cluster_spec(scaling={"least": 3, "most": 9})
    account, runtime, other, service = manifests(spec, STABLE, feast_folder=FEAST, canary=CHALLENGER, share=10)
    assert problems([account, runtime, other, service]) == []
    assert runtime["metadata"]["name"] != other["metadata"]["name"], "another image is another runtime: no pod restarts"
    stable, (beside,) = service["spec"]["predictor"], service["spec"]["canary"]
    assert "name" not in stable
    assert stable == manifests(spec, STABLE, feast_folder=FEAST)[-1]["spec"]["predictor"], "the champion is left alone"
    assert beside["trafficPercent"] == 10
    challenger = beside["predictor"]
    assert challenger["name"] == "green"
    assert challenger["model"]["storageUri"] == CHALLENGER.uri
    assert challenger["model"]["runtime"] == other["metadata"]["name"]
    assert "maxReplicas" not in challenger
    assert [one["labels"]["elec/version"] for one in (stable, challenger)] == [STABLE.bundle_id, CHALLENGER.bundle_id]
    long = replace(STABLE, bundle_id=f"{'x' * 80}-20240501T000000-0123456789ab")
    assert len(long.label) == 63
    assert long.label.endswith("-20240501T000000-0123456789ab")
    promoted = manifests(spec, CHALLENGER, feast_folder=FEAST)[-1]["spec"]["predictor"]
    assert promoted == challenger | {"minReplicas": 3, "maxReplicas": 9}, "promotion changes no pod"


def test_a_canary_in_knative_is_the_newest_revision() -> None:
    challenger = replace(CHALLENGER, slot="")
    *_, service = manifests(cluster_spec(mode="Knative"), STABLE, feast_folder=FEAST, canary=challenger, share=20)
    assert service["metadata"]["annotations"]["serving.kserve.io/deploymentMode"] == "Knative"
    assert "canary" not in service["spec"]
    predictor = service["spec"]["predictor"]
    assert (predictor["canaryTrafficPercent"], predictor["model"]["storageUri"]) == (20, CHALLENGER.uri)
    assert "terminationGracePeriodSeconds" not in predictor, "Knative does not take it"
    *_, service = manifests(cluster_spec(mode="Knative"), challenger, feast_folder=FEAST)
    assert "canaryTrafficPercent" not in service["spec"]["predictor"]


def container(documents: list[Manifest]) -> dict[str, Any]:
    found: dict[str, Any] = documents[1]["spec"]["containers"][0]
    return found


def resources(documents: list[Manifest]) -> dict[str, Any]:
    found: dict[str, Any] = documents[2]["spec"]["predictor"]["model"]["resources"]
    return found


def predictor(documents: list[Manifest]) -> dict[str, Any]:
    found: dict[str, Any] = documents[2]["spec"]["predictor"]
    return found


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda m: [resources(m)[part].update({"nvidia.com/gpu": 0.5}) for part in ("limits", "requests")], "GPUs come whole"),
        (
            lambda m: [resources(m)[part].update({"nvidia.com/gpu": "500m"}) for part in ("limits", "requests")],
            "GPUs come whole",
        ),
        (lambda m: resources(m)["limits"].update({"nvidia.com/gpu": 2}), "requests 1 and is limited to 2"),
        (lambda m: resources(m)["limits"].pop("nvidia.com/gpu"), "requests 1 and is limited to None"),
        (lambda m: resources(m)["limits"].pop("memory"), "no request and limit of memory"),
        (lambda m: predictor(m).pop("tolerations"), "does not tolerate the taint 'nvidia.com/gpu'"),
        (lambda m: predictor(m)["tolerations"][0].update(key="other"), "does not tolerate the taint"),
        (lambda m: predictor(m)["tolerations"][0].update(effect="NoExecute"), "does not tolerate the taint"),
        (lambda m: predictor(m)["tolerations"][0].update(operator="exists"), "operator 'exists'; write Exists or Equal"),
        (lambda m: predictor(m)["tolerations"][0].update(effect="Never"), "has the effect 'Never'"),
        (lambda m: predictor(m)["tolerations"][0].update(value="true"), "says Exists and gives a value"),
        (lambda m: predictor(m)["tolerations"].append({"operator": "Equal", "value": "x"}), "says Equal and has no key"),
        (lambda m: predictor(m)["tolerations"][0].update(tolerationSeconds=5), "goes with NoExecute only"),
        (lambda m: predictor(m).pop("nodeSelector"), "no nodeSelector"),
        (lambda m: predictor(m)["nodeSelector"].update({"nvidia.com/gpu.present": True}), "is no label's value"),
        (lambda m: m[2]["metadata"]["labels"].update(version="x" * 64), "is no label's value"),
        (lambda m: container(m)["securityContext"].update(readOnlyRootFilesystem=False), "may write to its root file system"),
        (lambda m: container(m)["securityContext"].update(runAsUser=0), "may run as root"),
        (lambda m: container(m)["securityContext"].update(privileged=True), "may gain privileges"),
        (lambda m: container(m)["securityContext"].pop("allowPrivilegeEscalation"), "may gain privileges"),
        (lambda m: container(m)["securityContext"].pop("capabilities"), "keeps capabilities"),
        (lambda m: container(m).pop("readinessProbe"), "has no readinessProbe"),
        (lambda m: predictor(m)["model"].update(runtime="other"), "names the runtime 'other'"),
        (lambda m: predictor(m)["model"]["modelFormat"].update(name="onnx"), "model format 'onnx' is none of the runtime's"),
        (lambda m: predictor(m).update(serviceAccountName="other"), "runs as 'other'"),
        (lambda m: m[0]["metadata"].update(namespace="other"), "different namespaces"),
    ],
)
def test_what_validation_misses_is_found(spoil: Any, message: str) -> None:
    documents = list(yaml.safe_load_all(to_yaml(rendered())))
    spoil(documents)
    assert any(message in problem for problem in problems(documents)), problems(documents)


def test_selectors_have_to_select() -> None:
    labels = {"app": "elec"}
    pod = {"containers": []}
    deployment = {
        "kind": "Deployment",
        "metadata": {"name": "d", "namespace": "n"},
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}, "spec": pod}},
    }
    service = {"kind": "Service", "metadata": {"name": "s", "namespace": "n"}, "spec": {"selector": labels}}
    budget = {
        "kind": "PodDisruptionBudget",
        "metadata": {"name": "p", "namespace": "n"},
        "spec": {"selector": {"matchLabels": labels}},
    }
    assert problems([deployment, service, budget]) == []
    for index in range(3):
        documents = list(yaml.safe_load_all(to_yaml([deployment, service, budget])))
        selector = documents[index]["spec"]["selector"]
        selector.get("matchLabels", selector)["app"] = "other"
        (found,) = problems(documents)
        assert "matches the labels of no pod" in found
