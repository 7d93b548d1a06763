"""The OpenAPI document of what a server answers now: with the fields of its bundle, and its golden records as examples."""

from typing import Any

from elec.serving.golden import Golden
from elec.serving.http.openapi_schemas import answer_schemas, infer_schema, rank_schemas
from elec.serving.http.protocol import MODEL_NAME, infer_request
from elec.serving.service import Service, Serving
from elec.spec.fields import Entity
from elec.spec.serving import ServingSpec
from elec.version import code_version

_JSON = "application/json"
_BINARY = """Tensors may also come, and the scores go, in the protocol's binary form: the header
`Inference-Header-Content-Length` says how many bytes of the body are JSON, and tensors with `parameters.binary_data_size` have
their data in the bytes behind it. `parameters.binary_data_output: true` asks for the scores in that form."""

_ERRORS = {
    400: "The request is not what this document describes.",
    401: "The bearer token is missing, or another one.",
    404: "This version is not served here.",
    408: "The body did not arrive in time.",
    413: "The body is too large.",
    422: "The parts of the request do not fit each other, or are too many.",
    429: "As many requests as may wait are waiting.",
    500: "The server failed, and its log says why.",
    503: "There is no answer in time, or the feature store does not answer.",
}
_BUSY = (429, 503)


class Described:
    """Writes the document.

    Args:
        serving: What answers.
        settings: The bounds.
        closed: Whether requests have to carry a token.
    """

    def __init__(self, serving: Serving, settings: ServingSpec, *, closed: bool) -> None:
        self._serving = serving
        self._settings = settings
        self._closed = closed
        self._written: tuple[Service, dict[str, Any]] | None = None

    def document(self) -> dict[str, Any]:
        """The document, in OpenAPI 3.1."""
        service = self._serving.current
        if self._written is None or self._written[0] is not service:
            self._written = (service, self._write(service))
        return self._written[1]

    def _write(self, service: Service) -> dict[str, Any]:
        manifest, rows = service.manifest, self._settings.rows
        model, version = f"/v2/models/{MODEL_NAME}", [_version(service)]
        infer = self._post("Score records", _BINARY, infer_schema(manifest, rows), _infer_example(service), "Scores")
        ranking = "Score the candidates of a user, whose features are looked up in Feast."
        rank = self._post("Rank items for a user", ranking, rank_schemas(manifest, rows), _rank_example(service), "Ranked")
        document: dict[str, Any] = {
            "openapi": "3.1.0",
            "info": {"title": "elec", "version": code_version(), "description": f"Answers with the bundle {service.version}."},
            "paths": {
                "/rank": {"post": rank},
                f"{model}/infer": {"post": infer},
                f"{model}/versions/{{version}}/infer": {"post": _of_version(infer), "parameters": version},
                "/v2/health/live": {"get": self._get("Whether the process lives", "Live", open_=True)},
                "/v2/health/ready": {"get": self._get("Whether requests are answered", "Ready", (503,), open_=True)},
                "/v2": {"get": self._get("The server", "Server")},
                model: {"get": self._get("The model: what it takes and gives", "Model")},
                f"{model}/ready": {"get": self._get("Whether the model answers", "ModelReady", (503,))},
                f"{model}/versions/{{version}}": {
                    "get": self._get("One version of the model", "Model", (404,)),
                    "parameters": version,
                },
                f"{model}/versions/{{version}}/ready": {
                    "get": self._get("Whether a version answers", "ModelReady", (404, 503)),
                    "parameters": version,
                },
                "/metrics": {"get": self._metrics()},
            },
            "components": {"schemas": answer_schemas()},
        }
        if self._closed:
            document["components"]["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            document["security"] = [{"token": []}]
        return document

    def _get(self, summary: str, schema: str, errors: tuple[int, ...] = (), *, open_: bool = False) -> dict[str, Any]:
        operation: dict[str, Any] = {"summary": summary, "responses": self._responses(schema, errors, open_=open_)}
        if 503 in errors and schema != "Error":
            # Not ready is an answer, not an error.
            operation["responses"]["503"] = {"description": "It does not.", "content": _content(schema)}
        if open_ and self._closed:
            operation["security"] = []
        return operation

    def _post(self, summary: str, text: str, body: dict[str, Any], example: dict[str, Any], schema: str) -> dict[str, Any]:
        content = {_JSON: {"schema": body, "examples": example}}
        return {
            "summary": summary,
            "description": text,
            "requestBody": {"required": True, "content": content},
            "responses": self._responses(schema, (400, 408, 413, 422, *_BUSY)),
        }

    def _metrics(self) -> dict[str, Any]:
        text = {"text/plain": {"schema": {"type": "string"}}}
        return {
            "summary": "Figures for Prometheus",
            "responses": self._responses("", ()) | {"200": {"description": "The figures.", "content": text}},
        }

    def _responses(self, schema: str, errors: tuple[int, ...], *, open_: bool = False) -> dict[str, Any]:
        responses: dict[str, Any] = {"200": {"description": "The answer.", "content": _content(schema)}} if schema else {}
        closed = (401,) if self._closed and not open_ else ()
        for status in sorted({*closed, *errors, 500}):
            responses[str(status)] = {"description": _ERRORS[status], "content": _content("Error")}
            if status in _BUSY and len(errors) > 2:
                header = {"description": "Seconds after which to try again.", "schema": {"type": "integer", "minimum": 0}}
                responses[str(status)]["headers"] = {"Retry-After": header}
        return responses


def _content(schema: str) -> dict[str, Any]:
    return {_JSON: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}


def _version(service: Service) -> dict[str, Any]:
    return {
        "name": "version",
        "in": "path",
        "required": True,
        "description": "A bundle's id: of the one that answers, or of the one before.",
        "schema": {"type": "string", "minLength": 1},
        "example": service.version,
    }


def _of_version(operation: dict[str, Any]) -> dict[str, Any]:
    missing = {"description": _ERRORS[404], "content": _content("Error")}
    return operation | {"responses": operation["responses"] | {"404": missing}}


def _infer_example(service: Service) -> dict[str, Any]:
    golden = _golden(service)
    more = (None if values is None else values[:2] for values in (golden.vectors, golden.llm))
    return {"golden": {"value": infer_request(golden.records.slice(0, 2), service.manifest.fields, *more)}}


def _rank_example(service: Service) -> dict[str, Any]:
    manifest = service.manifest
    rows = _golden(service).records.slice(0, 10).to_pylist()
    user = next((row[manifest.user] for row in rows if row[manifest.user]), "1")
    items = list(dict.fromkeys(row[manifest.item] for row in rows if row[manifest.item])) or ["1"]
    context = {field.name: rows[0][field.name] for field in manifest.fields if field.of is Entity.CONTEXT} if rows else {}
    asked = {"user": user, "context": context}
    return {"sorted": {"value": asked | {"items": items}}, "in the given order": {"value": asked | {"candidates": items}}}


def _golden(service: Service) -> Golden:
    manifest = service.manifest
    return Golden.load(service.bundle.golden, manifest.fields, manifest.vector_size, manifest.llm_size)
