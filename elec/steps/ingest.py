"""Step 1: raw logs become labelled, validated and split Parquet; bad rows are kept aside with their reason."""

from datetime import UTC, datetime
from pathlib import Path

from elec import storage
from elec.errors import InputError
from elec.runs import RunFolder, Workspace
from elec.spec import Spec
from elec.steps.data import work_on_data
from elec.steps.job import Job

#: What the data looks like, as figures and as a page.
DESCRIPTION, PAGE = "data.json", "data.html"


def ingest(spec: str, workspace: str, run_id: str, as_of: str, *, ingested: str, page: str | None = None) -> str:
    """Ingests the log as it stood at `as_of`.

    Args:
        spec: The `Spec`, as JSON.
        workspace: Folder or `s3://` URI.
        run_id: The run's name.
        as_of: ISO 8601, UTC unless it says otherwise; empty for now.
        ingested: Folder to write.
        page: HTML file to write: what the data looks like. It is in the run's folder too.

    Returns:
        The `Job`, as JSON, for the steps that follow.

    Raises:
        InputError: If the log, or the spec's word about it, is wrong.
        BlockedError: If too many rows are bad.
    """
    from elec import ingest as room
    from elec.describe import data_page, describe
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
        report = room.IngestReport.model_validate(work_on_data(job, "ingest", {}, Path(ingested)))
        record.facts["rows"] = {"read": report.rows_read, "quarantined": report.rows_quarantined, **report.split_rows}
        record.facts["label_rate"] = report.label_rate
        record.facts["quarantine"] = report.reasons
        record.facts["report"] = report.model_dump(mode="json")
        found = describe(room.Ingested(Path(ingested)), job.spec.dataset, job.as_of)
        html = data_page(found).encode()
        job.folder.put(DESCRIPTION, found.model_dump_json().encode())
        job.folder.put(PAGE, html)
        if page is not None:
            storage.write_bytes(page, html)
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
