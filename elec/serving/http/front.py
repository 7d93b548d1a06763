"""What every request passes through first and last: the token, the figures, the access log, and failures of our own.

What is asked for all the time goes from here to its answer; the framework's own way there costs as much as scoring a row.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeAlias

from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from elec.serving.http.admission import Admission
from elec.serving.http.auth import Token
from elec.serving.http.excuses import Excuses
from elec.serving.http.lane import Lane
from elec.serving.http.ledger import CLIENT_LEFT, Ledger
from elec.serving.http.plans import Reply, tell

log = logging.getLogger("elec.serving")

Answer: TypeAlias = Callable[[Request], Awaitable[Response]]


class Front:
    """The outermost layer.

    Args:
        app: All the rest.
        admission: Says when the server is about to end.
        token: That requests have to carry.
        excuses: What failures are answered with.
        ledger: Where answers are noted.
        direct: Answers that need not go through the rest, by method and path.
        lane: A shorter way still, which a server that knows of it takes for requests that are there whole.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        admission: Admission,
        token: Token,
        excuses: Excuses,
        ledger: Ledger,
        direct: Mapping[tuple[str, str], Answer],
        lane: Lane,
    ) -> None:
        self._app = app
        self._direct = direct
        self._excuses = excuses
        self._admission = admission
        self._token = token
        self._ledger = ledger
        self.lane = lane

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, and sees to its end."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        about = tell(scope)
        status = 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                if self._admission.draining:
                    # A client that keeps its connection finds another server for its next request.
                    message["headers"] = [*message["headers"], (b"connection", b"close")]
            await send(message)

        try:
            if self._token.admits(scope["path"], scope["headers"]):
                route = self._direct.get((scope["method"], scope["path"]))
                if route is None:
                    await self._app(scope, receive, answer)
                else:
                    response = await self._answered(route, Request(scope, receive))
                    await response(scope, receive, answer)
            else:
                await _send(answer, self._excuses.unauthorized())
        except ClientDisconnect:
            status = CLIENT_LEFT
        except Exception:
            log.exception("%s failed", about.route, extra={"request": about.request, "bundle": about.bundle})
            reply = self._excuses.internal()
            if status:
                # Half an answer is out: the connection breaks, so that the client does not take it for a whole one.
                raise
            await _send(answer, reply)
        finally:
            self._ledger.note(about, status, started)

    async def _answered(self, route: Answer, request: Request) -> Response:
        try:
            return await route(request)
        except Exception as error:
            reply = self._excuses.reply(error)
            if reply is None:
                raise
            return response_of(reply)


def response_of(reply: Reply) -> Response:
    """An answer as the framework has it."""
    response = Response(reply.content, reply.status)
    response.raw_headers += [(b"content-type", reply.kind), *reply.headers]
    return response


async def _send(send: Send, reply: Reply) -> None:
    response = response_of(reply)
    await send({"type": "http.response.start", "status": reply.status, "headers": response.raw_headers})
    await send({"type": "http.response.body", "body": reply.content})
