"""Ray's workers as an engine: of a cluster that is there (`RAY_ADDRESS`), or processes of this machine.

A task is one call of a function on one item. Ray starts a task anew whose worker is lost, so functions write their files in
one step and under names of their own. Tasks hand over small values only: files go through the `Exchange`.
"""

import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

from elec.engine.exchange import Exchange
from elec.errors import InputError, RunFailedError
from elec.progress import PROGRESS_FOLDER
from elec.spec.run import DataEngineSpec

# Ray reads them when it is imported: nothing is told to anyone, and a worker without a GPU does not change what it sees.
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")

import ray

Item = TypeVar("Item")
Result = TypeVar("Result")

#: The variable that names a cluster; KubeRay sets it for the driver of a RayJob.
ADDRESS = "RAY_ADDRESS"

#: Pieces a CPU: the last ones even out what the others took longer for.
_PIECES_PER_CPU = 2
#: Tasks a CPU that wait or run; the next ones are not even listed.
_TASKS_PER_CPU = 3
_RETRIES = 3
#: Of Ray's store of objects on one machine; tasks hand over little.
_STORE_BYTES = 128 * 2**20
_SECONDS_TO_ANSWER = 10.0
_STARTS = 3


class RayEngine:
    """See `elec.engine.Engine`.

    Args:
        cpus: Of the cluster.
        place: A URI below which files are exchanged; empty for this machine's temporary folder.
    """

    def __init__(self, cpus: int, place: str) -> None:
        self._cpus = cpus
        self._place = place

    @property
    def pieces(self) -> int:
        """See `Engine`."""
        return self._cpus * _PIECES_PER_CPU

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """See `Engine`."""
        task: Any = ray.remote(_called).options(num_cpus=1, max_retries=_RETRIES)
        shared = ray.put(function)
        waiting: deque[Any] = deque()
        try:
            for item in items:
                waiting.append(task.remote(shared, item))
                if len(waiting) >= self._cpus * _TASKS_PER_CPU:
                    yield _result(waiting.popleft())
            while waiting:
                yield _result(waiting.popleft())
        finally:
            for left in waiting:
                ray.cancel(left, force=True)

    @contextmanager
    def exchange(self) -> Iterator[Exchange]:
        """See `Engine`."""
        with Exchange.below(self._place) as exchange:
            yield exchange


@contextmanager
def ray_engine(settings: DataEngineSpec, place: str) -> Iterator[RayEngine]:
    """Connects to the cluster of `RAY_ADDRESS`, or starts `run.data.workers` processes here.

    Args:
        settings: The spec's `run.data`.
        place: A URI below which files are exchanged; only with a cluster.

    Raises:
        InputError: If the cluster cannot be reached, or there is no place that its machines share.
    """
    address = os.environ.get(ADDRESS)
    if address and not place:
        raise InputError(f"{ADDRESS} is set, but the machines of a cluster share nothing; give a workspace on S3, or unset it")
    started_here = not ray.is_initialized()
    if started_here:
        _start(address, settings.workers)
    try:
        yield RayEngine(_cpus(settings.workers), place if address else "")
    finally:
        if started_here:
            ray.shutdown()


def _start(address: str | None, workers: int) -> None:
    try:
        if address:
            # Ray itself would go on asking for minutes.
            host, _, port = address.rpartition(":")
            socket.create_connection((host, int(port)), timeout=_SECONDS_TO_ANSWER).close()
            ray.init(address=address, log_to_driver=True)
        else:
            _start_here(workers)
    except Exception as error:  # Ray raises plain ones, too.
        where = f"the cluster at {address}" if address else "Ray on this machine"
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(". ")
        raise InputError(f"run.data.engine is ray, but {where} does not start or answer ({reason}); check {ADDRESS}") from None


def _start_here(workers: int) -> None:
    """Starts Ray's processes; they have half a minute, which a busy machine may be too slow for once."""
    for left in reversed(range(_STARTS)):
        try:
            ray.init(
                address="local",
                num_cpus=workers,
                object_store_memory=_STORE_BYTES,
                include_dashboard=False,
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except Exception:  # It is a plain one.
            if not left:
                raise
            ray.shutdown()
        else:
            return


def _cpus(workers: int) -> int:
    """Of all nodes that are there by now; nodes that are still to come have one at least."""
    return max(workers, int(ray.cluster_resources().get("CPU", 1)))


def _called(function: Callable[[Item], Result], item: Item) -> Result:
    """Runs in a worker, whose progress is shown by who waits for it."""
    os.environ.pop(PROGRESS_FOLDER, None)
    return function(item)


def _result(reference: Any) -> Any:
    from ray.exceptions import RayError, RayTaskError

    try:
        return ray.get(reference)
    except RayTaskError as error:
        # What the function raised, without Ray's account of where.
        cause = error.cause
        raise (cause if isinstance(cause, Exception) else RunFailedError(f"a worker failed: {cause}")) from None
    except RayError as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(". ")
        raise RunFailedError(
            f"a worker of Ray was lost {_RETRIES + 1} times ({reason}); it may be out of memory: raise run.cluster.memory"
        ) from None
