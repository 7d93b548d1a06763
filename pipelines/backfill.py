"""Runs of past days: one run an `as_of`, in order, each with what was visible then; what is done is not done again."""

import hashlib
import re
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel, ConfigDict, ValidationError
from rich.console import Console

from elec import storage
from elec.errors import InputError
from elec.runs import Workspace
from elec.runs.summary import Summary
from elec.spec import Spec, load_spec
from elec.steps.ingest import parse_as_of
from pipelines.display import Display

_STEP = re.compile(r"^([1-9][0-9]{0,4})([hd])$")
_MOST = 10_000


class Day(BaseModel):
    """What is remembered of a run of a backfill.

    Attributes:
        as_of: The moment it stood at.
        run_id: Its name.
        status: How it ended: `done`, or `stopped` where the drift check saw no need to retrain.
    """

    model_config = ConfigDict(frozen=True)

    as_of: datetime
    run_id: str
    status: str


def backfill(
    start: Annotated[str, typer.Option("--from", help="The first day's `as_of`: 2026-01-01, or with a time.")],
    end: Annotated[str, typer.Option("--to", help="The last one; it is run too.")],
    spec: Annotated[
        str, typer.Option("--spec", help="A YAML file, or the name of a spec that comes with elec.")
    ] = "movielens-100k",
    every: Annotated[str, typer.Option(help="From one `as_of` to the next: 1d, 7d, 12h.")] = "1d",
    output: Annotated[str, typer.Option(help="The workspace: a folder or s3://bucket/prefix.")] = "runs",
    force: Annotated[bool, typer.Option("--force", help="Train whatever the drift check says.")] = False,
) -> None:
    """Run the pipeline for a range of days, in order.

    Each day's run sees the log as it stood on that day, and meets the model of the day before as champion. A day that is done
    is skipped, so a backfill that was interrupted goes on where it stopped. A file of the log is read once, not once a day.
    """
    code = 0
    loaded = load_spec(spec)
    workspace = output if "://" in output else str(Path(output).expanduser().resolve())
    console = Console(soft_wrap=True, highlight=False)
    for moment in moments(start, end, every):
        code = max(code, _run(loaded, workspace, moment, console, force=force))
    raise typer.Exit(code)


def moments(start: str, end: str, every: str) -> Iterator[datetime]:
    """Every `as_of` of a range, both ends included.

    Raises:
        InputError: If one is not a date, the range is empty or too long, or the step is no duration.
    """
    if not start or not end:
        raise InputError("--from and --to need a date each, such as 2026-01-31")
    first, last = parse_as_of(start), parse_as_of(end)
    found = _STEP.match(every)
    if found is None:
        raise InputError(f"--every '{every}' is not a duration; write hours or days, such as 12h or 1d")
    step = timedelta(**{{"h": "hours", "d": "days"}[found[2]]: int(found[1])})
    if last < first:
        raise InputError(f"--to {end} is before --from {start}; exchange them")
    if (last - first) // step >= _MOST:
        raise InputError(f"--from {start} --to {end} --every {every}: more than {_MOST:,} runs; give a larger step")
    yield from (first + number * step for number in range((last - first) // step + 1))


def _run(spec: Spec, workspace: str, moment: datetime, console: Console, *, force: bool) -> int:
    """One day: its run, its line, its record."""
    from pipelines.local import run_locally

    address = Workspace(workspace).backfill(spec.dataset.name, _key(spec), f"{moment:%Y%m%dT%H%M%S}.json")
    shown = f"{moment:%Y-%m-%d}" if moment.hour == moment.minute == moment.second == 0 else f"{moment:%Y-%m-%d %H:%M:%S}"
    before = _record(address)
    if before is not None:
        console.print(f"{shown}  skipped: {before.status} in run {before.run_id}")
        return 0
    started = time.monotonic()
    display = _Silent(console)
    code = run_locally(spec, output=workspace, as_of=moment.isoformat(), force=force, display=display)
    summary = display.summary
    assert summary is not None, "a run that has ended has a summary"
    console.print(f"{shown}  {_line(summary)}  {time.monotonic() - started:.0f} s  run {summary.run_id}")
    if code == 0:
        record = Day(as_of=moment, run_id=summary.run_id, status=summary.status)
        storage.write_bytes(address, record.model_dump_json(indent=2).encode())
    elif summary.status != "blocked":
        # The days that follow would meet the wrong champion, or the same error.
        raise typer.Exit(code)
    return code


def _line(summary: Summary) -> str:
    parts: list[str] = [summary.status]
    if summary.rows.train is not None:
        parts.append(f"train {summary.rows.train:,} rows")
    vanilla = summary.metrics.get("vanilla")
    if vanilla is not None and vanilla.auc is not None:
        parts.append(f"AUC {vanilla.auc:.4f}")
    if summary.gate.verdict is not None:
        parts.append(f"gate {summary.gate.verdict}")
    if summary.error:
        parts.append(summary.error)
    return "  ".join(parts)


def _key(spec: Spec) -> str:
    """A backfill with another spec is another backfill."""
    return hashlib.sha256(spec.model_dump_json().encode()).hexdigest()[:16]


def _record(address: str) -> Day | None:
    try:
        return Day.model_validate_json(storage.read_bytes(address))
    except FileNotFoundError:
        return None
    except ValidationError:
        raise InputError(f"{address}: not the record of a day of a backfill; remove it to run that day again") from None


class _Silent(Display):
    """Shows nothing of a run; keeps how it ended."""

    def __init__(self, console: Console) -> None:
        super().__init__(console)
        self.summary: Summary | None = None

    def begin(self, dataset: str, run_id: str, as_of: datetime) -> None:
        """The run starts."""

    def look(self, records: dict[str, dict[str, Any]], progress: list[dict[str, Any]]) -> None:
        """The run goes on."""

    def end(self, summary: Summary, folder: str) -> None:
        """The run has ended."""
        self.summary = summary
