"""Work in processes: all outcomes come back, those of failures and of processes that die too."""

import os
import time

from elec.evidence.pool import Task, run_tasks


def double(number: int) -> int:
    return 2 * number


def fail(reason: str) -> None:
    raise ValueError(reason)


def die() -> None:
    time.sleep(0.2)
    os._exit(9)


def threads() -> str | None:
    return os.environ.get("OMP_NUM_THREADS")


def test_every_task_has_one_outcome() -> None:
    tasks = [Task(f"double {number}", "double", double, (number,)) for number in range(5)]
    tasks.insert(1, Task("fail", "fail", fail, ("no such thing\nand more",)))
    tasks.insert(3, Task("threads", "threads", threads, ()))
    tasks.insert(4, Task("die", "die", die, ()))
    found = {outcome.task.title: outcome for outcome in run_tasks(tasks, workers=1)}
    assert {title: found[title].value for title in found if title.startswith("double")} == {
        f"double {number}": 2 * number for number in range(5)
    }
    assert found["fail"].error == "ValueError: no such thing"
    assert found["threads"].value == "1"
    assert found["die"].error is not None
    assert "process ended" in found["die"].error
    assert len(found) == len(tasks)


def test_no_work_starts_no_process() -> None:
    assert list(run_tasks([], workers=2)) == []


def test_without_processes_the_work_is_done_here() -> None:
    tasks = [Task("fail", "fail", fail, ("no",)), Task("double", "double", double, (2,)), Task("here", "here", os.getpid, ())]
    failed, doubled, here = run_tasks(tasks, workers=0)
    assert (failed.error, doubled.value, here.value) == ("ValueError: no", 4, os.getpid())
