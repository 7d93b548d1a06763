"""Progress of long work: amounts, rate and time left.

On a terminal it is a bar. Inside a pipeline step, whose output is a log, it is a small file that the program which runs the
pipeline reads and shows. Otherwise it is silent.
"""

import os
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import orjson
import rich.progress
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

#: Names the folder to which a step's progress is written.
PROGRESS_FOLDER = "ELEC_PROGRESS_FOLDER"

_SECONDS_BETWEEN_WRITES = 0.2


class Progress:
    """Counts work done.

    Example:
        with Progress("encode text", unit="texts", total=2400) as progress:
            progress.advance(64)

    Args:
        what: The work.
        unit: What is counted.
        total: How much there is, if known.
    """

    def __init__(self, what: str, *, unit: str, total: int | None = None) -> None:
        self.what = what
        self.unit = unit
        self.total = total
        self.done = 0
        self.note = ""
        self._started = time.monotonic()
        self._written = 0.0
        folder = os.environ.get(PROGRESS_FOLDER)
        self._file = Path(folder, f"{os.getpid()}.json") if folder else None
        self._bar = None if self._file or not sys.stderr.isatty() else _bar(what, unit, total)

    def __enter__(self) -> Self:
        if self._bar is not None:
            self._bar.start()
        self._show()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()
        if self._file is not None:
            self._file.unlink(missing_ok=True)

    def advance(self, amount: int, note: str = "") -> None:
        """Adds work done, with an optional word on how it goes (a loss, say)."""
        self.done += amount
        self.note = note or self.note
        if time.monotonic() - self._written > _SECONDS_BETWEEN_WRITES:
            self._show()

    def _show(self) -> None:
        self._written = time.monotonic()
        if self._bar is not None:
            self._bar.update(self._bar.task_ids[0], completed=self.done, note=self.note)
        elif self._file is not None:
            state = {
                "what": self.what,
                "unit": self.unit,
                "total": self.total,
                "done": self.done,
                "note": self.note,
                "seconds": self._written - self._started,
            }
            temporary = self._file.with_suffix(".tmp")
            try:
                temporary.write_bytes(orjson.dumps(state))
                temporary.replace(self._file)
            except OSError:
                # Progress is a courtesy: a full disk must not end the work through it.
                self._file = None


def _bar(what: str, unit: str, total: int | None) -> rich.progress.Progress:
    bar = rich.progress.Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=Console(stderr=True),
        transient=True,
    )
    bar.add_task(what, total=total, note="")
    return bar
