"""The short way and the long one, over real sockets: the same answers, in the same order, within the same bounds."""

import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import orjson
import pytest

from elec.serving.bundle import open_bundle
from elec.serving.golden import Golden
from elec.serving.http.protocol import infer_request
from tests.serving.test_watch import running

INFER = "/v2/models/elec/infer"


@pytest.fixture(scope="module")
def served(made: Path, feast_folder: Path) -> Iterator[httpx.Client]:
    """A server with small bounds."""
    bounds = ("--set", "body_bytes=20000", "--set", "timeout_seconds=1")
    with running("--bundle", str(made / "bundle"), "--feast", str(feast_folder), *bounds) as (_, client, _log):
        yield client


@pytest.fixture(scope="module")
def infer(made: Path) -> bytes:
    """A request for the golden records."""
    bundle = open_bundle(made / "bundle")
    golden = Golden.load(bundle.golden, bundle.manifest.fields)
    return orjson.dumps(infer_request(golden.records.slice(0, 20), bundle.manifest.fields))


def connected(client: httpx.Client) -> socket.socket:
    return socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=10)


def post(path: str, body: bytes, *headers: str, version: str = "1.1") -> bytes:
    lines = [f"POST {path} HTTP/{version}", "Host: x", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


def answers(connection: socket.socket, count: int) -> list[tuple[int, dict[str, str], bytes]]:
    """Status, headers and body of so many answers."""
    with connection.makefile("rb") as stream:
        found = []
        for _ in range(count):
            status = int(stream.readline().split()[1])
            headers = {}
            while line := stream.readline().strip():
                name, _, value = line.decode().partition(": ")
                headers[name] = value
            found.append((status, headers, stream.read(int(headers["content-length"]))))
        return found


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/rank", b'{"user": "u1", "items": ["i1", "i2", "nobody"], "context": {"hour": 3}}'),
        ("/rank", b'{"user": "u1", "items": ["i1"], "context": {"hours": 3}}'),
        ("/rank", b"no json"),
        (INFER, b"{}"),
        (INFER, b" " * 20_001),
        (INFER, None),
    ],
)
def test_both_ways_answer_alike(served: httpx.Client, infer: bytes, path: str, body: bytes | None) -> None:
    content = infer if body is None else body
    whole = post(path, content, "X-Request-Id: 7")
    with connected(served) as short, connected(served) as long:
        short.sendall(whole)
        long.sendall(whole[: -len(content)])
        time.sleep(0.05)
        long.sendall(content)
        (one,), (other,) = answers(short, 1), answers(long, 1)
    for _, headers, _ in (one, other):
        headers.pop("date")
    assert one == other


def test_what_is_sent_behind_a_request_is_answered_behind_it(served: httpx.Client, infer: bytes) -> None:
    ranked = post("/rank", b'{"user": "u1", "items": ["i1"], "id": "first"}')
    wrong = post("/rank", b"{}")
    with connected(served) as connection:
        connection.sendall(ranked + post(INFER, infer) + wrong + b"GET /v2/health/live HTTP/1.1\r\nHost: x\r\n\r\n" + ranked)
        found = answers(connection, 5)
    assert [status for status, _, _ in found] == [200, 200, 400, 200, 200]
    assert orjson.loads(found[0][2])["id"] == "first"
    assert "outputs" in orjson.loads(found[1][2])
    assert orjson.loads(found[3][2]) == {"live": True}
    assert found[0][2] == found[4][2]


def test_a_connection_ends_when_the_client_says_so(served: httpx.Client, infer: bytes) -> None:
    for request in (post(INFER, infer, "Connection: close"), post(INFER, infer, version="1.0")):
        with connected(served) as connection:
            connection.sendall(request)
            ((status, headers, _),) = answers(connection, 1)
            assert (status, headers["connection"]) == (200, "close")
            assert connection.recv(1) == b""
    with connected(served) as connection:
        for _ in range(3):
            connection.sendall(post(INFER, infer))
            assert answers(connection, 1)[0][0] == 200


def test_a_body_in_chunks_and_one_that_is_asked_to_wait(served: httpx.Client, infer: bytes) -> None:
    half = len(infer) // 2
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in (infer[:half], infer[half:])) + b"0\r\n\r\n"
    with connected(served) as connection:
        connection.sendall(f"POST {INFER} HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n".encode() + chunks)
        assert answers(connection, 1)[0][0] == 200
    with connected(served) as connection:
        connection.sendall(post(INFER, infer, "Expect: 100-continue")[: -len(infer)])
        assert connection.recv(100).startswith(b"HTTP/1.1 100")
        connection.sendall(infer)
        assert answers(connection, 1)[0][0] == 200


def test_no_place_and_no_time_is_lost_to_clients_that_leave(served: httpx.Client, infer: bytes) -> None:
    for _ in range(50):
        with connected(served) as connection:
            connection.sendall(post(INFER, infer) + post("/rank", b'{"user": "u1", "items": ["i1"]}'))
    until = time.monotonic() + 5
    while (inside := _in_flight(served)) and time.monotonic() < until:
        time.sleep(0.02)
    assert inside == 0
    assert served.post(INFER, content=infer).status_code == 200


def test_a_crowd_that_has_left_is_in_nobodys_way(served: httpx.Client) -> None:
    """Those who come behind clients that were cut off are not refused for requests that nobody waits for."""
    request = post("/rank", orjson.dumps({"user": "u1", "items": [f"i{number}" for number in range(1000)]}))
    before = served.get("/metrics").text.count('status="429"')

    def ask_until(stop: float) -> None:
        with connected(served) as connection:
            while time.monotonic() < stop:
                connection.sendall(request)
                ((status, _, body),) = answers(connection, 1)
                assert status == 200, body
            # Cut off in the middle of a request.
            connection.sendall(request)

    for _ in range(8):
        # As many as may wait when the room has not been empty for long.
        with ThreadPoolExecutor(8) as clients:
            for asked in [clients.submit(ask_until, time.monotonic() + 0.15) for _ in range(8)]:
                asked.result()
    figures = served.get("/metrics").text
    assert figures.count('status="429"') == before
    assert 'elec_requests_total{route="/rank",status="499"}' in figures


def test_a_client_that_sends_on_and_on_without_reading_is_left(served: httpx.Client, infer: bytes) -> None:
    # Its answer is 30 KB.
    request = post("/rank", orjson.dumps({"user": "u1", "items": [f"i{number}" for number in range(1000)]}))
    asked = 0
    with connected(served) as connection, contextlib.suppress(TimeoutError, ConnectionError):
        while asked < 20_000:
            connection.sendall(request)
            asked += 1
    assert asked < 20_000
    assert served.post(INFER, content=infer).status_code == 200


def test_many_clients_get_their_own_answers(served: httpx.Client) -> None:
    failed: list[str] = []

    def ask(number: int) -> None:
        with connected(served) as connection:
            for turn in range(30):
                name = f"{number}-{turn}"
                connection.sendall(post("/rank", orjson.dumps({"user": f"u{number}", "items": ["i1", "i2"], "id": name})))
                ((status, _, body),) = answers(connection, 1)
                if status != 200 or orjson.loads(body)["id"] != name:
                    failed.append(f"{name}: {status} {body!r}")

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed


def _in_flight(client: httpx.Client) -> int:
    found = re.search(r"elec_in_flight (\d+)", client.get("/metrics").text)
    assert found is not None
    return int(found[1])
