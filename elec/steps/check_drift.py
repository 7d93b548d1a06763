"""Step 2: is this window still the data that the champion was trained on?"""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from elec import storage
from elec.errors import BlockedError
from elec.steps.job import Job, parse_job


class DriftDecision(NamedTuple):
    """What the run does next (`train`, `stop` or `block`), and the figures behind it."""

    decision: str
    metrics: dict[str, float]


def check_drift(job: str, *, force: bool, ingested: str, window: str, report: str) -> DriftDecision:
    """Compares the ingested window with the champion's.

    Args:
        job: The `Job`, as JSON.
        force: Train whatever the verdict.
        ingested: Folder of the ingest step.
        window: Folder to write: this window's profile and sample, the reference of a later run.
        report: HTML file to write.

    Returns:
        `train`; `stop` when the spec retrains on drift only and there is none; `block` when the data looks broken.
    """
    from elec import drift
    from elec.ingest import Ingested

    this = parse_job(job)
    with this.step("check_drift") as record:
        settings = this.spec.run.drift
        log = Ingested(Path(ingested))
        folder = Path(window)
        folder.mkdir(parents=True, exist_ok=True)
        champion = this.space.champion()
        address = this.space.reference(champion.bundle_id) if champion is not None else None
        reference = drift.read_reference(address) if address is not None else None
        current = drift.profile(log, this.spec.dataset, reference)
        (folder / "profile.json").write_text(current.model_dump_json(), encoding="utf-8")
        drift.sample(log, this.spec.dataset, folder, settings.sample, this.spec.run.seed)

        with TemporaryDirectory() as scratch:
            verdict = drift.check(current, reference, settings)
            page = drift.drift_page(verdict)
            if reference is not None and address is not None:
                place = storage.fetch_folder(address, Path(scratch))
                picture = Path(scratch) / "evidently.html"
                drift.evidently_report(folder / "sample.parquet", place / "sample.parquet", this.spec.dataset, picture)
                this.folder.put_file("drift.html", picture)
        Path(report).parent.mkdir(parents=True, exist_ok=True)
        Path(report).write_text(page, encoding="utf-8")

        decision = _decide(this, verdict.verdict, force)
        record.facts.update(verdict.model_dump(mode="json"))
        record.facts |= {"decision": decision, "forced": force, "report": "drift.html" if reference is not None else None}
    known = [field.psi for field in verdict.fields.values() if field.psi is not None]
    figures = {"rows": float(current.rows), "label_rate": current.label_rate}
    return DriftDecision(decision, figures | ({"worst_psi": max(known)} if known else {}))


def stop(job: str) -> None:
    """Ends a blocked run, after its drift report is in place.

    Raises:
        BlockedError: Always, with the reasons.
    """
    facts = parse_job(job).folder.records()["check_drift"]["facts"]
    raise BlockedError(f"the drift check blocked the run: {' '.join(facts['reasons'])} Look at drift.html, or use --force")


def _decide(job: Job, verdict: str, force: bool) -> str:
    if force:
        return "train"
    if verdict == "block":
        return "block"
    if job.spec.run.retrain == "drift" and verdict in {"ok", "warn"}:
        return "stop"
    return "train"
