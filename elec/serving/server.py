"""The server: Open Inference Protocol V2 and `/rank`, on FastAPI and uvicorn.

Requests are read and answered as JSON bytes, and every bound is checked before any work is done. What a client gets wrong
is answered with one sentence: `{"error": "..."}`.
"""

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, TypeVar

import orjson
import uvicorn
from fastapi import FastAPI, Request, Response
from starlette.exceptions import HTTPException

from elec.errors import InputError
from elec.features.store_config import OnlineStoreError
from elec.serving.predictor import FeatureLookupError, Predictor
from elec.serving.protocol import (
    MODEL_NAME,
    RequestError,
    infer_response,
    model_metadata,
    parse_infer,
    parse_json,
)
from elec.version import code_version

log = logging.getLogger("elec.serving")

T = TypeVar("T")


@dataclass(frozen=True)
class Limits:
    """What a request may cost.

    Attributes:
        body: Bytes.
        rows: Rows of an inference request, or candidates of a ranking request.
    """

    body: int = 8 * 2**20
    rows: int = 1000


def create_app(predictor: Predictor, *, limits: Limits = Limits()) -> FastAPI:
    """Makes the application.

    Args:
        predictor: Loaded, and warm.
        limits: What a request may cost.
    """
    app = FastAPI(title="elec", version=code_version(), docs_url=None, redoc_url=None)
    manifest = predictor.manifest
    # Look-ups wait, and must not hold up the event loop; one thread, for threads do not share a store.
    looking = ThreadPoolExecutor(max_workers=1, thread_name_prefix="look-up")

    async def in_order(work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(looking, work, *arguments)

    @app.get("/v2/health/live")
    async def live() -> Response:
        return _json({"live": True})

    @app.get("/v2/health/ready")
    async def ready() -> Response:
        return _json({"ready": True})

    @app.get("/v2")
    async def server_metadata() -> Response:
        return _json({"name": "elec", "version": code_version(), "extensions": []})

    @app.get(f"/v2/models/{MODEL_NAME}")
    async def metadata() -> Response:
        return _json(model_metadata(manifest))

    @app.get(f"/v2/models/{MODEL_NAME}/ready")
    async def model_ready() -> Response:
        return _json({"name": MODEL_NAME, "ready": True})

    @app.post(f"/v2/models/{MODEL_NAME}/infer")
    async def infer(request: Request) -> Response:
        content = parse_json(await _body(request, limits.body))
        records = parse_infer(content, manifest.fields, limits.rows, manifest.vector_size)
        if manifest.vectors is not None and records.vectors_N2V is None:
            scores = await in_order(predictor.score, records.table)
        else:
            scores = predictor.score(*records)
        return Response(infer_response(content, scores, manifest.bundle_id), media_type="application/json")

    @app.post("/rank")
    async def rank(request: Request) -> Response:
        content = parse_json(await _body(request, limits.body))
        user, items, context = _parse_rank(content, limits.rows)
        ranked = await in_order(predictor.rank, user, items, context)
        scored = [{"item": item, "score": score} for item, score in ranked]
        return _json({"bundle": manifest.bundle_id, "items": scored})

    _answer_errors(app)
    return app


def serve(
    predictor: Predictor,
    listener: socket.socket,
    *,
    limits: Limits = Limits(),
    ready: Callable[[], None] | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT, and lets requests in progress end.

    Args:
        predictor: Loaded, and warm.
        listener: A bound socket.
        limits: What a request may cost.
        ready: Called when requests are answered.
    """
    config = uvicorn.Config(
        create_app(predictor, limits=limits),
        log_level="warning",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=10,
    )
    server = _Server(config, ready)
    server.run(sockets=[listener])


def bind(host: str, port: int) -> socket.socket:
    """A socket of one's own at an address; it accepts nothing until the server listens.

    Args:
        host: A name or an address; `127.0.0.1` keeps strangers out.
        port: 0 for any that is free.

    Raises:
        InputError: If the address is not ours or the port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except BaseException:
            listener.close()
            raise
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{host}:{port}: cannot be listened on ({reason}); give another --host or --port") from None
    return listener


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None] | None) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._ready is not None and not self.should_exit:
            self._ready()


async def _body(request: Request, most: int) -> bytes:
    """The request's body, as long as it is within the bound; a longer one is not read to its end."""
    too_large = RequestError(f"the body is larger than {most:,} bytes; send fewer rows at once", status=413)
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most:
        raise too_large
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > most:
            raise too_large
    return bytes(body)


def _parse_rank(content: Mapping[str, Any], most_items: int) -> tuple[str, list[str], dict[str, Any]]:
    unknown = sorted(set(content) - {"user", "items", "context"})
    if unknown:
        raise RequestError(f"'{unknown[0]}' is not known here; send user, items and context")
    items, context = content.get("items"), content.get("context")
    if not isinstance(items, list):
        raise RequestError("'items' is missing or no list; send the keys of the items to rank")
    if len(items) > most_items:
        raise RequestError(f"'items' has {len(items):,} candidates; send at most {most_items:,} at once", status=422)
    if context is not None and not isinstance(context, dict):
        raise RequestError("'context' is not an object; send {field: value}, or leave it out")
    return _key("user", content.get("user")), [_key("items", item) for item in items], context or {}


def _key(name: str, value: Any) -> str:
    if isinstance(value, str) and value:
        return value
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    raise RequestError(f"'{name}' holds {value!r}, which is no key; send text or a whole number")


def _answer_errors(app: FastAPI) -> None:
    async def request_error(_: Request, error: Exception) -> Response:
        return _json({"error": str(error)}, error.status if isinstance(error, RequestError) else 400)

    async def lookup_error(_: Request, error: Exception) -> Response:
        log.error("%s", error)
        return _json({"error": str(error)}, 503)

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        return _json({"error": f"{request.method} {request.url.path}: {str(error.detail).lower()}"}, error.status_code)

    async def unexpected(request: Request, error: Exception) -> Response:
        log.error("%s %s failed", request.method, request.url.path, exc_info=error)
        return _json({"error": "the server failed on this request; its log says why"}, 500)

    handlers: list[tuple[type[Exception], Callable[[Request, Exception], Awaitable[Response]]]] = [
        (FeatureLookupError, lookup_error),
        (OnlineStoreError, lookup_error),
        (InputError, request_error),
        (HTTPException, http_error),
        (Exception, unexpected),
    ]
    for kind, handler in handlers:
        app.add_exception_handler(kind, handler)


def _json(content: Any, status: int = 200) -> Response:
    return Response(orjson.dumps(content), status_code=status, media_type="application/json")
