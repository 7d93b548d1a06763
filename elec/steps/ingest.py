"""Step 1: raw logs become labelled, validated and split Parquet; bad rows are kept aside with their reason."""

from datetime import UTC, datetime
from pathlib import Path

from elec import storage
from elec.errors import InputError
from elec.runs import RunFolder, Workspace
from elec.spec import Spec
from elec.steps.job import Job

#: The refused rows in a run's folder; absent where there are none.
QUARANTINE = "quarantine.parquet"


def ingest(spec: str, workspace: str, run_id: str, as_of: str, *, ingested: str) -> str:
    """Ingests the log as it stood at `as_of`.

    Args:
        spec: The `Spec`, as JSON.
        workspace: Folder or `s3://` URI.
        run_id: The run's name.
        as_of: ISO 8601, UTC unless it says otherwise; empty for now.
        ingested: Folder to write.

    Returns:
        The `Job`, as JSON, for the steps that follow.

    Raises:
        InputError: If the log, or the spec's word about it, is wrong.
        BlockedError: If too many rows are bad.
    """
    from elec import ingest as room
    from elec.version import code_version

    job = Job(spec=Spec.model_validate_json(spec), workspace=workspace, run_id=run_id, as_of=parse_as_of(as_of))
    with RunFolder(Workspace(workspace).run(run_id)).step("ingest") as record:
        record.facts["run"] = {
            "run_id": run_id,
            "as_of": job.as_of.isoformat(),
            "code_version": code_version(),
            "dataset": job.spec.dataset.name,
        }
        job.folder.put("spec.json", job.spec.model_dump_json(indent=2).encode())
        kept = job.space.segments(job.spec.dataset.name)
        # Refused rows stay with the run, whose folder outlives the artifacts: `elec data quarantine` shows them.
        refused = storage.join(job.folder.uri, QUARANTINE)
        report = room.ingest(job.spec.dataset, Path(ingested), as_of=job.as_of, kept=kept, quarantine=refused)
        record.facts["rows"] = {"read": report.rows_read, "quarantined": report.rows_quarantined, **report.split_rows}
        record.facts["label_rate"] = report.label_rate
        record.facts["quarantine"] = report.reasons
        record.facts["report"] = report.model_dump(mode="json")
    return job.model_dump_json()


def parse_as_of(text: str) -> datetime:
    """Reads the moment a run stands at.

    Raises:
        InputError: If it is not ISO 8601.
    """
    if not text:
        return datetime.now(UTC).replace(microsecond=0)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise InputError(f"--as-of '{text}' is not a date; write 2026-01-31 or 2026-01-31T04:00:00+00:00") from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
