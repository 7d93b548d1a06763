"""The real server process, over real sockets."""

import contextlib
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import orjson
import pytest

from elec.deploy.local import LocalDeployment
from elec.errors import InputError
from elec.serving.bundle import Bundle, open_bundle
from elec.serving.golden import Golden
from elec.serving.http.protocol import infer_request
from elec.serving.http.server import bind

INFER = "/v2/models/elec/infer"


@pytest.fixture(scope="module")
def bundle(made: Path) -> Bundle:
    return open_bundle(made / "bundle")


@pytest.fixture(scope="module")
def plain(made: Path) -> Iterator[httpx.Client]:
    """A server without Feast."""
    with (
        LocalDeployment(str(made / "bundle")) as server,
        httpx.Client(base_url=server.url, trust_env=False, timeout=30) as client,
    ):
        yield client


@pytest.fixture(scope="module")
def ranking(made: Path, feast_folder: Path) -> Iterator[httpx.Client]:
    """A server with Feast."""
    with (
        LocalDeployment(str(made / "bundle"), str(feast_folder)) as server,
        httpx.Client(base_url=server.url, trust_env=False, timeout=30) as client,
    ):
        yield client


def test_health_and_metadata(plain: httpx.Client, bundle: Bundle) -> None:
    for path in ("/v2/health/live", "/v2/health/ready", "/v2/models/elec/ready"):
        assert plain.get(path).status_code == 200
    server = plain.get("/v2").json()
    assert server["name"] == "elec"
    assert server["version"]
    model = plain.get("/v2/models/elec").json()
    assert model["versions"] == [bundle.manifest.bundle_id]
    assert {entry["name"]: entry["datatype"] for entry in model["inputs"]} == {
        "user_id": "BYTES",
        "item_id": "BYTES",
        "age": "FP64",
        "city": "BYTES",
        "genres": "BYTES",
        "price": "FP64",
        "hour": "BYTES",
    }
    assert model["outputs"] == [{"name": "score", "datatype": "FP32", "shape": [-1]}]


def test_golden_records_score_as_in_training(plain: httpx.Client, bundle: Bundle) -> None:
    golden = Golden.load(bundle.golden, bundle.manifest.fields)
    content = infer_request(golden.records, bundle.manifest.fields) | {"id": "request-1"}
    answer = plain.post(INFER, json=content)
    assert answer.status_code == 200
    assert answer.json()["id"] == "request-1"
    assert answer.json()["model_version"] == bundle.manifest.bundle_id
    (output,) = answer.json()["outputs"]
    assert output["shape"] == [64]
    np.testing.assert_allclose(output["data"], golden.scores, atol=1e-5, rtol=0)


def test_a_multi_valued_field_may_come_joined(plain: httpx.Client, bundle: Bundle) -> None:
    golden = Golden.load(bundle.golden, bundle.manifest.fields)
    content = infer_request(golden.records, bundle.manifest.fields)
    expected = plain.post(INFER, json=content).json()["outputs"][0]["data"]
    for tensor in content["inputs"]:
        if tensor["name"] == "genres":
            tensor["data"] = [None if value is None else "|".join(value) for value in tensor["data"]]
    assert plain.post(INFER, json=content).json()["outputs"][0]["data"] == expected


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        (b"", 400, "the body is not JSON"),
        (b"[]", 400, "the body is a JSON list"),
        (b"{}", 400, "the request has no 'inputs'"),
        (b'{"inputs": [{"name": "colour"}]}', 400, "input 'colour' is not a field"),
        (
            b'{"inputs": [{"name": "hour", "datatype": "BYTES", "shape": [1], "data": ["1"]}]}',
            422,
            "input 'user_id' is missing",
        ),
        (
            orjson.dumps({"inputs": [{"name": "hour", "datatype": "INT64", "shape": [1001], "data": [1] * 1001}]}),
            422,
            "the request has 1,001 rows; send at most 1,000",
        ),
    ],
)
def test_mistakes_get_one_sentence(plain: httpx.Client, content: bytes, status: int, message: str) -> None:
    answer = plain.post(INFER, content=content)
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]
    assert message in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def test_a_body_over_the_bound_is_refused_before_it_is_read(plain: httpx.Client) -> None:
    too_much = 9 * 2**20
    answer = plain.post(INFER, content=b" " * too_much)
    assert answer.status_code == 413
    assert "larger than 8,388,608 bytes" in answer.json()["error"]
    # A length that only announces itself is refused as fast: nothing of it has to be sent.
    with socket.create_connection((plain.base_url.host, plain.base_url.port or 80), timeout=10) as connection:
        connection.sendall(f"POST {INFER} HTTP/1.1\r\nHost: x\r\nContent-Length: {10**12}\r\n\r\n".encode())
        assert connection.recv(4096).startswith(b"HTTP/1.1 413")

    def chunks() -> Iterator[bytes]:
        for _ in range(too_much // 2**16):
            yield b" " * 2**16

    # Without a length it is counted; the server may hang up before all is sent.
    with contextlib.suppress(httpx.WriteError):
        assert plain.post(INFER, content=chunks()).status_code == 413
    assert plain.get("/v2/health/live").status_code == 200


def test_other_paths_and_methods_answer_json(plain: httpx.Client) -> None:
    assert plain.get("/nowhere").status_code == 404
    assert "not found" in plain.get("/nowhere").json()["error"]
    assert plain.get(INFER).status_code == 405
    assert plain.post("/v2/models/other/infer", json={}).status_code == 404


def test_rank_without_feast_says_so(plain: httpx.Client) -> None:
    answer = plain.post("/rank", json={"user": "u1", "items": ["i1"]})
    assert answer.status_code == 503
    assert "this server was started without it" in answer.json()["error"]


def test_rank(ranking: httpx.Client, bundle: Bundle) -> None:
    items = [f"i{i}" for i in range(50)] + ["never seen", "never seen"]
    answer = ranking.post("/rank", json={"user": "u5", "items": items, "context": {"hour": 7}})
    assert answer.status_code == 200
    assert answer.json()["bundle"] == bundle.manifest.bundle_id
    ranked = answer.json()["items"]
    assert sorted(entry["item"] for entry in ranked) == sorted(items)
    scores = [entry["score"] for entry in ranked]
    assert scores == sorted(scores, reverse=True)
    assert all(0 < score < 1 for score in scores)
    assert len(set(scores)) > 10
    assert ranking.post("/rank", json={"user": "nobody", "items": []}).json()["items"] == []


@pytest.mark.parametrize(
    ("content", "status", "message"),
    [
        ({"items": ["i1"]}, 400, "'user' holds None"),
        ({"user": "u1"}, 400, "'items' is missing or no list"),
        ({"user": "u1", "items": "i1"}, 400, "'items' is missing or no list"),
        ({"user": "u1", "items": [None]}, 400, "'items' holds None, which is no key"),
        ({"user": True, "items": []}, 400, "'user' holds True"),
        ({"user": "u1", "items": ["i" * 1025]}, 400, "'items' holds a key of 1,025 letters"),
        ({"user": "u1", "items": ["i1"], "candidates": []}, 400, "'items' and 'candidates' are both there"),
        ({"user": "u1", "items": ["i1"], "top": 5}, 400, "'top' is not known here"),
        ({"user": "u1", "items": ["i1"], "sort": 1}, 400, "'sort' is 1"),
        ({"user": "u1", "items": ["i1"], "id": 1}, 400, "'id' is 1"),
        ({"user": "u1", "items": ["i1"], "context": 5}, 400, "'context' is not an object"),
        ({"user": "u1", "items": ["i1"], "context": {"hours": 1}}, 400, "context field 'hours' is not known"),
        ({"user": "u1", "items": ["i1"], "context": {"hour": {"a": 1}}}, 400, "field 'hour'"),
        ({"user": "u1", "items": ["i1"] * 1001}, 422, "'items' has 1,001 candidates; send at most 1,000"),
    ],
)
def test_mistakes_in_ranking(ranking: httpx.Client, content: dict[str, object], status: int, message: str) -> None:
    answer = ranking.post("/rank", json=content)
    assert (answer.status_code, list(answer.json())) == (status, ["error"])
    assert message in answer.json()["error"]


def test_many_clients_at_once_get_their_own_answers(ranking: httpx.Client) -> None:
    from concurrent.futures import ThreadPoolExecutor

    def rank(user: str) -> list[float]:
        answer = ranking.post("/rank", json={"user": user, "items": ["i1", "i2", "i3"], "context": {"hour": 5}})
        return [entry["score"] for entry in answer.json()["items"]]

    users = [f"u{i}" for i in range(12)]
    alone = [rank(user) for user in users]
    with ThreadPoolExecutor(6) as pool:
        assert list(pool.map(rank, users)) == alone


def test_neither_the_command_nor_the_server_needs_torch(made: Path) -> None:
    script = f"""
import sys
import elec.serving.__main__
from elec.serving.http.app import create_app
from elec.serving.service import Serving, open_service
from elec.spec.serving import ServingSpec
create_app(Serving(open_service({str(made / "bundle")!r}, "", ServingSpec())))
for heavy in ("torch", "duckdb", "evidently", "sklearn", "feast", "transformers"):
    assert heavy not in sys.modules, heavy
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_port_is_taken() -> None:
    with bind("127.0.0.1", 0) as other:
        other.listen()
        with pytest.raises(InputError, match=r"cannot be listened on \(Address already in use\)"):
            bind("127.0.0.1", other.getsockname()[1])
    with pytest.raises(InputError, match="cannot be listened on"):
        bind("no such host", 80)


def test_the_process_says_what_is_wrong_and_exits_with_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "elec.serving", "--port", "0", "--bundle", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert re.fullmatch(r"elec: .*: no bundle, for it has no manifest\.json; .*\n", done.stderr)
