"""Reading, work on batches and what follows at the same time, in threads, with the results in order.

Arrow, numpy and DuckDB let go of the interpreter's lock, so threads are enough.
"""

from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, Queue
from threading import Event
from typing import TypeVar

from elec.memory import share_arenas

WORKERS = 2
_SECONDS = 0.01

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_order(
    function: Callable[[Item], Result], items: Generator[Item, None, None], workers: int = WORKERS
) -> Generator[Result, None, None]:
    """Applies a function to items in threads, while one thread reads the next items and the caller uses the last results.

    Args:
        function: The work.
        items: Read, and closed, in a thread of its own.
        workers: Threads that work; as many results wait at most.

    Yields:
        The results in the order of the items.
    """
    share_arenas()
    waiting: Queue[Future[Result] | None] = Queue(workers)
    stopped = Event()
    with ThreadPoolExecutor(workers) as pool, ThreadPoolExecutor(1) as reader:

        def read() -> None:
            try:
                for item in items:
                    if stopped.is_set():
                        break
                    waiting.put(pool.submit(function, item))
            finally:
                items.close()
                waiting.put(None)

        reading = reader.submit(read)
        try:
            while (future := waiting.get()) is not None:
                yield future.result()
            reading.result()
        finally:
            stopped.set()
            # The reader may wait for room: it gets it until it has put its last.
            while not reading.done():
                with suppress(Empty):
                    waiting.get(timeout=_SECONDS)
