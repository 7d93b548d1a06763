"""A bundle goes into service: published, started from where it was published, questioned, and only then the champion."""

import tempfile
import time
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from elec.deploy.local import LocalDeployment
from elec.deploy.smoke import SmokeReport, smoke_test
from elec.runs.workspace import Champion, Workspace
from elec.serving.bundle import open_bundle
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
        seconds: All of it took.
    """

    model_config = ConfigDict(frozen=True)

    bundle: str
    bundle_id: str
    target: Literal["local", "kserve"]
    endpoint: str | None
    previous: str | None
    smoke: SmokeReport
    seconds: float


def deploy(spec: Spec, bundle_folder: Path, workspace: Workspace, run_id: str, feast_folder: str = "") -> DeployReport:
    """Puts a bundle in service.

    Args:
        spec: Says where.
        bundle_folder: The bundle, as it was built.
        workspace: Where it is published, and where the champion stands.
        run_id: The run that asks for it.
        feast_folder: The workspace's own when left out.

    Raises:
        BlockedError: If the smoke test fails; the champion is the one it was, and goes on serving.
        InputError: If the folder is no bundle, or the Feast folder does not have its feature service.
    """
    started = time.monotonic()
    feast = str(feast_folder) or workspace.feast
    uri = publish_bundle(bundle_folder, workspace)
    before = workspace.champion()
    endpoint: str | None = None
    with tempfile.TemporaryDirectory(prefix="elec-bundle-") as cache:
        bundle = open_bundle(uri, Path(cache))
        features = open_features(bundle.manifest, feast)
        if spec.run.deploy.target == "local":
            with LocalDeployment(uri, feast) as server:
                smoke = smoke_test(server.url, bundle, features)
        else:
            from elec.deploy.apply import Cluster, roll_out

            endpoint, smoke = roll_out(Cluster.connect(), spec, bundle, features, workspace, feast)
    champion = _promote(workspace, bundle.manifest.bundle_id, run_id, before)
    return DeployReport(
        bundle=uri,
        bundle_id=bundle.manifest.bundle_id,
        target=spec.run.deploy.target,
        endpoint=endpoint,
        previous=champion.previous,
        smoke=smoke,
        seconds=round(time.monotonic() - started, 3),
    )


def _promote(workspace: Workspace, bundle_id: str, run_id: str, before: Champion | None) -> Champion:
    # Promoting the champion once more would make it its own predecessor, and nothing could be rolled back to.
    if before is not None and before.bundle_id == bundle_id:
        return before
    return workspace.promote(bundle_id, run_id)
