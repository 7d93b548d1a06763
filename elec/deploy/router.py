"""A reverse proxy before two servers: one port, a share of the requests to the challenger, figures of each.

A request that the challenger does not answer, or fails on, is answered by the champion, and the other way round: scoring
changes nothing, so it can be asked for twice, and a canary costs no client an answer.
"""

import asyncio
import contextlib
import random
import socket
import threading
import time
from collections.abc import Awaitable, Callable, MutableMapping
from types import TracebackType
from typing import Any, Literal, Self

import httpx
import numpy as np
import orjson
import uvicorn

from elec.deploy.figures import Counts, Figures

Name = Literal["champion", "challenger"]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
_Headers = list[tuple[bytes, bytes]]

#: Of a connection and not of a request (RFC 9110, section 7.6.1).
_HOP_BY_HOP = {
    *(b"connection", b"keep-alive", b"proxy-authenticate", b"proxy-authorization"),
    *(b"te", b"trailer", b"transfer-encoding", b"upgrade"),
}
#: Seconds, each a tenth longer than the one before: fine enough to compare two tails.
_LATENCY_EDGES = tuple(float(edge) for edge in np.geomspace(1e-4, 60.0, 141))
#: Evenly spaced as log-odds, so that small click-through rates are told apart.
_SCORE_EDGES = tuple(float(edge) for edge in 1 / (1 + np.exp(-np.linspace(-10, 10, 201))))
_PATHS = ("/rank", "/infer")


class _Tally:
    """Counts what a version does. Written by the router's loop alone; who reads may be one request behind."""

    def __init__(self) -> None:
        self.requests = self.errors = self.refused = 0
        self.latency_B = np.zeros(len(_LATENCY_EDGES) + 1, dtype=np.int64)
        self.scores_B = np.zeros(len(_SCORE_EDGES) + 1, dtype=np.int64)

    def count(self, status: int, seconds: float, content: bytes) -> None:
        """Counts an attempt; status 0 is no answer."""
        self.requests += 1
        if status == 0 or status >= httpx.codes.INTERNAL_SERVER_ERROR:
            self.errors += 1
            return
        self.latency_B[np.searchsorted(_LATENCY_EDGES, seconds)] += 1
        if status == httpx.codes.OK:
            bins = np.searchsorted(_SCORE_EDGES, _scores(content))
            self.scores_B += np.bincount(bins, minlength=len(self.scores_B))
        elif status >= httpx.codes.BAD_REQUEST and status != httpx.codes.TOO_MANY_REQUESTS:
            self.refused += 1

    def figures(self) -> Figures:
        return Figures(
            requests=self.requests,
            errors=self.errors,
            refused=self.refused,
            latency=Counts(_LATENCY_EDGES, self.latency_B.copy()),
            scores=Counts(_SCORE_EDGES, self.scores_B.copy()),
        )


class Router:
    """The proxy, listening from the start of a `with` block to its end, in a thread of its own.

    Args:
        listener: A bound socket.
        champion: Address of the champion's server.
        challenger: Address of the challenger's.
        share: Percent of the requests for scores that go to the challenger.
        body_bytes: Largest body of a request.
        timeout: Seconds after which a server counts as one that does not answer.
        seed: Of the draw that splits the traffic.
    """

    def __init__(
        self,
        listener: socket.socket,
        champion: str,
        challenger: str,
        *,
        share: int,
        body_bytes: int,
        timeout: float,
        seed: int = 0,
    ) -> None:
        host, port = listener.getsockname()[:2]
        self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
        #: Percent to the challenger; may be changed at any time.
        self.share = share
        self._listener = listener
        self._addresses: dict[Name, str] = {"champion": champion, "challenger": challenger}
        self._tallies: dict[Name, _Tally] = {"champion": _Tally(), "challenger": _Tally()}
        self._body_bytes = body_bytes
        self._timeout = timeout
        self._within = {"timeout": httpx.Timeout(timeout).as_dict()}
        # Drawn and not counted off: every tenth request may be of a kind of its own.
        self._draw = random.Random(seed)  # noqa: S311 - it splits traffic, and keeps no secret
        self._client: httpx.AsyncClient | None = None
        self._ready = threading.Event()
        self._server = uvicorn.Server(
            uvicorn.Config(
                self._application,
                # A method is not taken for one by itself.
                interface="asgi3",
                lifespan="on",
                log_level="warning",
                access_log=False,
                server_header=False,
                date_header=False,
            )
        )
        self._thread = threading.Thread(target=self._run, name="router", daemon=True)

    def figures(self) -> tuple[Figures, Figures]:
        """The champion's and the challenger's figures since the router began."""
        return self._tallies["champion"].figures(), self._tallies["challenger"].figures()

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.should_exit = True
        self._thread.join()

    def _run(self) -> None:
        try:
            self._server.run(sockets=[self._listener])
        finally:
            # Whoever waits for a router that could not start must not wait for ever.
            self._ready.set()

    async def _application(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            await self._answer(scope, receive, send)

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        await receive()
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=256)
        async with httpx.AsyncClient(limits=limits, timeout=self._timeout, trust_env=False) as self._client:
            await send({"type": "lifespan.startup.complete"})
            self._ready.set()
            await receive()
        await send({"type": "lifespan.shutdown.complete"})

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        body = await _body(receive, self._body_bytes)
        if body is None:
            await _send(send, 413, [(b"content-type", b"application/json")], orjson.dumps({"error": "the body is too large"}))
            return
        counted = scope["method"] == "POST" and scope["path"].endswith(_PATHS)
        first: Name = "challenger" if counted and self._draw.random() * 100 < self.share else "champion"
        if not counted and self.share >= 100:
            first = "challenger"
        second: Name = "champion" if first == "challenger" else "challenger"
        status, headers, content = await self._ask(first, scope, body, counted)
        if status == 0 or (counted and status >= httpx.codes.INTERNAL_SERVER_ERROR):
            # Without a second opinion a failure is a failure; with one, the client does not see it.
            other = await self._ask(second, scope, body, counted)
            if other[0] and (status == 0 or other[0] < httpx.codes.INTERNAL_SERVER_ERROR):
                status, headers, content = other
        if status == 0:
            status, headers = 502, [(b"content-type", b"application/json")]
            content = orjson.dumps({"error": "no server answers; start one, or look at the log of the one that ended"})
        await _send(send, status, headers, content)

    async def _ask(self, name: Name, scope: Scope, body: bytes, counted: bool) -> tuple[int, _Headers, bytes]:
        """The answer of a server: status, headers, content; status 0 if there is none."""
        assert self._client is not None
        path = scope.get("raw_path") or scope["path"].encode()
        query = b"?" + scope["query_string"] if scope["query_string"] else b""
        kept = [(key, value) for key, value in scope["headers"] if key not in _HOP_BY_HOP | {b"host", b"content-length"}]
        started = time.perf_counter()
        status, headers, content = 0, [], b""
        with contextlib.suppress(httpx.TransportError, httpx.InvalidURL, TimeoutError):
            address = self._addresses[name] + (path + query).decode("ascii", errors="replace")
            # A request of one's own making: the client would add what the caller did not send, that it unpacks, say.
            request = httpx.Request(scope["method"], address, headers=kept, content=body, extensions=self._within)
            async with asyncio.timeout(self._timeout):
                response = await self._client.send(request, stream=True)
                try:
                    # As it came: what the server has packed stays packed.
                    content = b"".join([part async for part in response.aiter_raw()])
                finally:
                    await response.aclose()
                status = response.status_code
                headers = [(key.lower(), value) for key, value in response.headers.raw if key.lower() not in _HOP_BY_HOP]
        if counted:
            self._tallies[name].count(status, time.perf_counter() - started, content)
        return status, headers, content


async def _body(receive: Receive, most: int) -> bytes | None:
    """The request's body; None if it is too large."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > most:
            return None
        if not message.get("more_body"):
            return bytes(body)


async def _send(send: Send, status: int, headers: _Headers, content: bytes) -> None:
    own = [(key, value) for key, value in headers if key != b"content-length"]
    own.append((b"content-length", str(len(content)).encode()))
    await send({"type": "http.response.start", "status": status, "headers": own})
    await send({"type": "http.response.body", "body": content})


def _scores(content: bytes) -> np.ndarray:
    """The scores in an answer of `/rank` or `/infer`; none if it is in another form than JSON."""
    try:
        answer = orjson.loads(content)
        if "outputs" in answer:
            found = [score for output in answer["outputs"] for score in output["data"]]
        else:
            found = answer.get("scores") or [entry["score"] for entry in answer.get("items") or ()]
        scores = np.asarray(found, dtype=np.float64).reshape(-1)
    except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, AttributeError):
        return np.empty(0)
    return scores[np.isfinite(scores)]
