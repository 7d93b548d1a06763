"""Everything that a cluster is asked for, against the schemas of those who will read it."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import orjson
import pytest
import yaml

from elec.deploy.apply import rendered
from elec.deploy.check import pod_specs, problems
from elec.deploy.kserve import Manifest, to_yaml
from elec.spec import Spec
from tests.deploy.test_kserve import CHALLENGER, FEAST, STABLE, cluster_spec

SCHEMAS = {path.stem: orjson.loads(path.read_bytes()) for path in (Path(__file__).parent / "schemas").glob("*.json")}
KUBERNETES = ("1.34", "1.36")


def full_spec(**deploy: Any) -> Spec:
    settings = {"monitoring": "prometheus", "scaling": {"least": 2, "most": 6}} | deploy
    return cluster_spec(**settings, serving={"token": "ELEC_TOKEN"}, secrets={"ELEC_TOKEN": "elec/token"})


def documents(spec: Spec, *, canary: bool) -> list[Manifest]:
    challenger = replace(CHALLENGER, slot="green" if spec.run.deploy.mode == "Standard" else "")
    found = rendered(spec, STABLE, FEAST, canary=challenger if canary else None, share=10)
    return list(yaml.safe_load_all(to_yaml(found)))


def one(found: list[Manifest], kind: str) -> Manifest:
    (only,) = [document for document in found if document["kind"] == kind]
    return only


@pytest.mark.parametrize(
    ("gpus", "mode", "canary", "most"), list(itertools.product((0, 2), ("Standard", "Knative"), (False, True), (1, 6)))
)
def test_every_manifest_fits_its_schema(gpus: int, mode: str, canary: bool, most: int) -> None:
    spec = full_spec(gpus=gpus, mode=mode, scaling={"least": 1, "most": most})
    found = documents(spec, canary=canary)
    assert problems(found) == []
    for document in found:
        schema = SCHEMAS.get(document["kind"])
        if schema is not None:
            assert document["apiVersion"] == f"{schema['group']}/{schema['version']}"
            jsonschema.Draft202012Validator(schema["schema"]).validate(document)
            continue
        for version in KUBERNETES:
            kubernetes_validate.validate(document, version, strict=True)
    pods = list(pod_specs(found))
    assert len(pods) == 1 + (canary and mode == "Standard")
    for _, labels, pod in pods:
        made = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "elec", "labels": dict(labels)}, "spec": pod}
        kubernetes_validate.validate(made, "1.34", strict=True)


@pytest.mark.parametrize(
    ("kind", "spoil"),
    [
        ("InferenceService", lambda spec: spec["predictor"].update(colour="red")),
        ("InferenceService", lambda spec: spec["predictor"]["model"].update(storageUrl="s3://x")),
        ("InferenceService", lambda spec: spec["canary"][0].update(trafficPercent=101)),
        ("InferenceService", lambda spec: spec["canary"][0].pop("trafficPercent")),
        ("InferenceService", lambda spec: spec["canary"][0]["predictor"].update(name="0green")),
        ("InferenceService", lambda spec: spec["predictor"].update(minReplicas="two")),
        ("ServingRuntime", lambda spec: spec["containers"][0].update(imagePullPolice="Always")),
        ("ServingRuntime", lambda spec: spec["supportedModelFormats"][0].pop("name")),
        ("ServiceMonitor", lambda spec: spec["endpoints"][0].update(interval="often")),
        ("ServiceMonitor", lambda spec: spec.pop("selector")),
    ],
)
def test_the_schemas_refuse_what_the_cluster_would(kind: str, spoil: Any) -> None:
    found = documents(full_spec(), canary=True)
    document = next(document for document in found if document["kind"] == kind)
    spoil(document["spec"])
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.Draft202012Validator(SCHEMAS[kind]["schema"]).validate(document)


def test_the_schemas_say_where_they_are_from() -> None:
    assert set(SCHEMAS) == {"InferenceService", "RayJob", "ServingRuntime", "ServiceMonitor"}
    for schema in SCHEMAS.values():
        assert schema["source"].startswith("github.com/")
        assert "description" not in orjson.dumps(schema["schema"]).decode()


def test_each_deployment_has_its_autoscaler() -> None:
    found = documents(full_spec(), canary=True)
    scalers = [document for document in found if document["kind"] == "HorizontalPodAutoscaler"]
    targets = [scaler["spec"]["scaleTargetRef"]["name"] for scaler in scalers]
    assert targets == ["elec-predictor", "elec-green-predictor"]
    assert [(scaler["spec"]["minReplicas"], scaler["spec"]["maxReplicas"]) for scaler in scalers] == [(2, 6)] * 2
    service = one(found, "InferenceService")
    assert service["metadata"]["annotations"]["serving.kserve.io/autoscalerClass"] == "external"
    alone = documents(full_spec(scaling={"least": 1, "most": 1}), canary=False)
    assert "HorizontalPodAutoscaler" not in {document["kind"] for document in alone}
    annotations = one(alone, "InferenceService")["metadata"]["annotations"]
    assert annotations["serving.kserve.io/autoscalerClass"] == "none", "KServe would make one of its own"


def test_who_may_speak_to_it() -> None:
    policy = one(documents(full_spec(clients={"app": "ranking"}), canary=False), "NetworkPolicy")["spec"]
    (ingress,) = policy["ingress"]
    assert {"podSelector": {"matchLabels": {"app": "ranking"}}} in ingress["from"]
    assert {} not in ingress["from"], "an empty peer is everyone"
    assert [port["port"] for port in ingress["ports"]] == [8080]
    assert {port["port"] for rule in policy["egress"] for port in rule["ports"]} == {53, 6379, 9000}
    anyone = one(documents(full_spec(monitoring=""), canary=False), "NetworkPolicy")["spec"]["ingress"][0]["from"]
    assert anyone[0] == {"podSelector": {}}
    assert not any("prometheus" in str(peer) for peer in anyone)


def test_monitoring() -> None:
    monitor = one(documents(full_spec(), canary=False), "ServiceMonitor")
    assert monitor["metadata"]["labels"]["release"] == "prometheus"
    (endpoint,) = monitor["spec"]["endpoints"]
    assert endpoint["authorization"]["credentials"] == {"name": "elec", "key": "token"}
    assert "ServiceMonitor" not in {document["kind"] for document in documents(full_spec(monitoring=""), canary=False)}


def named(found: list[Manifest], kind: str) -> dict[str, Any]:
    spec: dict[str, Any] = next(document for document in found if document["kind"] == kind)["spec"]
    return spec


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda m: named(m, "InferenceService")["canary"][0]["predictor"].pop("name"), "needs a name of its own"),
        (lambda m: named(m, "InferenceService")["predictor"].update(name="green"), "needs a name of its own"),
        (lambda m: named(m, "InferenceService")["canary"][0].update(trafficPercent=101), "more than 100 percent"),
        (lambda m: named(m, "InferenceService")["canary"][0]["predictor"].update(maxReplicas=3), "sets maxReplicas"),
        (lambda m: named(m, "InferenceService")["canary"][0]["predictor"].update(minReplicas=3), "has more replicas"),
        (lambda m: named(m, "InferenceService")["canary"][0]["predictor"].update(tolerations=[]), "does not tolerate"),
        (lambda m: named(m, "InferenceService")["canary"][0]["predictor"]["model"].update(runtime="x"), "the runtime 'x'"),
        (lambda m: named(m, "HorizontalPodAutoscaler")["scaleTargetRef"].update(name="x"), "scales 'x', which is not among"),
        (lambda m: named(m, "HorizontalPodAutoscaler").update(minReplicas=7), "7 replicas at least and 6 at most"),
        (
            lambda m: one(m, "InferenceService")["metadata"]["annotations"].pop("serving.kserve.io/autoscalerClass"),
            "KServe would scale the same Deployment",
        ),
        (
            lambda m: one(m, "InferenceService")["metadata"]["annotations"].update(
                {"serving.kserve.io/deploymentMode": "Knative"}
            ),
            "in Standard mode only",
        ),
        (lambda m: one(m, "InferenceService")["metadata"].update(name="x" * 60), "63 letters are allowed"),
        (
            lambda m: named(m, "NetworkPolicy")["podSelector"]["matchLabels"].update(app="x"),
            "matches the labels of no pod",
        ),
        (
            lambda m: named(m, "PodDisruptionBudget")["selector"]["matchLabels"].update(app="x"),
            "matches the labels of no pod",
        ),
        (
            lambda m: named(m, "ServiceMonitor")["selector"].update(matchLabels={"app": "x"}),
            "the Services of no InferenceService",
        ),
    ],
)
def test_what_no_schema_catches_is_found(spoil: Any, message: str) -> None:
    found = documents(full_spec(), canary=True)
    spoil(found)
    assert any(message in problem for problem in problems(found)), problems(found)
