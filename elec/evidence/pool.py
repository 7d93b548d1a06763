"""Work spread over processes of one thread each. A failed piece is an outcome, not the end of the others."""

import atexit
import multiprocessing
import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

from elec.process import die_with

#: One thread a process, which sleeps when it waits: more of them would only fight over the cores.
_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "OPENBLAS_NUM_THREADS": "1",
    "OMP_WAIT_POLICY": "PASSIVE",
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass(frozen=True, eq=False)
class Task:
    """A piece of work.

    Attributes:
        title: For people.
        kind: Tasks of a kind take about as long.
        work: A module's function.
        arguments: Its arguments; they are pickled between our own processes only.
    """

    title: str
    kind: str
    work: Callable[..., Any]
    arguments: tuple[Any, ...]


@dataclass(frozen=True)
class Outcome:
    """What became of a task.

    Attributes:
        task: Which.
        value: What it returned.
        error: Why it failed, in one line; None if it did not.
        seconds: It took.
    """

    task: Task
    value: Any
    error: str | None
    seconds: float


def run_tasks(tasks: Sequence[Task], workers: int) -> Iterator[Outcome]:
    """Does the work, in about the order given, and gives each outcome as it comes.

    Args:
        tasks: What is to be done.
        workers: Processes; with 0 the work is done in this one, thread by thread as the libraries like.
    """
    if not workers:
        for piece in tasks:
            yield Outcome(piece, *_timed(piece.work, piece.arguments))
        return
    left = list(tasks)
    # Libraries read these when they are loaded, which a new process does before it is told anything.
    os.environ.update(_ENVIRONMENT)
    while left:
        done = 0
        broken: list[Task] = []
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(os.getpid(),)) as pool:
            waiting = iter(left)
            running: dict[Future[tuple[Any, str | None, float]], Task] = {}
            try:
                while True:
                    # No more than run at once are handed out: when a process dies, only those are in doubt.
                    while len(running) < workers and (task := next(waiting, None)) is not None:
                        running[pool.submit(_timed, task.work, task.arguments)] = task
                    if not running:
                        break
                    for future in wait(running, return_when=FIRST_COMPLETED).done:
                        task = running[future]
                        value, error, seconds = future.result()
                        del running[future]
                        done += 1
                        left.remove(task)
                        yield Outcome(task, value, error, seconds)
            except BrokenProcessPool:
                broken = list(running.values())
        for task in broken:
            left.remove(task)
            yield Outcome(task, None, "its process ended without a word, as when memory runs out", 0.0)
        if not done and not broken:
            break


def _start(parent: int) -> None:
    die_with(parent)
    # Ctrl-C reaches all processes of a terminal; the one that started them says what there is to say.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Results are sent when a task ends, so nothing is lost; tearing down every loaded library would only take time and say so.
    atexit.register(os._exit, 0)


def _timed(work: Callable[..., Any], arguments: tuple[Any, ...]) -> tuple[Any, str | None, float]:
    started = time.monotonic()
    try:
        value, error = work(*arguments), None
    except Exception as problem:  # whatever went wrong in one cell is reported, and the others go on
        value, error = None, f"{type(problem).__name__}: {str(problem).strip() or 'no reason given'}".splitlines()[0]
    return value, error, time.monotonic() - started
