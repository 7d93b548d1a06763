"""Puts a bundle in service on a cluster: apply, wait, question, and back to the champion if anything is wrong."""

import contextlib
import json
import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any, Self

import httpx

from elec import storage
from elec.deploy.check import problems
from elec.deploy.kserve import Manifest, manifests
from elec.deploy.smoke import SmokeReport, smoke_test
from elec.errors import BlockedError, ElecError, InputError, RunFailedError
from elec.progress import Progress
from elec.runs.workspace import Workspace
from elec.serving.bundle import Bundle
from elec.serving.manifest import MANIFEST, parse_manifest
from elec.serving.predictor import Features
from elec.serving.protocol import MODEL_NAME
from elec.spec import Spec

log = logging.getLogger("elec.deploy")

#: Names this program among those that own fields of an object.
FIELD_MANAGER = "elec"

_PLURALS = {
    "ServiceAccount": "serviceaccounts",
    "ServingRuntime": "servingruntimes",
    "InferenceService": "inferenceservices",
    "TrainJob": "trainjobs",
}
#: Whose kinds they are: what has to be installed for them.
_CONTROLLERS = {"InferenceService": "KServe", "ServingRuntime": "KServe", "TrainJob": "Kubeflow Trainer"}
_SECONDS_TO_READY = 900.0
_SECONDS_BETWEEN_LOOKS = 2.0
_SECONDS_FOR_AN_ANSWER = 30
_ANSWERS_IN_A_ROW = 10


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
        self._call("PATCH", document, query, document, "application/apply-patch+yaml")

    def get(self, document: Manifest) -> dict[str, Any] | None:
        """The object of a manifest as it is now, or None."""
        return self._call("GET", document, [], None, "")

    def delete(self, document: Manifest) -> None:
        """Removes the object of a manifest, if it is there."""
        self._call("DELETE", document, [("propagationPolicy", "Foreground")], None, "")

    def wait_ready(self, service: Manifest, deadline: float) -> str:
        """Waits for an InferenceService to be ready in the state that was applied last.

        Args:
            service: Its manifest.
            deadline: Seconds.

        Returns:
            Its address.

        Raises:
            BlockedError: If it is not ready in time; the message has what the cluster says about it.
        """
        until = time.monotonic() + deadline
        with Progress("wait for the service", unit="looks") as progress:
            while True:
                found = self.get(service) or {}
                status = found.get("status", {})
                # Until the controller has seen the newest generation its conditions are about the one before.
                generation = found.get("metadata", {}).get("generation", 0)
                current = status.get("observedGeneration", generation) >= generation
                ready = condition(status, "Ready")
                address = (status.get("address") or {}).get("url") or status.get("url")
                if current and ready.get("status") == "True" and address:
                    return str(address)
                if time.monotonic() > until:
                    raise BlockedError(
                        f"InferenceService {service['metadata']['name']} was not ready after {deadline:g} seconds: "
                        f"{_why(status)}; the champion stays"
                    )
                progress.advance(1, note=str(ready.get("reason", "")))
                time.sleep(self.poll)

    def _call(
        self, method: str, document: Manifest, query: list[tuple[str, str]], body: Manifest | None, content_type: str
    ) -> dict[str, Any] | None:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        kind, name = document["kind"], document["metadata"]["name"]
        headers = {"Accept": "application/json"} | ({"Content-Type": content_type} if content_type else {})
        try:
            answer: Any = self._client.call_api(
                _path(document),
                method,
                query_params=query,
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


def roll_out(
    cluster: Cluster,
    spec: Spec,
    bundle: Bundle,
    features: Features | None,
    workspace: Workspace,
    feast_folder: str,
    *,
    deadline: float = _SECONDS_TO_READY,
) -> tuple[str, SmokeReport]:
    """Serves a bundle on a cluster, and questions it there.

    Args:
        cluster: Where.
        spec: How.
        bundle: The published bundle, opened.
        features: The store that the service looks features up in.
        workspace: Has the champion to go back to.
        feast_folder: The Feast folder that the service reads.
        deadline: Seconds to become ready.

    Returns:
        The service's address, and what it was asked.

    Raises:
        BlockedError: If the service does not become ready or answers wrongly; the champion's manifests are applied again.
        RunFailedError: If the cluster refuses, with the same consequence.
        InputError: If the manifests cannot be right, before anything is applied.
    """
    documents = _checked(spec, bundle.uri, bundle.manifest.bundle_id, bundle.manifest.code_version, feast_folder)
    until = time.monotonic() + deadline
    with _back_to_the_champion(cluster, spec, workspace, documents, feast_folder):
        for document in documents:
            cluster.apply(document)
        address = cluster.wait_ready(documents[-1], deadline)
        _wait_for_version(address, bundle.manifest.bundle_id, until, cluster.poll)
        return address, smoke_test(address, bundle, features)


def _wait_for_version(address: str, bundle_id: str, until: float, poll: float) -> None:
    """Waits for the pods of the version before to be gone: while they are replaced the service is ready all the time.

    Raises:
        BlockedError: If another version still answers when time is up.
    """
    url = f"{address.rstrip('/')}/v2/models/{MODEL_NAME}"
    in_a_row, answer = 0, ""
    while in_a_row < _ANSWERS_IN_A_ROW:
        try:
            # A connection of its own each time, so that it may reach any of the pods.
            response = httpx.get(url, timeout=_SECONDS_FOR_AN_ANSWER, trust_env=False)
            answer = str(response.json().get("versions")) if response.is_success else f"status {response.status_code}"
        except (httpx.HTTPError, ValueError) as error:
            answer = str(error)
        if answer == str([bundle_id]):
            in_a_row += 1
            continue
        if time.monotonic() > until:
            raise BlockedError(f"{address} does not serve {bundle_id} in time (it answers: {answer}); the champion stays")
        in_a_row = 0
        time.sleep(poll)


@contextlib.contextmanager
def _back_to_the_champion(
    cluster: Cluster, spec: Spec, workspace: Workspace, documents: list[Manifest], feast_folder: str
) -> Iterator[None]:
    """Undoes a roll-out that fails: the champion's manifests again, or nothing where there was nothing."""
    try:
        yield
    except BaseException:
        try:
            champion = workspace.champion()
            if champion is None:
                for document in reversed(documents):
                    # The account may be there for others, too.
                    if document["kind"] != "ServiceAccount":
                        cluster.delete(document)
            else:
                uri = workspace.bundle(champion.bundle_id)
                place = storage.join(uri, MANIFEST)
                served_by = parse_manifest(storage.read_bytes(place), origin=place).code_version
                for document in _checked(spec, uri, champion.bundle_id, served_by, feast_folder):
                    cluster.apply(document)
        except ElecError:
            # What failed first is what the user has to know; this comes on top of it.
            log.exception("the champion's service could not be brought back")
        raise


def _checked(spec: Spec, uri: str, bundle_id: str, code_version: str, feast_folder: str) -> list[Manifest]:
    documents = manifests(spec, uri, bundle_id, feast_folder=feast_folder, code_version=code_version)
    found = problems(documents, taint=spec.run.deploy.toleration)
    if found:
        raise InputError(f"the manifests would not work: {found[0]}; change run.deploy in the spec")
    return documents


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
