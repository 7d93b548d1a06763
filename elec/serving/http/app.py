"""The application: which path is answered by what, and how failures are told.

Requests are read and answered as bytes, and every bound is checked before any work is done. What a client gets wrong is
answered with one sentence: `{"error": "..."}`.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from elec.serving.http.admission import Admission, Workroom
from elec.serving.http.auth import Token
from elec.serving.http.excuses import EXCUSED, Excuses, refusal
from elec.serving.http.front import Front, response_of
from elec.serving.http.lane import Lane
from elec.serving.http.ledger import Ledger
from elec.serving.http.openapi import Described
from elec.serving.http.routes import Routes
from elec.serving.service import Serving
from elec.serving.telemetry.logs import AccessLog
from elec.serving.telemetry.metrics import Metrics
from elec.serving.telemetry.prediction_log import PredictionLog
from elec.spec.serving import ServingSpec
from elec.version import code_version


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
    excuses, ledger = Excuses(metrics), Ledger(metrics, access or AccessLog())

    async def excuse(_: Request, error: Exception) -> Response:
        reply = excuses.reply(error)
        assert reply is not None
        return response_of(reply)

    for kind in EXCUSED:
        app.add_exception_handler(kind, excuse)
    app.add_exception_handler(HTTPException, _http_error)
    return Front(
        app,
        admission=admission,
        token=token,
        excuses=excuses,
        ledger=ledger,
        direct={(method, path): answer for path, (method, answer) in table.items() if "{" not in path},
        lane=Lane(
            routes.planners(),
            settings=settings,
            admission=admission,
            workroom=workroom,
            token=token,
            excuses=excuses,
            ledger=ledger,
        ),
    )


async def _http_error(request: Request, error: Exception) -> Response:
    """What the framework says of paths and methods; its headers say which methods there are."""
    assert isinstance(error, HTTPException)
    response = response_of(refusal(f"{request.method} {request.url.path}: {str(error.detail).lower()}", error.status_code))
    headers: Any = error.headers or {}
    response.headers.update(headers)
    return response
