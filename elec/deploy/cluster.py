"""A Kubernetes API server: objects are applied, read, listed and removed."""

import json
import time
from collections.abc import Mapping, Sequence
from typing import Any, Self

from elec.deploy.kserve import Manifest
from elec.errors import BlockedError, InputError, RunFailedError
from elec.progress import Progress

#: Names this program among those that own fields of an object.
FIELD_MANAGER = "elec"

_PLURALS = {
    "ServiceAccount": "serviceaccounts",
    "ServingRuntime": "servingruntimes",
    "InferenceService": "inferenceservices",
    "TrainJob": "trainjobs",
    "RayJob": "rayjobs",
    "HorizontalPodAutoscaler": "horizontalpodautoscalers",
    "PodDisruptionBudget": "poddisruptionbudgets",
    "NetworkPolicy": "networkpolicies",
    "ServiceMonitor": "servicemonitors",
}
#: Whose kinds they are: what has to be installed for them.
_CONTROLLERS = {
    "InferenceService": "KServe",
    "ServingRuntime": "KServe",
    "TrainJob": "Kubeflow Trainer",
    "RayJob": "KubeRay",
    "ServiceMonitor": "the Prometheus Operator",
}
_SECONDS_BETWEEN_LOOKS = 2.0
_SECONDS_FOR_AN_ANSWER = 30


class Cluster:
    """A Kubernetes API server.

    Args:
        client: A `kubernetes.client.ApiClient`.
        poll: Seconds between looks at a service that is starting.
    """

    def __init__(self, client: Any, *, poll: float = _SECONDS_BETWEEN_LOOKS) -> None:
        self._client = client
        self.poll = poll

    @classmethod
    def connect(cls, why: str = "run.deploy.target is kserve") -> Self:
        """The cluster that this runs in, else the one of the user's kubeconfig.

        Args:
            why: The setting that asks for a cluster.

        Raises:
            InputError: If there is neither.
        """
        from kubernetes import client, config

        try:
            config.load_incluster_config()
        except config.ConfigException:
            try:
                config.load_kube_config()
            except (config.ConfigException, OSError) as error:
                raise InputError(f"{why}, but there is no cluster to reach ({error}); set KUBECONFIG") from None
        return cls(client.ApiClient())

    def apply(self, document: Manifest) -> None:
        """Applies a manifest on the server's side: what is not there is made, what is there becomes as it says."""
        query = [("fieldManager", FIELD_MANAGER), ("force", "true")]
        self._call("PATCH", document, _path(document), query, document, "application/apply-patch+yaml")

    def get(self, document: Manifest) -> dict[str, Any] | None:
        """The object of a manifest as it is now, or None."""
        return self._call("GET", document, _path(document))

    def pods(self, namespace: str, labels: Mapping[str, str]) -> list[dict[str, Any]]:
        """The pods with these labels."""
        chosen = ",".join(f"{key}={value}" for key, value in labels.items())
        about = {"kind": "Pod", "metadata": {"name": f"with {chosen}"}}
        found = self._call("GET", about, f"/api/v1/namespaces/{namespace}/pods", [("labelSelector", chosen)])
        return list((found or {}).get("items", []))

    def names(self, like: Manifest) -> list[str]:
        """The names of the objects of a manifest's kind, in its namespace, that have the labels it has.

        Args:
            like: A manifest; its name is not looked at.
        """
        chosen = ",".join(f"{key}={value}" for key, value in like["metadata"]["labels"].items())
        found = self._call("GET", like, _path(like).rpartition("/")[0], [("labelSelector", chosen)])
        return [str(item["metadata"]["name"]) for item in (found or {}).get("items", [])]

    def delete(self, document: Manifest) -> None:
        """Removes the object of a manifest, if it is there."""
        self._call("DELETE", document, _path(document), [("propagationPolicy", "Foreground")])

    def wait_ready(self, service: Manifest, deadline: float) -> str:
        """Waits for an InferenceService, and its canaries, to be ready in the state that was applied last.

        Args:
            service: Its manifest.
            deadline: Seconds.

        Returns:
            Its address.

        Raises:
            BlockedError: If it is not ready in time; the message has what the cluster says about it.
        """
        until = time.monotonic() + deadline
        canaries = {beside["predictor"]["name"] for beside in service["spec"].get("canary", ())}
        with Progress("wait for the service", unit="looks") as progress:
            while True:
                found = self.get(service) or {}
                status = found.get("status", {})
                # Until the controller has seen the newest generation its conditions are about the one before.
                generation = found.get("metadata", {}).get("generation", 0)
                current = status.get("observedGeneration", generation) >= generation
                ready = condition(status, "Ready")
                waiting = canaries - {beside["name"] for beside in status.get("canaryStatuses") or () if beside.get("ready")}
                address = (status.get("address") or {}).get("url") or status.get("url")
                if current and ready.get("status") == "True" and address and not waiting:
                    return str(address)
                if time.monotonic() > until:
                    raise BlockedError(
                        f"InferenceService {service['metadata']['name']} was not ready after {deadline:g} seconds: "
                        f"{_why(status)}; the champion stays"
                    )
                progress.advance(1, note=str(ready.get("reason", "")))
                time.sleep(self.poll)

    def _call(
        self,
        method: str,
        document: Manifest,
        path: str,
        query: Sequence[tuple[str, str]] = (),
        body: Manifest | None = None,
        content_type: str = "",
    ) -> dict[str, Any] | None:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        kind, name = document["kind"], document["metadata"]["name"]
        headers = {"Accept": "application/json"} | ({"Content-Type": content_type} if content_type else {})
        try:
            answer: Any = self._client.call_api(
                path,
                method,
                query_params=list(query),
                header_params=headers,
                body=body,
                auth_settings=["BearerToken"],
                response_type="object",
                _return_http_data_only=True,
                _request_timeout=_SECONDS_FOR_AN_ANSWER,
            )
        except ApiException as error:
            if error.status == 404 and method in {"GET", "DELETE"}:
                return None
            raise RunFailedError(
                f"the cluster refused to {_VERBS[method]} {kind} {name} ({error.status} {_message(error)}); "
                f"check the rights of this account, and that {_CONTROLLERS.get(kind, 'Kubernetes')} is installed"
            ) from None
        except HTTPError as error:
            raise RunFailedError(f"the cluster does not answer ({error}); check KUBECONFIG and the network") from None
        return dict(answer)


_VERBS = {"PATCH": "apply", "GET": "read", "DELETE": "delete"}


def _path(document: Manifest) -> str:
    kind, version = document["kind"], document["apiVersion"]
    metadata = document["metadata"]
    # Only the core kinds have a version without a group.
    root = f"/apis/{version}" if "/" in version else f"/api/{version}"
    return f"{root}/namespaces/{metadata['namespace']}/{_PLURALS[kind]}/{metadata['name']}"


def condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    """The condition of this type in an object's status; empty if it has none."""
    return next((found for found in status.get("conditions", []) if found.get("type") == kind), {})


def _why(status: Mapping[str, Any]) -> str:
    """What the cluster says about a service that is not ready."""
    said = [f"{found.get('type')}: {found['message']}" for found in status.get("conditions", []) if found.get("message")]
    failure = (status.get("modelStatus") or {}).get("lastFailureInfo") or {}
    if failure.get("message"):
        said.append(str(failure["message"]))
    return "; ".join(said) or "the cluster says nothing about it"


def _message(error: Any) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return str(error.reason)
