"""The exit handler: whatever happened, the run leaves a summary and a page."""

from elec import storage
from elec.runs import RunFolder, Workspace


def report(workspace: str, run_id: str, *, failure: str = "") -> str:
    """Writes `summary.json` and `index.html` from the records of the steps.

    Args:
        workspace: Folder or `s3://` URI.
        run_id: The run's name.
        failure: What the orchestrator says went wrong, if the steps could not say so themselves.

    Returns:
        The page, as HTML.
    """
    from elec.runs.page import build_page
    from elec.runs.summary import summarise

    folder = RunFolder(Workspace(workspace).run(run_id))
    summary = summarise(folder, failure=failure)
    folder.put("summary.json", summary.model_dump_json(indent=2).encode())
    # The log and the artifacts lie beside the page on a laptop; on a cluster the pipeline UI has them.
    beside = [name for name in ("data.html", "run.log", "artifacts/") if storage.exists(storage.join(folder.uri, name))]
    page = build_page(summary, folder.records(), files=beside)
    folder.put("index.html", page.encode())
    return page
