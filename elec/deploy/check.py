"""What a schema does not catch in manifests: they pass validation, are accepted, and then never run, or run unprotected.

The schema of Kubernetes takes fractional GPUs, any word for a toleration's operator and selectors that select nothing, and
it does not know KServe's kinds.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from elec.deploy.kserve import CONTAINER, GPU, SERVING_GROUP, Manifest

_OPERATORS = {"Exists", "Equal"}
_EFFECTS = {"NoSchedule", "PreferNoSchedule", "NoExecute"}
_LABEL = re.compile(r"(?:[A-Za-z0-9](?:[-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?")
_LABEL_RULE = "quote it, 63 letters, digits, '-', '_' or '.' at most"
#: Kinds whose pods come to an end: nobody waits for them to be ready.
_ENDS = ("Job ", "TrainJob ", "RayJob ")
_WHOLE = re.compile(r"[0-9]+")
#: Of a DNS label.
_LONGEST_NAME = 63


def problems(documents: list[Manifest], *, taint: str = GPU) -> list[str]:
    """What is wrong with manifests that belong together.

    Args:
        documents: The manifests.
        taint: The key of the taint that GPU nodes carry; every pod with a GPU has to tolerate it.

    Returns:
        A sentence a problem; none if all is well.
    """
    found = []
    for document in documents:
        own = [document["metadata"].get("labels", {}), *(predictor.get("labels", {}) for predictor in _predictors(document))]
        found += [f"{_name(document)}: {problem}" for labels in own for problem in _labels(labels)]
    pods = list(pod_specs(documents))
    for where, _, pod in pods:
        serves = not where.startswith(_ENDS)
        found += [f"{where}: {problem}" for problem in _pod(pod, taint, serves=serves)]
    return [*found, *_references(documents), *_canaries(documents), *_autoscalers(documents), *_selectors(documents, pods)]


def pod_specs(documents: list[Manifest]) -> Iterator[tuple[str, Mapping[str, str], dict[str, Any]]]:
    """The pods that manifests lead to: where they come from, their labels, their spec.

    For an InferenceService it is the runtime's pod with the predictor's settings over it, as KServe merges them; for a
    TrainJob what it makes of its runtime's pod.
    """
    runtimes = {runtime["metadata"]["name"]: runtime["spec"] for runtime in documents if runtime["kind"] == "ServingRuntime"}
    for document in documents:
        where, spec = _name(document), document.get("spec", {})
        if document["kind"] == "Pod":
            yield where, document["metadata"].get("labels", {}), spec
        elif document["kind"] in {"Deployment", "StatefulSet", "DaemonSet", "Job"}:
            template = spec["template"]
            yield where, template.get("metadata", {}).get("labels", {}), template["spec"]
        elif document["kind"] == "TrainJob":
            for patch in spec["runtimePatches"]:
                for job in patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]:
                    template = job["template"]["spec"]["template"]
                    containers = [
                        {"resources": spec["trainer"]["resourcesPerNode"], **container}
                        for container in template["spec"]["containers"]
                    ]
                    yield where, template["metadata"]["labels"], {**template["spec"], "containers": containers}
        elif document["kind"] == "RayJob":
            ray = spec["rayClusterSpec"]
            for group in (ray["headGroupSpec"], *ray["workerGroupSpecs"]):
                yield where, group["template"]["metadata"]["labels"], group["template"]["spec"]
        elif document["kind"] == "InferenceService":
            for predictor in _predictors(document):
                runtime = runtimes.get(predictor["model"].get("runtime", ""), {})
                yield where, {**runtime.get("labels", {}), **predictor.get("labels", {})}, merged_pod(runtime, predictor)


def _predictors(service: Manifest) -> list[dict[str, Any]]:
    """The predictors of an InferenceService: its own and those of its canaries, which KServe lays over it."""
    if service["kind"] != "InferenceService":
        return []
    stable, canaries = service["spec"]["predictor"], service["spec"].get("canary", ())
    return [stable, *({**stable, **canary["predictor"]} for canary in canaries)]


def merged_pod(runtime: Mapping[str, Any], predictor: Mapping[str, Any]) -> dict[str, Any]:
    """The pod that KServe makes of a runtime and a predictor."""
    of_model = {"resources": predictor["model"].get("resources", {}), "env": predictor["model"].get("env", [])}
    containers = []
    for container in runtime.get("containers", []):
        if container["name"] == CONTAINER:
            env = [*container.get("env", []), *of_model["env"]]
            container = {**container, "resources": of_model["resources"] or container.get("resources", {}), "env": env}
        containers.append(container)
    other = ("nodeSelector", "tolerations", "securityContext", "serviceAccountName", "automountServiceAccountToken")
    pod = {key: value for source in (runtime, predictor) for key, value in source.items() if key in other}
    return {**pod, "containers": containers, "volumes": runtime.get("volumes", [])}


def _name(document: Manifest) -> str:
    return f"{document['kind']} {document['metadata']['name']}"


def _pod(pod: Mapping[str, Any], taint: str, *, serves: bool) -> Iterator[str]:
    with_gpu = False
    for container in pod.get("containers", []):
        name = f"container {container.get('name')}"
        resources = container.get("resources", {})
        requests, limits = resources.get("requests", {}), resources.get("limits", {})
        for kind in ("cpu", "memory"):
            if kind not in requests or kind not in limits:
                yield f"{name} has no request and limit of {kind}; set both"
        for amounts in (requests, limits):
            if GPU in amounts and (isinstance(amounts[GPU], bool) or not _WHOLE.fullmatch(str(amounts[GPU]))):
                yield f"{name} asks for {amounts[GPU]} {GPU}; GPUs come whole, give an integer"
        if (GPU in requests or GPU in limits) and str(requests.get(GPU)) != str(limits.get(GPU)):
            yield f"{name} requests {requests.get(GPU)} and is limited to {limits.get(GPU)} {GPU}; they have to be equal"
        with_gpu = with_gpu or str(limits.get(GPU, requests.get(GPU, 0))) != "0"
        yield from _protection(name, container, pod)
        for probe in ("readinessProbe", "livenessProbe") if serves else ():
            if probe not in container:
                yield f"{name} has no {probe}; add one"
    for toleration in pod.get("tolerations", []):
        yield from _toleration(toleration)
    if with_gpu:
        if not any(_tolerates(toleration, taint) for toleration in pod.get("tolerations", [])):
            yield f"has a GPU but does not tolerate the taint '{taint}' of GPU nodes, so it never runs; add a toleration"
        if not pod.get("nodeSelector"):
            yield "has a GPU but no nodeSelector, so it may land on the wrong pool; add one"
    for key, value in pod.get("nodeSelector", {}).items():
        if not isinstance(value, str) or not _LABEL.fullmatch(value):
            yield f"nodeSelector {key} = {value!r} is no label's value; {_LABEL_RULE}"


def _protection(name: str, container: Mapping[str, Any], pod: Mapping[str, Any]) -> Iterator[str]:
    context = {**pod.get("securityContext", {}), **container.get("securityContext", {})}
    if context.get("runAsNonRoot") is not True or context.get("runAsUser") == 0:
        yield f"{name} may run as root; set runAsNonRoot, and a user that is not 0"
    if context.get("readOnlyRootFilesystem") is not True:
        yield f"{name} may write to its root file system; set readOnlyRootFilesystem"
    if context.get("allowPrivilegeEscalation") is not False or context.get("privileged") is True:
        yield f"{name} may gain privileges; set allowPrivilegeEscalation to false, and do not set privileged"
    if "ALL" not in context.get("capabilities", {}).get("drop", []):
        yield f"{name} keeps capabilities; drop ALL"


def _toleration(toleration: Mapping[str, Any]) -> Iterator[str]:
    operator, effect = toleration.get("operator", "Equal"), toleration.get("effect", "")
    if operator not in _OPERATORS:
        yield f"toleration of '{toleration.get('key')}' has the operator {operator!r}; write Exists or Equal"
    if effect and effect not in _EFFECTS:
        yield f"toleration of '{toleration.get('key')}' has the effect {effect!r}; write one of {', '.join(sorted(_EFFECTS))}"
    if operator == "Exists" and toleration.get("value"):
        yield f"toleration of '{toleration.get('key')}' says Exists and gives a value; write Equal, or leave the value out"
    if operator == "Equal" and not toleration.get("key"):
        yield "a toleration says Equal and has no key; name the taint's key"
    if "tolerationSeconds" in toleration and effect != "NoExecute":
        yield f"toleration of '{toleration.get('key')}' has tolerationSeconds, which goes with NoExecute only"


def _tolerates(toleration: Mapping[str, Any], taint: str) -> bool:
    return toleration.get("key") in {taint, None, ""} and toleration.get("effect", "") in {"NoSchedule", ""}


def _labels(labels: Mapping[str, Any]) -> Iterator[str]:
    for key, value in labels.items():
        if not isinstance(value, str) or not _LABEL.fullmatch(value):
            yield f"label {key} = {value!r} is no label's value; {_LABEL_RULE}"


def _references(documents: list[Manifest]) -> Iterator[str]:
    """What one manifest says of another one by name."""
    named = {(document["kind"], document["metadata"]["name"]): document for document in documents}
    if len({document["metadata"].get("namespace") for document in documents}) > 1:
        yield "the manifests are of different namespaces; they cannot find each other"
    for document in documents:
        if document["kind"] != "InferenceService":
            continue
        where = _name(document)
        for predictor in _predictors(document):
            runtime = named.get(("ServingRuntime", predictor["model"].get("runtime")))
            if runtime is None:
                yield f"{where}: names the runtime '{predictor['model'].get('runtime')}', which is not among the manifests"
            elif predictor["model"]["modelFormat"]["name"] not in [
                known["name"] for known in runtime["spec"].get("supportedModelFormats", [])
            ]:
                yield f"{where}: its model format '{predictor['model']['modelFormat']['name']}' is none of the runtime's"
            account = predictor.get("serviceAccountName")
            if account and ("ServiceAccount", account) not in named:
                yield f"{where}: runs as '{account}', which is not among the manifests"


def _canaries(documents: list[Manifest]) -> Iterator[str]:
    """What KServe refuses, or what would have it remove a Deployment that serves."""
    for document in documents:
        if document["kind"] != "InferenceService" or not document["spec"].get("canary"):
            continue
        where, stable, canaries = _name(document), document["spec"]["predictor"], document["spec"]["canary"]
        if document["metadata"].get("annotations", {}).get(f"{SERVING_GROUP}/deploymentMode") != "Standard":
            yield f"{where}: has a canary, which KServe takes in Standard mode only"
        if sum(canary["trafficPercent"] for canary in canaries) > 100:
            yield f"{where}: gives its canaries more than 100 percent of the traffic"
        names = [stable.get("name"), *(canary["predictor"].get("name") for canary in canaries)]
        if not all(names[1:]) or len(set(names)) < len(names):
            yield f"{where}: its predictors are named {', '.join(map(str, names))}; every canary needs a name of its own"
        for canary in (found["predictor"] for found in canaries):
            taken = sorted({"maxReplicas", "scaleTarget", "scaleMetric", "autoScaling"} & set(canary))
            if taken:
                yield f"{where}: the canary '{canary.get('name')}' sets {taken[0]}; KServe does not scale canaries"
            if canary.get("minReplicas", 0) > stable.get("minReplicas", 1):
                yield f"{where}: the canary '{canary.get('name')}' has more replicas than the predictor beside it"


def _autoscalers(documents: list[Manifest]) -> Iterator[str]:
    """Autoscalers that scale nothing, or what another one scales."""
    services = [document for document in documents if document["kind"] == "InferenceService"]
    targets = {document["metadata"]["name"] for document in documents if document["kind"] == "Deployment"}
    for service in services:
        for predictor in _predictors(service):
            parts = (service["metadata"]["name"], predictor.get("name"), "predictor")
            name = "-".join(part for part in parts if part)
            targets.add(name)
            if len(name) > _LONGEST_NAME:
                yield f"{_name(service)}: its Service would be called {name}, and {_LONGEST_NAME} letters are allowed"
    for document in documents:
        if document["kind"] != "HorizontalPodAutoscaler":
            continue
        where, spec = _name(document), document["spec"]
        if spec["scaleTargetRef"]["name"] not in targets:
            yield f"{where}: scales '{spec['scaleTargetRef']['name']}', which is not among the manifests"
        if spec["minReplicas"] > spec["maxReplicas"]:
            yield f"{where}: has {spec['minReplicas']} replicas at least and {spec['maxReplicas']} at most"
        classes = [service["metadata"].get("annotations", {}).get(f"{SERVING_GROUP}/autoscalerClass") for service in services]
        if any(found != "external" for found in classes):
            yield f"{where}: KServe would scale the same Deployment; give the InferenceService the autoscalerClass external"


def _selectors(documents: list[Manifest], pods: list[tuple[str, Mapping[str, str], dict[str, Any]]]) -> Iterator[str]:
    """Selectors that select nothing."""
    services = {document["metadata"]["name"] for document in documents if document["kind"] == "InferenceService"}
    for document in documents:
        where, spec = _name(document), document.get("spec", {})
        selector = spec.get("podSelector" if document["kind"] == "NetworkPolicy" else "selector", {})
        wanted = selector.get("matchLabels", selector if document["kind"] == "Service" else {})
        if not wanted:
            continue
        if document["kind"] == "ServiceMonitor":
            # It selects Services, which KServe makes.
            if wanted.get(f"{SERVING_GROUP}/inferenceservice") not in services:
                yield f"{where}: its selector {dict(wanted)} matches the Services of no InferenceService"
            continue
        own = [labels for origin, labels, _ in pods if origin == where]
        if not any(wanted.items() <= dict(labels).items() for labels in (own or [labels for _, labels, _ in pods])):
            yield f"{where}: its selector {dict(wanted)} matches the labels of no pod"
