"""Runs the pipeline on this machine, shows how it goes, and says how it ended.

Kubeflow Pipelines' own local runner does the work (`pipelines.worker`), each step in a process of its own. This module watches
the run's folder: the steps' records, and the progress of the one at work.
"""

import os
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import orjson

from elec import storage
from elec.errors import InputError, RunFailedError
from elec.progress import PROGRESS_FOLDER
from elec.runs import RunFolder, Workspace
from elec.runs.summary import Summary
from elec.spec import Spec
from elec.steps.encode_text import PARALLEL_TASKS
from elec.steps.ingest import parse_as_of
from elec.steps.report import report
from pipelines.display import Display
from pipelines.worker import LocalRun

_SECONDS_BETWEEN_LOOKS = 0.25
#: What Kubeflow Pipelines' local runner does at once.
_PARALLEL_TASKS = 2
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
#: Libraries that would call home, ask a hub, or warn about forks, do not.
_QUIET = {
    "DO_NOT_TRACK": "1",
    "FEAST_USAGE": "False",
    "HF_HUB_OFFLINE": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYTHONUNBUFFERED": "1",
    # Threads that wait do not spin: on a busy machine spinning made training several times slower.
    "OMP_WAIT_POLICY": "PASSIVE",
}


def run_locally(spec: Spec, *, output: str, as_of: str, force: bool, display: Display) -> int:
    """Runs the retraining pipeline here.

    Args:
        spec: The data set and the run's settings.
        output: The workspace: a folder or an `s3://` URI.
        as_of: The moment the run stands at (ISO 8601); empty for now.
        force: Train whatever the drift check says.
        display: Shows how it goes.

    Returns:
        The exit code: 0 if the run did what it should; 2 if the user's input ended it; 1 if anything else did.

    Raises:
        InputError: If `as_of` is not a date or the output folder cannot be written.
        RunFailedError: If not even the summary could be written.
    """
    moment = parse_as_of(as_of)
    workspace = output if "://" in output else str(Path(output).expanduser().resolve())
    run_id = new_run_id(spec.dataset.name)
    folder = RunFolder(Workspace(workspace).run(run_id))
    try:
        folder.put("spec.json", spec.model_dump_json(indent=2).encode())
    except OSError as error:
        raise InputError(f"--output {output}: cannot be written ({error.strerror}); give another folder") from None

    display.begin(spec.dataset.name, run_id, moment)
    with tempfile.TemporaryDirectory(prefix="elec-") as scratch:
        here = storage.local_path(folder.uri) if not storage.is_s3(workspace) else Path(scratch, run_id)
        here.mkdir(parents=True, exist_ok=True)
        this = LocalRun(
            spec=spec,
            workspace=workspace,
            run_id=run_id,
            as_of=moment.isoformat(),
            force=force,
            artifacts=str(here / "artifacts"),
            parent=os.getpid(),
        )
        succeeded = _watch(this, folder, here / "run.log", Path(scratch), display)
        summary = _summary(folder)
        if summary is None or (not succeeded and summary.error_step is None):
            # The runner died, or a step failed outside its own record: only the log knows.
            last_words = _end_of(here / "run.log") or "the runner was killed"
            report(workspace, run_id, failure=f"{last_words}; see {here / 'run.log'}")
            summary = _summary(folder)
    if summary is None:
        raise RunFailedError(f"{folder.uri}: the run left no summary; see run.log there")
    display.end(summary, folder.uri)
    if summary.status in {"done", "stopped"}:
        return 0
    errors = [record["error"] for record in folder.records().values() if "error" in record]
    return max((int(error["exit_code"]) for error in errors), default=1)


def new_run_id(dataset: str) -> str:
    """A name for a run: sorts by time, and two runs of one second differ."""
    return f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{dataset}-{secrets.token_hex(2)}"


def _summary(folder: RunFolder) -> Summary | None:
    content = folder.get("summary.json")
    return Summary.model_validate_json(content) if content is not None else None


def _watch(this: LocalRun, folder: RunFolder, log: Path, scratch: Path, display: Display) -> bool:
    """Starts the worker, shows the run until it ends, and says whether the worker succeeded."""
    progress = scratch / "progress"
    progress.mkdir()
    environment = {**os.environ, **_QUIET, PROGRESS_FOLDER: str(progress), PARALLEL_TASKS: str(_PARALLEL_TASKS)}
    with log.open("wb") as sink:
        worker = subprocess.Popen(
            [sys.executable, "-m", "pipelines.worker"],
            stdin=subprocess.PIPE,
            stdout=sink,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    # A closed terminal or a `kill` ends the run as Ctrl-C does: through the except clause below.
    for ending in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, lambda number, _frame: sys.exit(128 + number))
    assert worker.stdin is not None
    worker.stdin.write(this.model_dump_json().encode())
    worker.stdin.close()
    try:
        while worker.poll() is None:
            display.look(folder.records(), _progress(progress))
            time.sleep(_SECONDS_BETWEEN_LOOKS)
    except BaseException:
        # Ctrl-C, or an error of ours: no step may go on alone.
        os.killpg(worker.pid, signal.SIGKILL)
        worker.wait()
        raise
    display.look(folder.records(), [])
    return worker.returncode == 0


def _progress(folder: Path) -> list[dict[str, object]]:
    """What the processes at work say of their progress."""
    found = []
    for path in sorted(folder.glob("*.json")):
        try:
            found.append(orjson.loads(path.read_bytes()))
        except (OSError, orjson.JSONDecodeError):
            continue  # it ended, or is being replaced, between the two looks
    return found


def _end_of(log: Path) -> str:
    """The last line of the log, without terminal colours."""
    text = _COLOUR.sub("", log.read_text(encoding="utf-8", errors="replace"))
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:400].rstrip(".") if lines else ""
