"""Who comes in, and whose turn it is: the bounds that keep a server answering when more is asked than it can do.

At most `queue` requests are in the house, from the first byte of their body to their answer; one more is refused at once, which
costs next to nothing, so that those inside are answered in time. Small work runs on the event loop, one after the other: a
thread would cost more than it gains. What waits for a feature store, and what is large, has a thread of its own.
"""

import asyncio
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from elec.serving.http.protocol_errors import RequestError

T = TypeVar("T")

# A room that has not been empty for so many seconds has a standing crowd. Then so many may wait, or an eighth of the queue.
_STANDING = 0.03
_FEW = 8


class RefusedError(RequestError):
    """The server cannot answer now; the same request may succeed later.

    Args:
        message: One sentence.
        status: Of the HTTP answer.
        kind: For the count of errors.
    """

    def __init__(self, message: str, status: int, kind: str) -> None:
        super().__init__(message, status)
        self.kind = kind


def too_late(seconds: float) -> RefusedError:
    """The time is over."""
    return RefusedError(f"no answer within {seconds:g} seconds; try again", 503, "time")


class Admission:
    """The house: how many are inside, and whether it is about to close.

    Args:
        queue: Most requests inside.

    Attributes:
        inside: Requests that wait or are worked on.
        draining: The server is about to end: it still answers, and takes no part in anything new.
    """

    def __init__(self, queue: int) -> None:
        self._queue = queue
        self.inside = 0
        self.draining = False

    def __enter__(self) -> None:
        self.enter()

    def __exit__(self, *_: object) -> None:
        self.leave()

    def enter(self) -> None:
        """Lets a request in.

        Raises:
            RefusedError: If the house is full.
        """
        if self.inside >= self._queue:
            raise RefusedError(f"{self.inside} requests are being answered, and more wait nowhere; try again", 429, "queue")
        self.inside += 1

    def leave(self) -> None:
        """One that was let in is done."""
        self.inside -= 1


class Workroom:
    """Where the work is done, in the order in which it came.

    A short crowd waits; a standing one does not get shorter by waiting, it only makes everybody late. So when the room has not
    been empty for a while, only few may wait in it (the rule of CoDel, RFC 8289, in its simplest form).

    Args:
        queue: Most requests in the house.
    """

    def __init__(self, queue: int) -> None:
        self._few = min(queue, max(_FEW, queue // 8))
        self._inside = 0
        self._empty_at = time.monotonic()
        self._waiting: deque[Callable[[], None]] = deque()
        # One thread: threads do not share a store, and a second one would only wait for the interpreter.
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="look-up")

    def check(self) -> None:
        """Lets a request in, before anything is done for it.

        Raises:
            RefusedError: If the crowd in the room is a standing one.
        """
        if self._inside >= self._few and time.monotonic() - self._empty_at > _STANDING:
            raise RefusedError(f"{self._inside} requests have been waiting for too long already; try again", 429, "crowd")

    async def here(self, work: Callable[[], T]) -> T:
        """Does small work on the event loop; what is cancelled before its turn is not begun."""
        done: asyncio.Future[T] = asyncio.get_running_loop().create_future()

        def begin() -> None:
            if done.done():
                return
            try:
                done.set_result(work())
            except Exception as error:
                done.set_exception(error)

        self.soon(begin)
        return await done

    async def aside(self, work: Callable[[], T]) -> T:
        """Does work that waits, or takes long, in the thread; what is cancelled before its turn is not begun."""
        self._enter()
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
        finally:
            self._leave()

    def soon(self, work: Callable[[], None]) -> None:
        """Has small work done on the event loop in its turn.

        Args:
            work: Raises nothing.
        """
        self._enter()
        self._waiting.append(work)
        if len(self._waiting) == 1:
            asyncio.get_running_loop().call_soon(self._next)

    def hand_over(self, work: Callable[[], T], done: Callable[["Future[T]"], None]) -> "Handed":
        """Has work done in the thread.

        Args:
            work: That waits, or takes long.
            done: Called on the event loop with the work's future, also if that was cancelled before its turn.
        """
        loop = asyncio.get_running_loop()
        self._enter()

        def ended(future: "Future[T]") -> None:
            handed.leave()
            done(future)

        future = self._threads.submit(work)
        handed = Handed(future, self._leave)
        future.add_done_callback(lambda future: loop.call_soon_threadsafe(ended, future))
        return handed

    def close(self) -> None:
        """Begins nothing any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _next(self) -> None:
        work = self._waiting[0]
        try:
            work()
        finally:
            self._waiting.popleft()
            self._leave()
            if self._waiting:
                # The loop has its turn before each work: it reads what came in meanwhile, and refuses what is too much.
                asyncio.get_running_loop().call_soon(self._next)

    def _enter(self) -> None:
        if not self._inside:
            self._empty_at = time.monotonic()
        self._inside += 1

    def _leave(self) -> None:
        self._inside -= 1


class Handed:
    """Work that was handed to the thread.

    Args:
        future: Of the work.
        leave: Gives its place in the room back.
    """

    def __init__(self, future: "Future[Any]", leave: Callable[[], None]) -> None:
        self._future = future
        self._give_back = leave
        self._inside = True

    def cancel(self) -> None:
        """Does not begin with it, if it has not begun."""
        self._future.cancel()

    def drop(self) -> None:
        """Nobody waits for it any more: it counts no longer as one of the crowd, even if it is being worked on."""
        self._future.cancel()
        self.leave()

    def leave(self) -> None:
        """Gives its place back, once."""
        if self._inside:
            self._inside = False
            self._give_back()
