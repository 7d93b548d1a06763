"""A bundle goes into service: published, started from where it was published, questioned, and only then the champion.

If the spec has a canary, it first answers a share of the requests beside the champion, and is watched.
"""

import contextlib
import socket
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from elec.deploy.arguments import request_headers
from elec.deploy.canary import CanaryReport, CanaryRolledBackError, watch
from elec.deploy.local import LocalDeployment
from elec.deploy.local_canary import LocalCanary, replayed
from elec.deploy.published import published
from elec.deploy.smoke import SmokeReport, smoke_test
from elec.runs.workspace import Champion, Workspace
from elec.serving.bundle import Bundle, open_bundle
from elec.serving.http.server import bind
from elec.serving.predictor import Features
from elec.serving.publish import publish_bundle
from elec.serving.start import open_features
from elec.spec import Spec


class DeployReport(BaseModel):
    """What went into service.

    Attributes:
        bundle: The published bundle's URI.
        bundle_id: Its id.
        target: Where it serves.
        endpoint: The service's address; None for the local target, whose server is stopped after the smoke test.
        previous: The champion before.
        smoke: What the server was asked.
        canary: What was seen of it beside the champion before; None if there was no canary.
        seconds: All of it took.
    """

    model_config = ConfigDict(frozen=True)

    bundle: str
    bundle_id: str
    target: Literal["local", "kserve"]
    endpoint: str | None
    previous: str | None
    smoke: SmokeReport
    canary: CanaryReport | None = None
    seconds: float


#: Called with the canary's report and the router's address when the canary is decided, while the winner serves there.
Decided = Callable[[CanaryReport, str], None]


def deploy(spec: Spec, bundle_folder: Path, workspace: Workspace, run_id: str, feast_folder: str = "") -> DeployReport:
    """Publishes a bundle and puts it in service.

    Args:
        spec: Says where.
        bundle_folder: The bundle, as it was built.
        workspace: Where it is published, and where the champion stands.
        run_id: The run that asks for it.
        feast_folder: The workspace's own when left out.

    Raises:
        BlockedError: If the smoke test fails, or the canary; the champion is the one it was, and goes on serving.
        InputError: If the folder is no bundle, or the Feast folder does not have its feature service.
    """
    return put_in_service(spec, publish_bundle(bundle_folder, workspace), workspace, run_id, feast_folder)


def put_in_service(
    spec: Spec,
    uri: str,
    workspace: Workspace,
    run_id: str,
    feast_folder: str = "",
    *,
    listener: socket.socket | None = None,
    decided: Decided | None = None,
) -> DeployReport:
    """Puts a published bundle in service.

    Args:
        spec: Says where.
        uri: The bundle.
        workspace: Where the champion stands.
        run_id: The run that asks for it.
        feast_folder: The workspace's own when left out.
        listener: Where clients of a canary on this machine ask; without, golden records are replayed.
        decided: Called when a canary on this machine is decided, and the winner still serves.

    Raises:
        BlockedError: If the smoke test fails, or the canary; the champion is the one it was, and goes on serving.
        InputError: If the bundle is refused, or the Feast folder does not have its feature service.
    """
    started = time.monotonic()
    feast = str(feast_folder) or workspace.feast
    before = workspace.champion()
    endpoint: str | None = None
    canary: CanaryReport | None = None
    with tempfile.TemporaryDirectory(prefix="elec-bundle-") as cache:
        bundle = open_bundle(uri, Path(cache))
        features = open_features(bundle.manifest, feast)
        if spec.run.deploy.target == "local":
            champion, smoke, canary = _locally(spec, bundle, features, workspace, run_id, feast, before, listener, decided)
        else:
            from elec.deploy.apply import roll_out
            from elec.deploy.cluster import Cluster

            rolled = roll_out(Cluster.connect(), spec, bundle, features, workspace, feast)
            endpoint, smoke, canary = rolled.address, rolled.smoke, rolled.canary
            champion = _promote(workspace, bundle.manifest.bundle_id, run_id, before)
    return DeployReport(
        bundle=uri,
        bundle_id=bundle.manifest.bundle_id,
        target=spec.run.deploy.target,
        endpoint=endpoint,
        previous=champion.previous,
        smoke=smoke,
        canary=canary,
        seconds=round(time.monotonic() - started, 3),
    )


def _locally(
    spec: Spec,
    bundle: Bundle,
    features: Features,
    workspace: Workspace,
    run_id: str,
    feast: str,
    before: Champion | None,
    listener: socket.socket | None,
    decided: Decided | None,
) -> tuple[Champion, SmokeReport, CanaryReport | None]:
    """A server process of the challenger, questioned; beside one of the champion if there is a canary."""
    settings, bundle_id = spec.run.deploy.canary, bundle.manifest.bundle_id
    with LocalDeployment(bundle.uri, feast, spec.run.serving) as server:
        smoke = smoke_test(server.url, bundle, features, headers=request_headers(spec.run.serving))
        if not settings.share or before is None or before.bundle_id == bundle_id:
            return _promote(workspace, bundle_id, run_id, before), smoke, None
        serving = workspace.bundle(before.bundle_id)
        with LocalCanary(serving, server, feast, spec, listener or bind("127.0.0.1", 0)) as canary:
            with contextlib.ExitStack() as traffic:
                if listener is None:
                    traffic.enter_context(replayed(canary.url, bundle, published(workspace, before.bundle_id), spec))
                report = watch(
                    canary,
                    settings,
                    champion=before.bundle_id,
                    challenger=bundle_id,
                    traffic="replayed" if listener is None else "live",
                    poll=min(1.0, settings.seconds / 10),
                )
            champion = before if report.state != "promoted" else _promote(workspace, bundle_id, run_id, before)
            if decided is not None:
                decided(report, canary.url)
        if report.state != "promoted":
            raise CanaryRolledBackError(report)
        return champion, smoke, report


def _promote(workspace: Workspace, bundle_id: str, run_id: str, before: Champion | None) -> Champion:
    # Promoting the champion once more would make it its own predecessor, and nothing could be rolled back to.
    if before is not None and before.bundle_id == bundle_id:
        return before
    return workspace.promote(bundle_id, run_id)
