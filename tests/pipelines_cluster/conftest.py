"""A Kubeflow Pipelines API server on loopback: the v2beta1 endpoints that submitting and scheduling need, kept in memory."""

import json
import re
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlparse

import pytest

API = "/apis/v2beta1"


@dataclass
class KfpServer:
    """What the server holds, what it was asked, and how it is to behave."""

    multi_user: bool = False
    token: str = ""
    status: int = 0
    page: str = ""
    refuse_schedules: bool = False
    page_size: int = 100
    pipelines: list[dict[str, Any]] = field(default_factory=list)
    versions: list[dict[str, Any]] = field(default_factory=list)
    experiments: list[dict[str, Any]] = field(default_factory=list)
    runs: list[dict[str, Any]] = field(default_factory=list)
    recurring_runs: list[dict[str, Any]] = field(default_factory=list)
    requests: list[tuple[str, str, Any]] = field(default_factory=list)
    host: str = ""

    def enabled(self) -> list[dict[str, Any]]:
        return [job for job in self.recurring_runs if job["status"] == "ENABLED"]

    def asked(self, method: str, path: str) -> list[Any]:
        return [body for verb, where, body in self.requests if verb == method and where == API + path]

    def answer(self, method: str, path: str, query: dict[str, str], body: Any) -> tuple[int, Any]:
        route = path.removeprefix(API)
        if route == "/healthz":
            return 200, {"multi_user": self.multi_user}
        if method == "GET":
            return self._list(route, query)
        if route == "/pipelines":
            return 200, _put(self.pipelines, "pipeline_id", body)
        if route == "/pipelines/upload_version":
            version = {"display_name": query["name"], "pipeline_id": query["pipelineid"], "content": body}
            return 200, {**_put(self.versions, "pipeline_version_id", version), "content": None}
        if route == "/experiments":
            return 200, _put(self.experiments, "experiment_id", body)
        if route == "/runs":
            return 200, _put(self.runs, "run_id", body)
        if route == "/recurringruns":
            if self.refuse_schedules:
                return 400, {"error": "no", "message": "the schedule is refused", "code": 3}
            return 200, _put(self.recurring_runs, "recurring_run_id", {**body, "status": f"{body['mode']}D"})
        if match := re.fullmatch(r"/recurringruns/(.+):(enable|disable)", route):
            (job,) = [job for job in self.recurring_runs if job["recurring_run_id"] == match[1]]
            job["status"] = f"{match[2].upper()}D"
            return 200, {}
        return 404, {"message": f"no {method} {route}"}

    def _list(self, route: str, query: dict[str, str]) -> tuple[int, Any]:
        rows, kind = {
            "/pipelines": (self.pipelines, "pipelines"),
            "/experiments": (self.experiments, "experiments"),
            "/recurringruns": (self.recurring_runs, "recurringRuns"),
        }.get(route, (None, ""))
        if match := re.fullmatch(r"/pipelines/([^/]+)/versions", route):
            rows, kind = [row for row in self.versions if row["pipeline_id"] == match[1]], "pipeline_versions"
        if rows is None:
            return 404, {"message": f"no GET {route}"}
        for predicate in json.loads(query.get("filter") or "{}").get("predicates", []):
            assert predicate["operation"] in {1, "EQUALS"}
            value = predicate.get("stringValue", predicate.get("string_value"))
            rows = [row for row in rows if row[predicate["key"]] == value]
        if query.get("namespace"):
            rows = [row for row in rows if row.get("namespace") in {None, query["namespace"]}]
        start = int(query.get("page_token") or 0)
        end = start + self.page_size
        shown = [{name: value for name, value in row.items() if name != "content"} for row in rows[start:end]]
        return 200, {kind: shown, "next_page_token": str(end) if end < len(rows) else ""}


def _put(rows: list[dict[str, Any]], key: str, body: dict[str, Any]) -> dict[str, Any]:
    row = {**body, key: str(uuid.uuid4())}
    rows.append(row)
    return row


class _Handler(BaseHTTPRequestHandler):
    state: KfpServer

    def do_GET(self) -> None:
        self._handle("GET")

    def do_POST(self) -> None:
        self._handle("POST")

    def _handle(self, method: str) -> None:
        url = urlparse(self.path)
        raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        is_json = "json" in self.headers.get("Content-Type", "")
        body = json.loads(raw) if raw and is_json else raw
        self.state.requests.append((method, url.path, body))
        if self.state.page and url.path.startswith(API):
            self._send(302, b"", "text/html", {"Location": "/login"})
        elif self.state.page:
            self._send(200, self.state.page.encode(), "text/html")
        elif self.state.token and self.headers.get("authorization") != f"Bearer {self.state.token}":
            self._send(401, b'{"error": "who are you"}')
        elif self.state.status:
            self._send(self.state.status, b'{"error_message": "it is broken"}')
        else:
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            status, answer = self.state.answer(method, url.path, query, body)
            self._send(status, json.dumps(answer).encode())

    def _send(self, status: int, content: bytes, kind: str = "application/json", headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def kfp_server(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> Iterator[KfpServer]:
    from kfp import Client

    for name in ("ELEC_KFP_TOKEN", "ELEC_KFP_NAMESPACE", "KF_PIPELINES_UI_ENDPOINT", "KF_PIPELINES_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Client, "_LOCAL_KFP_CONTEXT", str(tmp_path / "context.json"))
    state = KfpServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"state": state}))
    state.host = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield state
    server.shutdown()
    server.server_close()
    thread.join()
