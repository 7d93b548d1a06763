"""The short way of a request whose body is there: from the connection to its work, and back, without a task of its own.

The framework's way (a task, events, messages, requests and responses as objects) costs more than scoring a few rows. Bounds,
figures and answers are those of the long way, which every other request goes.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any

from starlette.types import Scope

from elec.serving.http.admission import Admission, Handed, RefusedError, Workroom, too_late
from elec.serving.http.auth import Token
from elec.serving.http.excuses import Excuses
from elec.serving.http.ledger import CLIENT_LEFT, Ledger
from elec.serving.http.plans import Plan, Planner, Reply, tell
from elec.serving.http.protocol_errors import too_large
from elec.spec.serving import ServingSpec

log = logging.getLogger("elec.serving")


class Lane:
    """Answers what is asked most.

    Args:
        planners: By path.
        settings: The bounds.
        admission: The house.
        workroom: Where the work is done.
        token: That requests have to carry.
        excuses: What failures are answered with.
        ledger: Where answers are noted.
    """

    def __init__(
        self,
        planners: Mapping[str, Planner],
        *,
        settings: ServingSpec,
        admission: Admission,
        workroom: Workroom,
        token: Token,
        excuses: Excuses,
        ledger: Ledger,
    ) -> None:
        self._planners = {path.encode(): planner for path, planner in planners.items()}
        self.settings = settings
        self.admission = admission
        self.workroom = workroom
        self.excuses = excuses
        self.ledger = ledger
        self._token = token

    def takes(self, url: bytes) -> bool:
        """Whether a POST of this URL may go this way."""
        return url in self._planners

    def begin(self, url: bytes, scope: Scope, body: bytes, send: Callable[[Reply, bool], None]) -> "Errand":
        """Sees to a request.

        Args:
            url: One that the lane takes.
            scope: Its headers.
            body: All of it.
            send: Takes the answer, now or later, and whether the connection shall end with it.

        Returns:
            What is to be told if the client leaves.
        """
        errand = Errand(self, scope, url.decode(), send)
        if not self._token.admits(errand.about.route, scope["headers"]):
            errand.end(self.excuses.unauthorized())
            return errand
        try:
            self.admission.enter()
        except RefusedError as error:
            errand.fail(error)
            return errand
        errand.inside = True
        try:
            if len(body) > self.settings.body_bytes:
                raise too_large(self.settings.body_bytes)
            self.workroom.check()
            errand.begin(self._planners[url](scope, body))
        except Exception as error:
            errand.fail(error)
        return errand


class Errand:
    """A request on its way.

    Args:
        lane: Its own.
        scope: The request.
        route: Its path.
        send: Takes the answer.
    """

    __slots__ = ("_clock", "_handed", "_lane", "_plan", "_send", "_started", "about", "inside")

    def __init__(self, lane: Lane, scope: Scope, route: str, send: Callable[[Reply, bool], None]) -> None:
        self._started = time.perf_counter()
        self._lane = lane
        self._send: Callable[[Reply, bool], None] | None = send
        self._plan: Plan | None = None
        self._handed: Handed | None = None
        self._clock: asyncio.TimerHandle | None = None
        self.about = tell(scope, route)
        #: Whether it has a place in the house, to be given back.
        self.inside = False

    def begin(self, plan: Plan) -> None:
        """Has the work done in its turn."""
        self._plan = plan
        if not plan.aside:
            self._lane.workroom.soon(self._work)
            return
        seconds = self._lane.settings.timeout_seconds
        self._clock = asyncio.get_running_loop().call_later(seconds, self._too_late)
        self._handed = self._lane.workroom.hand_over(plan.work, self._done)

    def fail(self, error: Exception) -> None:
        """Answers with what went wrong."""
        reply = self._lane.excuses.reply(error)
        if reply is None:
            about = self.about
            log.error("%s failed", about.route, exc_info=error, extra={"request": about.request, "bundle": about.bundle})
            reply = self._lane.excuses.internal()
        self.end(reply)

    def end(self, reply: Reply) -> None:
        """Answers."""
        send = self._close()
        if send is not None:
            send(reply, self._lane.admission.draining)
            self._lane.ledger.note(self.about, reply.status, self._started)

    def abandon(self) -> None:
        """The client has left: what it asked for is not begun any more, and stands in nobody's way."""
        if self._close() is None:
            return
        if self._handed is not None:
            self._handed.drop()
        self._lane.ledger.note(self.about, CLIENT_LEFT, self._started)

    def _close(self) -> Callable[[Reply, bool], None] | None:
        """Gives the place in the house back; whom to answer, or None if that was done."""
        send, self._send = self._send, None
        if send is None:
            return None
        if self._clock is not None:
            self._clock.cancel()
        if self.inside:
            self._lane.admission.leave()
        return send

    def _work(self) -> None:
        if self._send is None:
            return
        assert self._plan is not None
        try:
            if time.perf_counter() - self._started > self._lane.settings.timeout_seconds:
                raise too_late(self._lane.settings.timeout_seconds)
            self.end(self._plan.answer(self._plan.work()))
        except Exception as error:
            self.fail(error)

    def _done(self, future: Future[Any]) -> None:
        # After its time it was answered, or its client has left, and nobody asks for the result any more.
        if self._send is None or future.cancelled():
            return
        assert self._plan is not None
        try:
            self.end(self._plan.answer(future.result()))
        except Exception as error:
            self.fail(error)

    def _too_late(self) -> None:
        assert self._handed is not None
        self._handed.cancel()
        self.fail(too_late(self._lane.settings.timeout_seconds))
