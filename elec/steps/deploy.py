"""Step 8: the challenger goes into service, if it answers as it did in training; else the champion stays."""

from pathlib import Path

from elec import storage
from elec.steps.job import Job, parse_job


def deploy(job: str, *, bundle: str, window: str) -> str:
    """Publishes the bundle, starts a server from it, questions it, and makes it the champion.

    Args:
        job: The `Job`, as JSON.
        bundle: Folder of the evaluation step.
        window: Folder of the drift check: the reference for the checks of later runs.

    Returns:
        The published bundle's URI.

    Raises:
        BlockedError: If the smoke test fails; the champion goes on serving.
    """
    from elec.deploy import deploy as put_in_service

    this = parse_job(job)
    with this.step("deploy") as record:
        _publish_reference(this, Path(bundle), Path(window))
        report = put_in_service(this.spec, Path(bundle), this.space, this.run_id)
        record.facts.update(report.model_dump(mode="json"))
    return report.bundle


def _publish_reference(job: Job, bundle: Path, window: Path) -> None:
    """Before the bundle is champion its reference is in place, so that no later run meets a champion without one."""
    from elec.serving.manifest import read_manifest

    target = job.space.reference(read_manifest(bundle).bundle_id)
    if not storage.exists(storage.join(target, "profile.json")):
        storage.publish_folder(window, target, last="profile.json")
