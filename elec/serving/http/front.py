"""What every request passes through first and last: the token, the figures, the access log, and failures of our own.

What is asked for all the time goes from here to its answer; the framework's own way there costs as much as scoring a row.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import orjson
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from elec.serving.http.admission import Admission
from elec.serving.http.auth import Token
from elec.serving.telemetry.logs import AccessLog
from elec.serving.telemetry.metrics import Metrics

log = logging.getLogger("elec.serving")

Answer: TypeAlias = Callable[[Request], Awaitable[Response]]
#: What an exception is answered with.
Excuse: TypeAlias = Callable[[Request, Exception], Awaitable[Response]]

_TOLD = "elec.told"
_CLIENT_LEFT = 499


@dataclass(slots=True)
class Told:
    """What a route tells of a request.

    Attributes:
        route: Its route's own path; what the client wrote may hold anything.
        request: Its id.
        bundle: That answered.
        seconds: By part of the work.
    """

    route: str = "other"
    request: str = ""
    bundle: str = ""
    seconds: dict[str, float] = field(default_factory=dict)


def told(scope: Scope) -> Told:
    """Where a route leaves what it has to tell of its request."""
    found: Told = scope[_TOLD]
    return found


class Front:
    """The outermost layer.

    Args:
        app: All the rest.
        admission: Says when the server is about to end.
        token: That requests have to carry.
        metrics: Counts them.
        access: Writes a line of some.
        direct: Answers that need not go through the rest, by method and path.
        excuses: What their exceptions are answered with; of several kinds that fit, the first.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        admission: Admission,
        token: Token,
        metrics: Metrics,
        access: AccessLog,
        direct: Mapping[tuple[str, str], Answer],
        excuses: Sequence[tuple[type[Exception], Excuse]],
    ) -> None:
        self._app = app
        self._direct = direct
        self._excuses = tuple(excuses)
        self._admission = admission
        self._token = token
        self._metrics = metrics
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on, and sees to its end."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        about = scope[_TOLD] = Told()
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
                self._metrics.error("unauthorized")
                await _refuse(answer, 401, "send the header 'Authorization: Bearer TOKEN' with this server's token")
        except ClientDisconnect:
            status = _CLIENT_LEFT
        except Exception:
            log.exception("%s failed", about.route, extra={"request": about.request, "bundle": about.bundle})
            self._metrics.error("internal")
            if status:
                # Half an answer is out: the connection breaks, so that the client does not take it for a whole one.
                raise
            await _refuse(answer, 500, "the server failed on this request; its log says why")
        finally:
            seconds = time.perf_counter() - started
            self._metrics.observe_request(about.route, status, seconds)
            if about.seconds:
                self._metrics.observe_parts(about.seconds | {"http": max(seconds - sum(about.seconds.values()), 0.0)})
            self._access.line(about.route, status, seconds, request=about.request, bundle=about.bundle)

    async def _answered(self, route: Answer, request: Request) -> Response:
        try:
            return await route(request)
        except Exception as error:
            excuse = next((excuse for kind, excuse in self._excuses if isinstance(error, kind)), None)
            if excuse is None:
                raise
            return await excuse(request, error)


async def _refuse(send: Send, status: int, message: str) -> None:
    content = orjson.dumps({"error": message})
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(content)).encode())]
    if status == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": content})
