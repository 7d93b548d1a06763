"""What stands around a service on a cluster: who scales it, who may speak to it, who may evict it, who scrapes it."""

from typing import Any
from urllib.parse import urlparse

from elec.deploy.kserve import PORT, PORT_NAME, SERVING_GROUP, Manifest, about, selector, workload
from elec.spec import Spec

_DNS = 53
_HTTP, _HTTPS = 80, 443
_REDIS = 6379
#: Namespaces from which a gateway hands requests on: KServe's own, Envoy's, Istio's, and Knative's with its activator.
_GATEWAYS = ("kserve", "envoy-gateway-system", "istio-system", "istio-ingress", "knative-serving", "kourier-system")
#: Of the sidecar before a Knative container: HTTP/1, HTTP/2, both with TLS, probes, metrics of the sidecar.
_QUEUE_PROXY = (8012, 8013, 8112, 8022, 9090, 9091)
#: Kubeflow Pipelines puts it on the pods of a run: the deployment is questioned and watched from one.
_PIPELINE = {"pipelines.kubeflow.org/v2_component": "true"}
_PROMETHEUS = {"app.kubernetes.io/name": "prometheus"}
_EVERY_NAMESPACE: dict[str, Any] = {}


def surroundings(spec: Spec, slots: tuple[str, ...] = ("",)) -> list[Manifest]:
    """The objects around a service.

    Args:
        spec: Says who and how many.
        slots: The names of its predictors in Standard mode: the champion's, and the challenger's during a canary.
    """
    deploy = spec.run.deploy
    found = [_disruption_budget(spec), _network_policy(spec)]
    if deploy.mode == "Standard":
        # Knative scales and lists its revisions itself.
        if deploy.scaling.most > 1:
            found += [autoscaler(spec, slot) for slot in slots]
        if deploy.monitoring:
            found.append(_service_monitor(spec))
    return found


def autoscaler(spec: Spec, slot: str) -> Manifest:
    """The HorizontalPodAutoscaler of a predictor's Deployment.

    A challenger's Deployment has its own, with as many replicas as the champion's at least: it takes over without a gap.
    """
    scaling = spec.run.deploy.scaling
    name = workload(spec, slot)
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": scaling.cpu_percent}}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, **about(spec)},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": scaling.least,
            "maxReplicas": scaling.most,
            "metrics": [{"type": "Resource", "resource": cpu}],
        },
    }


def _disruption_budget(spec: Spec) -> Manifest:
    return {
        "apiVersion": "policy/v1",
        "kind": "PodDisruptionBudget",
        "metadata": {"name": spec.run.deploy.name, **about(spec)},
        # Not minAvailable: with one replica that would keep a node from ever being drained.
        "spec": {"maxUnavailable": 1, "selector": {"matchLabels": selector(spec)}},
    }


def _network_policy(spec: Spec) -> Manifest:
    deploy = spec.run.deploy
    ports = (PORT, *_QUEUE_PROXY) if deploy.mode == "Knative" else (PORT,)
    clients: list[dict[str, Any]] = [
        {"podSelector": {"matchLabels": dict(deploy.clients)} if deploy.clients else {}},
        {
            "namespaceSelector": {
                "matchExpressions": [{"key": "kubernetes.io/metadata.name", "operator": "In", "values": list(_GATEWAYS)}]
            }
        },
        {"namespaceSelector": _EVERY_NAMESPACE, "podSelector": {"matchLabels": dict(_PIPELINE)}},
    ]
    if deploy.monitoring:
        clients.append({"namespaceSelector": _EVERY_NAMESPACE, "podSelector": {"matchLabels": dict(_PROMETHEUS)}})
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": deploy.name, **about(spec)},
        "spec": {
            "podSelector": {"matchLabels": selector(spec)},
            "policyTypes": ["Ingress", "Egress"],
            "ingress": [{"from": clients, "ports": _ports(*ports)}],
            "egress": [
                {"ports": [{"protocol": protocol, "port": _DNS} for protocol in ("UDP", "TCP")]},
                {"ports": _ports(*sorted({_redis_port(spec), *_s3_ports(spec)}))},
            ],
        },
    }


def _service_monitor(spec: Spec) -> Manifest:
    deploy, token = spec.run.deploy, spec.run.serving.token
    endpoint: dict[str, Any] = {"port": PORT_NAME, "path": "/metrics", "interval": "15s"}
    if token:
        secret, _, key = spec.run.cluster.secrets[token].partition("/")
        endpoint["authorization"] = {"type": "Bearer", "credentials": {"name": secret, "key": key}}
    own = about(spec)
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "ServiceMonitor",
        "metadata": {"name": deploy.name, **own, "labels": {**own["labels"], "release": deploy.monitoring}},
        "spec": {
            # KServe puts it on the Services of all predictors.
            "selector": {"matchLabels": {f"{SERVING_GROUP}/inferenceservice": deploy.name}},
            "podTargetLabels": ["elec/version"],
            "endpoints": [endpoint],
        },
    }


def _ports(*numbers: int) -> list[dict[str, Any]]:
    return [{"protocol": "TCP", "port": number} for number in numbers]


def _redis_port(spec: Spec) -> int:
    address = (spec.run.feast.redis or "").partition(",")[0]
    port = address.rpartition(":")[2]
    return int(port) if port.isdigit() else _REDIS


def _s3_ports(spec: Spec) -> tuple[int, ...]:
    endpoint = urlparse(spec.run.cluster.s3_endpoint)
    return (endpoint.port or (_HTTP if endpoint.scheme == "http" else _HTTPS),)
