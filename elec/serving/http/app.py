"""The application: which path is answered by what, and how failures are told.

Requests are read and answered as bytes, and every bound is checked before any work is done. What a client gets wrong is
answered with one sentence: `{"error": "..."}`.
"""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from elec.errors import InputError
from elec.features.store_config import OnlineStoreError
from elec.serving.http.admission import Admission, RefusedError, Workroom
from elec.serving.http.auth import Token
from elec.serving.http.front import Excuse, Front
from elec.serving.http.openapi import Described
from elec.serving.http.protocol_errors import RequestError
from elec.serving.http.routes import Routes
from elec.serving.predictor import FeatureLookupError
from elec.serving.service import Serving
from elec.serving.telemetry.logs import AccessLog
from elec.serving.telemetry.metrics import Metrics
from elec.serving.telemetry.prediction_log import PredictionLog
from elec.spec.serving import ServingSpec
from elec.version import code_version

log = logging.getLogger("elec.serving")

#: Seconds after which a client that was turned away may try again.
RETRY_AFTER = 1


def create_app(
    serving: Serving,
    settings: ServingSpec | None = None,
    *,
    admission: Admission | None = None,
    metrics: Metrics | None = None,
    prediction_log: PredictionLog | None = None,
    access: AccessLog | None = None,
) -> Front:
    """Makes the application.

    Args:
        serving: What answers.
        settings: The bounds; the defaults when left out.
        admission: The house; its own when left out.
        metrics: Counts what happens; its own when left out.
        prediction_log: Takes a share of the predictions; None for no log.
        access: Takes a line of a share of the requests; none when left out.

    Raises:
        InputError: If the settings name a token that is not there.
    """
    settings = settings or ServingSpec()
    admission = admission or Admission(settings.queue)
    metrics = metrics or Metrics()
    token = Token.of(settings)
    metrics.watch_in_flight(lambda: admission.inside)
    if prediction_log is not None:
        metrics.watch_prediction_log(prediction_log.figures)
    workroom = Workroom(settings.queue)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        workroom.close()

    app = FastAPI(title="elec", version=code_version(), docs_url=None, redoc_url=None, lifespan=lifespan)
    routes = Routes(serving, settings, admission, workroom, metrics, prediction_log)
    table = routes.table()
    for path, (method, answer) in table.items():
        app.add_route(path, answer, methods=[method], include_in_schema=False)
    described = Described(serving, settings, closed=bool(token))
    app.openapi = described.document  # type: ignore[method-assign]
    excuses = _excuses(metrics)
    for kind, excuse in excuses:
        app.add_exception_handler(kind, excuse)
    return Front(
        app,
        admission=admission,
        token=token,
        metrics=metrics,
        access=access or AccessLog(),
        direct={(method, path): answer for path, (method, answer) in table.items() if "{" not in path},
        excuses=excuses,
    )


def _excuses(metrics: Metrics) -> list[tuple[type[Exception], Excuse]]:
    """What exceptions are answered with, the most special ones first."""

    def answer(message: str, status: int, headers: Any = None) -> Response:
        content = orjson.dumps({"error": message})
        return Response(content, status_code=status, media_type="application/json", headers=headers)

    async def refusal(_: Request, error: Exception) -> Response:
        assert isinstance(error, RefusedError)
        metrics.refused(error.kind)
        return answer(str(error), error.status, {"Retry-After": str(RETRY_AFTER)})

    async def request_error(_: Request, error: Exception) -> Response:
        metrics.error("request")
        return answer(str(error), error.status if isinstance(error, RequestError) else 400)

    async def lookup_error(_: Request, error: Exception) -> Response:
        log.error("%s", error)
        metrics.error("store")
        return answer(str(error), 503, {"Retry-After": str(RETRY_AFTER)})

    async def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        # The headers say which methods there are.
        return answer(f"{request.method} {request.url.path}: {str(error.detail).lower()}", error.status_code, error.headers)

    return [
        (RefusedError, refusal),
        (FeatureLookupError, lookup_error),
        (OnlineStoreError, lookup_error),
        (InputError, request_error),
        (HTTPException, http_error),
    ]
