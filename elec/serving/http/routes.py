"""The routes: each reads a request, has the work done, and writes the answer."""

import asyncio
import time
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.types import Scope

from elec.serving.http.admission import Admission, Workroom, too_late
from elec.serving.http.front import Answer, response_of
from elec.serving.http.plans import Plan, Planner, Reply, Told, header, told
from elec.serving.http.protocol import MODEL_NAME, Records, infer_response, model_metadata, parse_infer, parse_json
from elec.serving.http.protocol_binary import HEADER_LENGTH, split_body
from elec.serving.http.protocol_errors import RequestError, too_large
from elec.serving.http.protocol_rank import parse_rank, rank_response
from elec.serving.predictor import FeatureLookupError, Predictor
from elec.serving.ranker import Ranked
from elec.serving.service import Service, Serving
from elec.serving.telemetry.metrics import Metrics
from elec.serving.telemetry.prediction_log import PredictionLog
from elec.spec.serving import ServingSpec
from elec.version import code_version

_MODEL = f"/v2/models/{MODEL_NAME}"
_VERSION = f"{_MODEL}/versions/{{version}}"
# Up to here a request is scored on the event loop; more rows would hold it up for milliseconds.
_ROWS_HERE = 256
# Rows a run of the network, which bounds the memory of its activations.
_ROWS_A_RUN = 8192


class Routes:
    """Answers requests.

    Args:
        serving: What answers.
        settings: The bounds.
        admission: The house.
        workroom: Where the work is done.
        metrics: Counts what happens.
        prediction_log: Takes a share of the predictions; None for no log.
    """

    def __init__(
        self,
        serving: Serving,
        settings: ServingSpec,
        admission: Admission,
        workroom: Workroom,
        metrics: Metrics,
        prediction_log: PredictionLog | None,
    ) -> None:
        self._serving = serving
        self._settings = settings
        self._admission = admission
        self._workroom = workroom
        self._metrics = metrics
        self._prediction_log = prediction_log

    def planners(self) -> Mapping[str, Planner]:
        """What reads the requests that are asked most, by path."""
        return {"/rank": self._rank, f"{_MODEL}/infer": self._infer}

    def table(self) -> dict[str, tuple[str, Answer]]:
        """Method and answer by path; what is asked most stands first."""
        answers: dict[str, tuple[str, Answer]] = {
            **{path: ("POST", self._bounded(planner)) for path, planner in self.planners().items()},
            f"{_VERSION}/infer": ("POST", self._bounded(self._infer)),
            "/v2/health/live": ("GET", self._live),
            "/v2/health/ready": ("GET", self._ready),
            "/v2": ("GET", self._server),
            _MODEL: ("GET", self._model),
            f"{_MODEL}/ready": ("GET", self._model_ready),
            _VERSION: ("GET", self._model),
            f"{_VERSION}/ready": ("GET", self._model_ready),
            "/metrics": ("GET", self._figures),
        }
        return {path: (method, _named(path, answer)) for path, (method, answer) in answers.items()}

    def _rank(self, scope: Scope, body: bytes) -> Plan:
        service, about = self._serving.current, told(scope)
        asked = parse_rank(parse_json(body), service.manifest.fields, self._settings.rows)
        about.bundle, about.request = service.version, asked.id or _request_id(scope)
        ranker = service.ranker
        if service.manifest.network != "vanilla":
            raise RequestError(f"a {service.manifest.network} network does not rank; score its records with /infer", 422)
        if ranker is None:
            raise FeatureLookupError(
                "ranking looks features up in Feast, and this server was started without it; start it with --feast FOLDER"
            )
        recorded = self._prediction_log is not None and self._prediction_log.sampled()

        def answer(ranked: Ranked) -> Reply:
            about.seconds = dict(ranked.seconds)
            self._metrics.observe_rank(
                ranked.kept, len(asked.items), ranked.unknown_user, ranked.unknown_items, bool(ranked.degraded)
            )
            self._metrics.observe_scores(ranked.scores_N, service.version)
            if ranked.records is not None:
                self._log(about, ranked.records, ranked.scores_N, degraded=bool(ranked.degraded))
            return Reply(rank_response(asked, ranked, service.version))

        return Plan(True, lambda: ranker.rank(asked.user, asked.items, asked.context, recorded=recorded), answer)

    def _infer(self, scope: Scope, body: bytes) -> Plan:
        service, about = self._service(scope), told(scope)
        predictor, manifest = service.predictor, service.manifest
        about.bundle = service.version
        content_part, tail = split_body(body, header(scope, HEADER_LENGTH.encode()))
        content = parse_json(content_part)
        records = parse_infer(content, manifest.fields, self._settings.rows, manifest.vector_size, manifest.llm_size, tail)
        about.request = content.get("id") or _request_id(scope)
        look_up = manifest.vectors is not None and records.vectors_N2V is None

        def answer(result: tuple[np.ndarray, dict[str, float]]) -> Reply:
            scores_N, about.seconds = result
            self._metrics.observe_scores(scores_N, service.version)
            if self._prediction_log is not None and self._prediction_log.sampled():
                self._log(about, records.table, scores_N)
            made, length = infer_response(content, scores_N, service.version)
            if length is None:
                return Reply(made)
            return Reply(made, kind=b"application/octet-stream", headers=((HEADER_LENGTH.encode(), str(length).encode()),))

        return Plan(look_up or records.rows > _ROWS_HERE, lambda: score(predictor, records, look_up=look_up), answer)

    async def _live(self, _: Request) -> Response:
        return _json({"live": True})

    async def _ready(self, _: Request) -> Response:
        ready = not self._admission.draining
        return _json({"ready": ready}, 200 if ready else 503)

    async def _server(self, _: Request) -> Response:
        return _json({"name": "elec", "version": code_version(), "extensions": ["binary_tensor_data"]})

    async def _model(self, request: Request) -> Response:
        service = self._service(request.scope)
        versions = [service.version]
        if "version" not in request.path_params and self._serving.previous is not None:
            versions.append(self._serving.previous.version)
        return _json(model_metadata(service.manifest, versions))

    async def _model_ready(self, request: Request) -> Response:
        ready = not self._admission.draining
        return _json(
            {"name": MODEL_NAME, "version": self._service(request.scope).version, "ready": ready}, 200 if ready else 503
        )

    async def _figures(self, _: Request) -> Response:
        # As text it is made from what is kept; a large server's takes a millisecond.
        return Response(self._metrics.render(), headers={"Content-Type": self._metrics.content_type})

    def _log(self, about: Told, records: pa.Table, scores_N: np.ndarray, *, degraded: bool = False) -> None:
        assert self._prediction_log is not None
        request = about.request or uuid.uuid4().hex
        self._prediction_log.offer(request, records, scores_N, about.bundle, datetime.now(UTC), degraded=degraded)

    def _service(self, scope: Scope) -> Service:
        """What a request asks for: the current service, or the version in its path."""
        version = scope.get("path_params", {}).get("version")
        if version is None:
            return self._serving.current
        service = self._serving.find(version)
        if service is None:
            served = [kept.version for kept in (self._serving.current, self._serving.previous) if kept is not None]
            raise RequestError(f"version '{version[:100]}' is not served here; versions: {', '.join(served)}", 404)
        return service

    def _bounded(self, planner: Planner) -> Answer:
        """An answer within the bounds of the house: its queue, its time, and the size of a body."""

        async def bounded(request: Request) -> Response:
            read = False
            with self._admission:
                try:
                    async with asyncio.timeout(self._settings.timeout_seconds):
                        body = await _body(request, self._settings.body_bytes)
                        read = True
                        self._workroom.check()
                        plan = planner(request.scope, body)
                        room = self._workroom.aside if plan.aside else self._workroom.here
                        return response_of(plan.answer(await room(plan.work)))
                except TimeoutError:
                    seconds = self._settings.timeout_seconds
                    if read:
                        raise too_late(seconds) from None
                    raise RequestError(f"the body did not arrive within {seconds:g} seconds; send it faster", 408) from None

        return bounded


def score(predictor: Predictor, records: Records, *, look_up: bool) -> tuple[np.ndarray, dict[str, float]]:
    """Scores the records of a request.

    Args:
        predictor: Of the bundle.
        records: Read.
        look_up: Whether their text vectors are looked up first.

    Returns:
        float32 [N], and the seconds of each part of the work.
    """
    rows = records.rows
    scores_N = np.empty(rows, dtype=np.float32)
    seconds = {"look_up": 0.0, "encode": 0.0, "model": 0.0} if look_up else {"encode": 0.0, "model": 0.0}
    for start in range(0, rows, _ROWS_A_RUN):
        part = records if rows <= _ROWS_A_RUN else records.part(start, start + _ROWS_A_RUN)
        begun = time.perf_counter()
        vectors_P2V = part.vectors_N2V
        if look_up:
            vectors_P2V = predictor.look_up(part.columns)
            seconds["look_up"] += time.perf_counter() - begun
            begun = time.perf_counter()
        slots_PS = predictor.encode(part.columns)
        encoded = time.perf_counter()
        scores_N[start : start + _ROWS_A_RUN] = predictor.run(slots_PS, vectors_P2V, part.llm_NL)
        seconds["encode"] += encoded - begun
        seconds["model"] += time.perf_counter() - encoded
    return scores_N, seconds


def _named(path: str, answer: Answer) -> Answer:
    """An answer that tells its route."""

    async def named(request: Request) -> Response:
        told(request.scope).route = path
        return await answer(request)

    return named


async def _body(request: Request, most: int) -> bytes:
    """The request's body, as long as it is within the bound; a longer one is not read to its end."""
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > most:
        raise too_large(most)
    parts: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await request.receive()
        if message["type"] == "http.disconnect":
            raise ClientDisconnect
        part = message.get("body", b"")
        size += len(part)
        if size > most:
            raise too_large(most)
        parts.append(part)
        more = message.get("more_body", False)
    return parts[0] if len(parts) == 1 else b"".join(parts)


def _request_id(scope: Scope) -> str:
    return (header(scope, b"x-request-id") or "")[:128]


def _json(content: Any, status: int = 200) -> Response:
    return response_of(Reply(orjson.dumps(content), status))
