"""Step 8: the challenger goes into service, if it answers as in training and bears the traffic; else the champion stays."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory

from elec import storage
from elec.steps.job import Job, parse_job
from elec.steps.students import student_folders


def deploy(job: str, *, bundle: str, window: str, model: str) -> str:
    """Publishes the bundle, starts a server from it, questions it, and makes it the champion.

    Args:
        job: The `Job`, as JSON.
        bundle: Folder of the evaluation step.
        window: Folder of the drift check: the reference for the checks of later runs.
        model: Folder of the distillation step: what a later run may start from.

    Returns:
        The published bundle's URI.

    Raises:
        BlockedError: If the smoke test fails, or the canary; the champion goes on serving.
    """
    from elec.deploy import CanaryRolledBackError
    from elec.deploy import deploy as put_in_service

    this = parse_job(job)
    with this.step("deploy") as record:
        _publish_reference(this, Path(bundle), Path(window))
        _keep_weights(this, Path(bundle), Path(model))
        try:
            report = put_in_service(this.spec, Path(bundle), this.space, this.run_id)
        except CanaryRolledBackError as error:
            record.facts["canary"] = error.report.model_dump(mode="json")
            raise
        record.facts.update(report.model_dump(mode="json"))
    return report.bundle


def _publish_reference(job: Job, bundle: Path, window: Path) -> None:
    """Before the bundle is champion its reference is in place, so that no later run meets a champion without one."""
    from elec.serving.manifest import read_manifest

    target = job.space.reference(read_manifest(bundle).bundle_id)
    if not storage.exists(storage.join(target, "profile.json")):
        storage.publish_folder(window, target, last="profile.json")


def _keep_weights(job: Job, bundle: Path, model: Path) -> None:
    """The bundle has the network that serves, as ONNX; a warm start needs all of them, and the vocabulary that they go with."""
    from elec.serving.bundle import VOCABULARY
    from elec.serving.manifest import read_manifest
    from elec.steps.knowledge import kept_knowledge
    from elec.students.knowledge import CODEBOOKS, PROJECTION

    manifest = read_manifest(bundle)
    target = job.space.weights(manifest.bundle_id)
    if storage.exists(storage.join(target, "model.json")):
        return
    with TemporaryDirectory(prefix="elec-weights-") as scratch:
        kept = Path(scratch)
        networks = student_folders(job, model)[manifest.student]
        for path in (*networks.glob("*.safetensors"), networks / "model.json"):
            shutil.copyfile(path, kept / path.name)
        shutil.copytree(bundle / VOCABULARY, kept / VOCABULARY)
        if manifest.student != "vanilla":
            # What its codes and vectors mean: a later run starts from them only if they mean the same there.
            for name in (PROJECTION, CODEBOOKS):
                (kept / name).write_bytes(storage.read_bytes(storage.join(kept_knowledge(job), name)))
        storage.publish_folder(kept, target, last="model.json")
