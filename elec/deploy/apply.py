"""Puts a bundle in service on a cluster: apply, wait, question, watch, and back to the champion if anything is wrong."""

import contextlib
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace

import httpx

from elec.deploy.arguments import request_headers
from elec.deploy.canary import CanaryReport, CanaryRolledBackError, watch
from elec.deploy.check import problems
from elec.deploy.cluster import Cluster
from elec.deploy.cluster_canary import ClusterCanary
from elec.deploy.kserve import Manifest, Slot, Version, manifests
from elec.deploy.published import published
from elec.deploy.scrape import pod_address
from elec.deploy.smoke import SmokeReport, smoke_test
from elec.deploy.surroundings import autoscaler, surroundings
from elec.errors import BlockedError, ElecError, InputError
from elec.runs.workspace import Workspace
from elec.serving.bundle import Bundle
from elec.serving.http.protocol import MODEL_NAME
from elec.serving.predictor import Features
from elec.spec import Spec

log = logging.getLogger("elec.deploy")

_SECONDS_TO_READY = 900.0
_SECONDS_FOR_AN_ANSWER = 30
_ANSWERS_IN_A_ROW = 10
_SLOTS: tuple[Slot, ...] = ("", "blue", "green")


@dataclass(frozen=True)
class RollOut:
    """What a roll-out came to.

    Attributes:
        address: The service's.
        smoke: What it was asked.
        canary: What was seen of the challenger beside the champion; None if there was no canary.
    """

    address: str
    smoke: SmokeReport
    canary: CanaryReport | None


def rendered(
    spec: Spec, stable: Version, feast_folder: str, *, canary: Version | None = None, share: int = 0
) -> list[Manifest]:
    """All manifests of a service, checked, in the order in which they are applied; the InferenceService is the last.

    Args:
        spec: Says how.
        stable: What serves.
        feast_folder: The Feast folder that it reads.
        canary: The challenger beside it.
        share: Of the traffic that the challenger is given, in percent.

    Raises:
        InputError: If they cannot be right.
    """
    *first, service = manifests(spec, stable, feast_folder=feast_folder, canary=canary, share=share)
    slots = (stable.slot,) if canary is None else (stable.slot, canary.slot)
    documents = [*first, *surroundings(spec, slots), service]
    found = problems(documents, taint=spec.run.deploy.toleration)
    if found:
        raise InputError(f"the manifests would not work: {found[0]}; change run.deploy in the spec")
    return documents


def published_version(workspace: Workspace, bundle_id: str, slot: Slot = "") -> Version:
    """A published bundle of a workspace.

    Raises:
        InputError: If it is not there any more.
    """
    return Version(workspace.bundle(bundle_id), bundle_id, published(workspace, bundle_id).code_version, slot)


def roll_out(
    cluster: Cluster,
    spec: Spec,
    bundle: Bundle,
    features: Features | None,
    workspace: Workspace,
    feast_folder: str,
    *,
    deadline: float = _SECONDS_TO_READY,
) -> RollOut:
    """Serves a bundle on a cluster, beside the champion first if the spec has a canary, and questions it there.

    Args:
        cluster: Where.
        spec: How.
        bundle: The published bundle, opened.
        features: The store that the service looks features up in.
        workspace: Has the champion to go back to.
        feast_folder: The Feast folder that the service reads.
        deadline: Seconds to become ready.

    Raises:
        CanaryRolledBackError: If the canary speaks against it; the champion's manifests are applied again.
        BlockedError: If the service does not become ready or answers wrongly, with the same consequence.
        RunFailedError: If the cluster refuses, with the same consequence.
        InputError: If the manifests cannot be right, before anything is applied.
    """
    manifest = bundle.manifest
    challenger = Version(bundle.uri, manifest.bundle_id, manifest.code_version)
    before = workspace.champion()
    # Checked before the cluster is asked for anything.
    documents = rendered(spec, challenger, feast_folder)
    slot = _slot(cluster.get(documents[-1]))
    settings = spec.run.deploy.canary
    report: CanaryReport | None = None
    with _back_to_the_champion(cluster, spec, workspace, documents, feast_folder, slot):
        if settings.share and before is not None and before.bundle_id != manifest.bundle_id and slot is not None:
            champion = published_version(workspace, before.bundle_id, slot)
            challenger = replace(challenger, slot=_other(slot) if spec.run.deploy.mode == "Standard" else "")
            report = _canary(cluster, spec, champion, challenger, bundle, features, feast_folder, deadline)
        else:
            challenger = replace(challenger, slot=slot or "")
        documents = rendered(spec, challenger, feast_folder)
        address = apply_and_wait(cluster, spec, documents, challenger.bundle_id, deadline)
        smoke = smoke_test(address, bundle, features, headers=request_headers(spec.run.serving))
    tidy(cluster, spec, documents)
    return RollOut(address, smoke, report)


def restore(
    cluster: Cluster,
    spec: Spec,
    workspace: Workspace,
    bundle_id: str,
    feast_folder: str,
    *,
    deadline: float = _SECONDS_TO_READY,
) -> str:
    """Serves a bundle that was in service before, at once and to everyone: a rollback.

    Returns:
        The service's address.

    Raises:
        BlockedError: If it is not ready in time.
        InputError: If the bundle is gone.
    """
    version = published_version(workspace, bundle_id)
    slot = _slot(cluster.get(rendered(spec, version, feast_folder)[-1]))
    documents = rendered(spec, replace(version, slot=slot or ""), feast_folder)
    address = apply_and_wait(cluster, spec, documents, bundle_id, deadline)
    tidy(cluster, spec, documents)
    return address


def apply_and_wait(cluster: Cluster, spec: Spec, documents: list[Manifest], bundle_id: str, deadline: float) -> str:
    """Applies the manifests of a version and waits until no other one answers.

    Returns:
        The service's address.

    Raises:
        BlockedError: If it is not so in time.
    """
    until = time.monotonic() + deadline
    for document in documents:
        cluster.apply(document)
    address = cluster.wait_ready(documents[-1], deadline)
    _wait_for_version(address, bundle_id, until, cluster.poll, request_headers(spec.run.serving))
    return address


def tidy(cluster: Cluster, spec: Spec, documents: list[Manifest]) -> None:
    """Removes what the manifests before left: runtimes that nothing names any more, and the other slots' autoscalers."""
    kept = {(document["kind"], document["metadata"]["name"]) for document in documents}
    runtime = next(document for document in documents if document["kind"] == "ServingRuntime")
    labels = {"app.kubernetes.io/instance": spec.run.deploy.name, "app.kubernetes.io/part-of": "elec"}
    like = {**runtime, "metadata": {**runtime["metadata"], "labels": labels}}
    unnamed = [name for name in cluster.names(like) if ("ServingRuntime", name) not in kept]
    old = [{**runtime, "metadata": {**runtime["metadata"], "name": name}} for name in unnamed]
    old += [
        scaler
        for slot in _SLOTS
        if ("HorizontalPodAutoscaler", (scaler := autoscaler(spec, slot))["metadata"]["name"]) not in kept
    ]
    for document in old:
        cluster.delete(document)


def _canary(
    cluster: Cluster,
    spec: Spec,
    champion: Version,
    challenger: Version,
    bundle: Bundle,
    features: Features | None,
    feast_folder: str,
    deadline: float,
) -> CanaryReport:
    """The challenger beside the champion: first without traffic, questioned, then with its share, watched.

    Raises:
        CanaryRolledBackError: If what is seen speaks against it.
        BlockedError: If it does not become ready, or answers wrongly.
    """
    settings = spec.run.deploy.canary

    def served(share: int) -> list[Manifest]:
        return rendered(spec, champion, feast_folder, canary=challenger, share=share)

    documents = served(0)
    for document in documents:
        cluster.apply(document)
    cluster.wait_ready(documents[-1], deadline)
    with ClusterCanary(cluster, spec, champion, challenger, served(settings.share)[-1], served(0)[-1]) as backend:
        for pod in backend.challengers():
            smoke_test(pod_address(pod), bundle, features, headers=request_headers(spec.run.serving))
        backend.start()
        report = watch(
            backend,
            settings,
            champion=champion.bundle_id,
            challenger=challenger.bundle_id,
            traffic="live",
            # Often enough to see it, and no burden on the pods.
            poll=max(cluster.poll, settings.seconds / 100),
        )
    if report.state != "promoted":
        raise CanaryRolledBackError(report)
    return report


def _slot(service: Manifest | None) -> Slot | None:
    """The name of the predictor that serves now; None if there is no service."""
    if service is None:
        return None
    found = service["spec"]["predictor"].get("name", "")
    return next((slot for slot in _SLOTS if slot == found), "")


def _other(slot: Slot) -> Slot:
    return "blue" if slot == "green" else "green"


def _wait_for_version(address: str, bundle_id: str, until: float, poll: float, headers: dict[str, str]) -> None:
    """Waits for the pods of the version before to be gone: while they are replaced the service is ready all the time.

    Raises:
        BlockedError: If another version still answers when time is up.
    """
    url = f"{address.rstrip('/')}/v2/models/{MODEL_NAME}"
    in_a_row, answer = 0, ""
    while in_a_row < _ANSWERS_IN_A_ROW:
        try:
            # A connection of its own each time, so that it may reach any of the pods.
            response = httpx.get(url, headers=headers, timeout=_SECONDS_FOR_AN_ANSWER, trust_env=False)
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
    cluster: Cluster, spec: Spec, workspace: Workspace, documents: list[Manifest], feast_folder: str, slot: Slot | None
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
                # In the slot that it had: another one's Deployment would have to start first.
                version = published_version(workspace, champion.bundle_id, slot or "")
                before = rendered(spec, version, feast_folder)
                for document in before:
                    cluster.apply(document)
                tidy(cluster, spec, before)
        except ElecError:
            # What failed first is what the user has to know; this comes on top of it.
            log.exception("the champion's service could not be brought back")
        raise
