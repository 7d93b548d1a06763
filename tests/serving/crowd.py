"""Clients that ask a server without a pause, and note what becomes of each request."""

import threading
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

import httpx

#: More than two ways to compute the same score differ by.
_DIGITS = 5


@dataclass(frozen=True)
class Asked:
    """A request.

    Attributes:
        begun: By `time.monotonic`.
        ended: When it was answered, or cut off.
        status: Of the answer; 0 if the connection was cut, or there was none to be had.
        bundle: That answered.
        scores: Rounded.
        text: The answer, or what went wrong.
    """

    begun: float
    ended: float
    status: int
    bundle: str
    scores: tuple[float, ...]
    text: str


class Crowd:
    """Asks one question, from the first line of a `with` block to its end.

    Args:
        url: The server's.
        question: The body of `/rank`.
        clients: How many ask at once, each on a connection of its own.
    """

    def __init__(self, url: str, question: dict[str, Any], clients: int = 3) -> None:
        self._url = url
        self._question = question
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(clients)]
        #: What was asked so far.
        self.asked: list[Asked] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Waits for the last answers."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    @property
    def failed(self) -> list[Asked]:
        """What was not answered with 200."""
        return [one for one in list(self.asked) if one.status != httpx.codes.OK]

    def scores(self) -> dict[str, set[tuple[float, ...]]]:
        """By bundle, the scores that it gave."""
        found: dict[str, set[tuple[float, ...]]] = {}
        for one in list(self.asked):
            if one.status == httpx.codes.OK:
                found.setdefault(one.bundle, set()).add(one.scores)
        return found

    def answers(self, since: float = 0.0) -> int:
        """How many requests that began after a moment were answered."""
        return sum(one.status == httpx.codes.OK and one.begun >= since for one in list(self.asked))

    def _ask(self) -> None:
        with httpx.Client(base_url=self._url, trust_env=False, timeout=30) as client:
            while not self._stop.is_set():
                begun = time.monotonic()
                try:
                    answer = client.post("/rank", json=self._question)
                except httpx.TransportError as error:
                    self.asked.append(Asked(begun, time.monotonic(), 0, "", (), repr(error)))
                    time.sleep(0.005)
                    continue
                content = answer.json() if answer.status_code == httpx.codes.OK else {}
                scores = tuple(round(score, _DIGITS) for score in content.get("scores", ()))
                self.asked.append(
                    Asked(begun, time.monotonic(), answer.status_code, content.get("bundle", ""), scores, answer.text)
                )
