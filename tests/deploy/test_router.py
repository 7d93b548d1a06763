"""The proxy before two servers of which each does as it is told."""

import socket
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import orjson
import pytest

from elec.deploy.router import Router
from elec.serving.http.server import bind


class Backend:
    """A server whose answers are set."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.status = 200
        self.seconds = 0.0
        self.hang_up = False
        self.content: Any = {"bundle": name, "items": [{"item": "a", "score": 0.75}, {"item": "b", "score": 0.25}]}
        self.seen: list[tuple[str, str, dict[str, str], bytes]] = []
        self.url = ""
        self.released = threading.Event()


@contextmanager
def running(backend: Backend) -> Iterator[Backend]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # One packet an answer: two wait for each other.
        wbufsize = -1

        def answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            backend.seen.append((self.command, self.path, {key.lower(): value for key, value in self.headers.items()}, body))
            backend.released.wait(backend.seconds)
            if backend.hang_up:
                self.close_connection = True
                self.connection.shutdown(socket.SHUT_RDWR)
                return
            content = orjson.dumps(backend.content)
            self.send_response(backend.status)
            self.send_header("Content-Type", "application/json")
            self.send_header("X-Served-By", backend.name)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = answer

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    backend.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield backend
    finally:
        backend.released.set()
        server.shutdown()
        server.server_close()


@pytest.fixture
def pair() -> Iterator[tuple[Backend, Backend]]:
    with running(Backend("champion")) as champion, running(Backend("challenger")) as challenger:
        yield champion, challenger


@contextmanager
def routed(pair: tuple[Backend, Backend], *, share: int = 30, timeout: float = 5.0) -> Iterator[tuple[Router, httpx.Client]]:
    champion, challenger = pair
    with ExitStack() as stack:
        listener = stack.enter_context(bind("127.0.0.1", 0))
        router = Router(listener, champion.url, challenger.url, share=share, body_bytes=4096, timeout=timeout)
        stack.enter_context(router)
        yield router, stack.enter_context(httpx.Client(base_url=router.url, trust_env=False, timeout=10))


def test_the_share_of_requests_for_scores_goes_to_the_challenger(pair: tuple[Backend, Backend]) -> None:
    with routed(pair) as (router, client):
        by = Counter(client.post("/rank", json={"user": i}).headers["x-served-by"] for i in range(400))
        assert 80 <= by["challenger"] <= 160
        of_champion, of_challenger = router.figures()
        assert (of_champion.requests, of_challenger.requests) == (by["champion"], by["challenger"])
        assert of_challenger.scores.total == 2 * by["challenger"]
        assert (of_champion.errors, of_challenger.errors) == (0, 0)
        assert of_challenger.latency.total == by["challenger"]
        for path in ("/v2/health/ready", "/v2/models/elec", "/metrics"):
            assert client.get(path).headers["x-served-by"] == "champion", "nothing is split but requests for scores"
        assert router.figures()[0].requests == of_champion.requests


def test_a_request_arrives_as_it_was_sent_and_so_does_the_answer(pair: tuple[Backend, Backend]) -> None:
    champion, _ = pair
    with routed(pair, share=0) as (_, client):
        headers = {"Authorization": "Bearer x", "X-Request-ID": "7", "Connection": "keep-alive"}
        response = client.post("/v2/models/elec/infer?a=b%20c&d", content=b'{"n": 1}', headers=headers)
        assert response.json() == champion.content
        assert response.headers["content-type"] == "application/json"
    ((method, path, sent, body),) = champion.seen
    assert (method, path, body) == ("POST", "/v2/models/elec/infer?a=b%20c&d", b'{"n": 1}')
    assert (sent["authorization"], sent["x-request-id"]) == ("Bearer x", "7")
    assert sent["host"] == champion.url.removeprefix("http://")


@pytest.mark.parametrize("how", ["status", "hang up", "hang", "gone"])
def test_what_the_challenger_fails_on_the_champion_answers(pair: tuple[Backend, Backend], how: str) -> None:
    _, challenger = pair
    challenger.status = 500 if how == "status" else 200
    challenger.hang_up = how == "hang up"
    challenger.seconds = 30 if how == "hang" else 0
    if how == "gone":
        with socket.create_server(("127.0.0.1", 0)) as taken:
            challenger.url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    with routed(pair, share=50, timeout=0.3) as (router, client):
        answers = [client.post("/rank", json={"user": i}) for i in range(12)]
        assert {(answer.status_code, answer.headers["x-served-by"]) for answer in answers} == {(200, "champion")}
        of_champion, of_challenger = router.figures()
        assert of_challenger.errors == of_challenger.requests > 0
        assert (of_champion.errors, of_champion.requests) == (0, 12)


def test_a_challenger_that_refuses_is_not_asked_twice(pair: tuple[Backend, Backend]) -> None:
    champion, challenger = pair
    challenger.status, challenger.content = 422, {"error": "no"}
    with routed(pair, share=50) as (router, client):
        statuses = Counter(client.post("/rank", json={}).status_code for _ in range(30))
        _, figures = router.figures()
        assert statuses[422] == figures.refused == figures.requests == len(challenger.seen)
        assert len(champion.seen) == 30 - statuses[422]
        challenger.status = 429
        before = figures.refused
        for _ in range(30):
            client.post("/rank", json={})
        assert router.figures()[1].refused == before, "too many requests is not a refusal of this one"


def test_with_both_gone_it_says_so(pair: tuple[Backend, Backend]) -> None:
    champion, challenger = pair
    champion.hang_up = challenger.hang_up = True
    with routed(pair, share=50) as (_, client):
        response = client.post("/rank", json={})
        assert response.status_code == 502
        assert "no server answers" in response.json()["error"]


def test_a_failure_of_both_is_the_first_ones_answer(pair: tuple[Backend, Backend]) -> None:
    champion, challenger = pair
    champion.status = challenger.status = 503
    with routed(pair, share=0) as (_, client):
        response = client.post("/rank", json={})
        assert (response.status_code, response.headers["x-served-by"]) == (503, "champion")


def test_the_share_changes_at_once(pair: tuple[Backend, Backend]) -> None:
    with routed(pair) as (router, client):
        for share, name in ((100, "challenger"), (0, "champion")):
            router.share = share
            assert {client.post("/rank", json={}).headers["x-served-by"] for _ in range(10)} == {name}
            assert client.get("/v2/models/elec").headers["x-served-by"] == name


def test_a_body_is_bounded(pair: tuple[Backend, Backend]) -> None:
    champion, _ = pair
    with routed(pair, share=0) as (_, client):
        assert client.post("/rank", content=b"x" * 4096).status_code == 200
        assert client.post("/rank", content=b"x" * 4097).status_code == 413
        assert len(champion.seen) == 1


def test_answers_in_another_form_have_no_scores(pair: tuple[Backend, Backend]) -> None:
    champion, _ = pair
    for content, scores in (
        ({"outputs": [{"name": "score", "data": [0.1, 0.2, 0.3]}]}, 3),
        ({"scores": [0.1, 0.2]}, 2),
        ({"items": [{"item": "a", "score": None}]}, 0),
        ({"outputs": "what?"}, 0),
        (["a"], 0),
    ):
        champion.content = content
        with routed(pair, share=0) as (router, client):
            assert client.post("/rank", json={}).status_code == 200
            assert router.figures()[0].scores.total == scores


def test_many_at_once(pair: tuple[Backend, Backend]) -> None:
    with routed(pair) as (router, client), ThreadPoolExecutor(16) as pool:
        statuses = Counter(pool.map(lambda i: client.post("/rank", json={"user": i}).status_code, range(400)))
        assert statuses == {200: 400}
        assert sum(figures.requests for figures in router.figures()) == 400
