"""Damaged inputs for ingest: each has to end in success, in quarantine or in one clear sentence, with no row lost on the way.

    python -m benchmarks.data.fuzz --inputs 10000 --seed 1

CSV, TSV, JSON lines, compressed text, Parquet and specs are damaged at random. What must not be: an error of another kind, a
message that is no sentence, files left behind, an input that takes longer than the time-out, a process that dies, a row or a
line that is in no count. `--only NUMBER` runs one input again and shows what it was.
"""

import argparse
import contextlib
import multiprocessing
import multiprocessing.connection
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from multiprocessing.connection import Connection
from pathlib import Path

from benchmarks.data.damaged import KINDS, make
from benchmarks.data.judging import RIGHT, WRONG, Outcome, judge
from elec.process import die_with
from elec.progress import Progress
from elec.version import code_version

#: Addresses of a worker: damaged lengths must not take the machine's memory.
_MEMORY = 12 << 30
#: Seconds for a worker to start; its imports are not part of an input's time.
_START = 60.0
_EXAMPLES = 100
_SHOWN = 80
_LINES = 4


def main() -> None:
    """Runs the inputs and writes the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--seconds", type=float, default=20.0, help="an input that takes longer hangs")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--output", type=Path, default=Path("benchmarks/data/results-fuzz.md"))
    parser.add_argument("--only", type=int, help="the number of one input; its files stay")
    options = parser.parse_args()
    if options.only is not None:
        _show(options.kinds, options.seed, options.only)
        return
    started = time.perf_counter()
    outcomes = []
    with Progress("fuzz", unit="inputs", total=options.inputs) as progress:
        wrong = 0
        for outcome in run(options.inputs, options.seed, options.kinds, options.seconds, options.workers):
            outcomes.append(outcome)
            wrong += outcome.end not in RIGHT
            progress.advance(1, note=f"{wrong} wrong")
    text = table(outcomes, options.seed, time.perf_counter() - started)
    print(text)
    options.output.write_text(text, encoding="utf-8")
    sys.exit(1 if any(outcome.end not in RIGHT for outcome in outcomes) else 0)


def run(inputs: int, seed: int, kinds: list[str], seconds: float, workers: int = 1) -> Iterator[Outcome]:
    """Runs inputs in processes that are used again until one hangs or dies.

    Args:
        inputs: How many.
        seed: Of all inputs.
        kinds: Taken in turn.
        seconds: For one input.
        workers: Processes.

    Yields:
        How each ended, in the order of their ends.
    """
    numbers = iter(range(inputs))
    with tempfile.TemporaryDirectory(prefix="elec-fuzz-") as scratch, contextlib.ExitStack() as stack:
        free = [stack.enter_context(_Worker(Path(scratch), seed, seconds)) for _ in range(min(workers, inputs))]
        busy: list[_Worker] = []
        while True:
            while free and (number := next(numbers, None)) is not None:
                worker = free.pop()
                worker.give(number, kinds[number % len(kinds)])
                busy.append(worker)
            if not busy:
                return
            multiprocessing.connection.wait([worker.pipe for worker in busy], timeout=0.2)
            for worker in list(busy):
                outcome = worker.outcome()
                if outcome is not None:
                    busy.remove(worker)
                    free.append(worker)
                    yield outcome


class _Worker:
    """A process that takes one input after the other.

    Args:
        scratch: For the inputs' files.
        seed: Of all inputs.
        seconds: For one input.
    """

    def __init__(self, scratch: Path, seed: int, seconds: float) -> None:
        self._scratch, self._seed, self._seconds = scratch, seed, seconds
        self._number, self._kind, self._begun = 0, "", 0.0
        self._start()

    def __enter__(self) -> "_Worker":
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()

    def give(self, number: int, kind: str) -> None:
        """Starts on an input."""
        self._number, self._kind, self._begun = number, kind, time.monotonic()
        self.pipe.send((number, kind))

    def outcome(self) -> Outcome | None:
        """How the input ended; None while it has not. A process that hangs or is dead is replaced."""
        if self.pipe.poll():
            try:
                found: Outcome = self.pipe.recv()
            except EOFError:
                self._process.join()
                return self._failed("crash", f"the process ended with {self._process.exitcode}")
            return found
        if time.monotonic() - self._begun > self._seconds:
            return self._failed("hang", f"more than {self._seconds:g} s")
        return None

    def _failed(self, end: str, detail: str) -> Outcome:
        damages = _damages(self._kind, self._seed, self._number)
        seconds = time.monotonic() - self._begun
        self._kill()
        self._start()
        return Outcome(self._number, self._kind, end, detail, damages, seconds)

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        arguments = (theirs, self._seed, Path(tempfile.mkdtemp(dir=self._scratch)), os.getpid())
        self._process = context.Process(target=_work, args=arguments, daemon=True)
        self._process.start()
        theirs.close()
        if not self.pipe.poll(_START) or self.pipe.recv() != "ready":
            raise RuntimeError("a worker does not start")

    def _kill(self) -> None:
        self._process.kill()
        self._process.join()
        self.pipe.close()


def _work(pipe: Connection, seed: int, scratch: Path, parent: int) -> None:
    """A worker's life."""
    die_with(parent)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY, _MEMORY))
    # Its progress is of no interest, and a message of a library about a damaged file neither.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    pipe.send("ready")
    while True:
        try:
            number, kind = pipe.recv()
        except EOFError:
            return
        pipe.send(judge(kind, seed, number, scratch / str(number)))


def _damages(kind: str, seed: int, number: int) -> tuple[str, ...]:
    with tempfile.TemporaryDirectory(prefix="elec-fuzz-") as folder:
        return tuple(make(kind, seed, number, Path(folder)).damages)


def table(outcomes: list[Outcome], seed: int, seconds: float) -> str:
    """The Markdown page.

    Args:
        outcomes: Of all inputs.
        seed: Of all inputs.
        seconds: Of the whole run.
    """
    kinds = list(dict.fromkeys(outcome.kind for outcome in sorted(outcomes, key=lambda outcome: KINDS.index(outcome.kind))))
    ends = [*RIGHT, *WRONG]
    counts = Counter((outcome.kind, outcome.end) for outcome in outcomes)
    lines = [f"| inputs | {' | '.join(['all', *ends])} |", "|---" * (len(ends) + 2) + "|"]
    for kind in kinds:
        row = [counts[kind, end] for end in ends]
        lines.append(f"| {kind} | {' | '.join(f'{count:,}' for count in [sum(row), *row])} |")
    row = [sum(counts[kind, end] for kind in kinds) for end in ends]
    lines.append(f"| all | {' | '.join(f'{count:,}' for count in [sum(row), *row])} |")
    befell = Counter(damage.split(":")[0] for outcome in outcomes for damage in set(outcome.damages))
    slowest = max(outcomes, key=lambda outcome: outcome.seconds)
    about = (
        f"{len(outcomes):,} damaged inputs, seed {seed}, {seconds:,.0f} s; the slowest took {slowest.seconds:.1f} s; "
        f"code {code_version()}. What was damaged: {', '.join(f'{what} {count:,}' for what, count in befell.most_common())}."
    )
    wrong = [outcome for outcome in outcomes if outcome.end not in RIGHT]
    shown = [
        f"- {one.number} ({one.kind}; {', '.join(one.damages)[:_SHOWN]}): {one.end}: "
        f"`{' / '.join(one.detail.splitlines()[-_LINES:])}`"
        for one in wrong[:_EXAMPLES]
    ] or ["Nothing went wrong."]
    return "\n".join(["# Damaged inputs", "", about, "", *lines, "", *shown]) + "\n"


def _show(kinds: list[str], seed: int, number: int) -> None:
    kind = kinds[number % len(kinds)]
    folder = Path(tempfile.mkdtemp(prefix="elec-fuzz-"))
    case = make(kind, seed, number, folder)
    print(f"{case.spec}\n{case.log}\n{', '.join(case.damages)}")
    print(judge(kind, seed, number, folder / "again"))


if __name__ == "__main__":
    main()
