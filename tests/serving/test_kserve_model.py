"""KServe's own model server, a real process, with a bundle behind it."""

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from elec.serving.bundle import Bundle, open_bundle
from elec.serving.golden import Golden
from elec.serving.http.protocol import infer_request
from elec.serving.predictor import Predictor
from tests.serving.made import frame

pytest.importorskip("kserve", reason="the kserve extra is not installed")

INFER = "/v2/models/elec/infer"


@contextmanager
def running(*arguments: str) -> Iterator[httpx.Client]:
    """The server on a free port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "elec.serving.kserve_model", "--http_port", str(port), "--enable_grpc", "false"]
    process = subprocess.Popen([*command, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=30) as client:
            until = time.monotonic() + 90
            while not _is_ready(client):
                assert process.poll() is None, "it ended"
                assert time.monotonic() < until, "it is not ready"
                time.sleep(0.1)
            yield client
        process.terminate()
        process.wait(40)
    finally:
        process.kill()
        process.wait()


def _is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/v2/models/elec/ready").status_code == 200
    except httpx.TransportError:
        return False


@pytest.fixture(scope="module")
def bundle(made: Path) -> Bundle:
    return open_bundle(made / "bundle")


@pytest.fixture(scope="module")
def server(bundle: Bundle, feast_folder: Path) -> Iterator[httpx.Client]:
    with running("--bundle", str(bundle.folder), "--feast", str(feast_folder), "--set", "rows=100") as client:
        yield client


def test_scores_are_those_of_our_own_server(server: httpx.Client, bundle: Bundle) -> None:
    golden = Golden.load(bundle.golden, bundle.manifest.fields)
    answer = server.post(INFER, json=infer_request(golden.records, bundle.manifest.fields) | {"id": "one"})
    assert answer.status_code == 200
    content = answer.json()
    assert (content["id"], content["model_name"], content["model_version"]) == ("one", "elec", bundle.manifest.bundle_id)
    (output,) = content["outputs"]
    assert (output["name"], output["datatype"], output["shape"]) == ("score", "FP32", [64])
    np.testing.assert_allclose(output["data"], golden.scores, atol=1e-5, rtol=0)


def test_values_of_every_kind_arrive(server: httpx.Client, bundle: Bundle) -> None:
    records = frame(100, 4)
    content = infer_request(records, bundle.manifest.fields)
    scored = server.post(INFER, json=content).json()["outputs"][0]["data"]
    np.testing.assert_allclose(scored, Predictor(bundle).score(records), atol=1e-6)
    empty = server.post(INFER, json=infer_request(records.slice(0, 0), bundle.manifest.fields))
    assert (empty.status_code, empty.json()["outputs"][0]["data"]) == (200, [])


def test_binary_tensors(server: httpx.Client, bundle: Bundle) -> None:
    from kserve import InferInput, InferRequest

    records = frame(8, 4)
    inputs = []
    for field in bundle.manifest.fields:
        if field.kind == "numeric":
            tensor = InferInput(field.name, [8], "FP64")
            tensor.set_data_from_numpy(records[field.name].to_numpy(), binary_data=True)
        else:
            texts = ["|".join(value) if isinstance(value, list) else value or "" for value in records[field.name].to_pylist()]
            tensor = InferInput(field.name, [8], "BYTES")
            tensor.set_data_from_numpy(np.array(texts, dtype=object), binary_data=True)
        inputs.append(tensor)
    body, length = InferRequest(model_name="elec", infer_inputs=inputs).to_rest()
    answer = server.post(INFER, content=body, headers={"Inference-Header-Content-Length": str(length)})
    assert answer.status_code == 200, answer.text
    np.testing.assert_allclose(answer.json()["outputs"][0]["data"], Predictor(bundle).score(records), atol=1e-6)


def test_metadata(server: httpx.Client) -> None:
    model = server.get("/v2/models/elec").json()
    assert {entry["name"]: entry["datatype"] for entry in model["inputs"]}["price"] == "FP64"
    assert model["outputs"] == [{"name": "score", "datatype": "FP32", "shape": [-1]}]


def test_v1_ranks(server: httpx.Client, bundle: Bundle) -> None:
    instances = [
        {"user": "u5", "items": ["i1", "i2", "i3"], "context": {"hour": 7}},
        {"user": "u5", "candidates": ["i1", "never"]},
    ]
    answer = server.post("/v1/models/elec:predict", json={"instances": instances})
    assert answer.status_code == 200
    sorted_, plain = answer.json()["predictions"]
    assert {entry["item"] for entry in sorted_["items"]} == {"i1", "i2", "i3"}
    scores = [entry["score"] for entry in sorted_["items"]]
    assert scores == sorted(scores, reverse=True)
    assert plain["bundle"] == bundle.manifest.bundle_id
    assert len(plain["scores"]) == 2
    assert plain["unknown"] == {"user": False, "items": 1}


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        (INFER, {"inputs": [{"name": "colour", "datatype": "BYTES", "shape": [1], "data": ["red"]}]}, "input 'colour' is not"),
        (INFER, {"inputs": [{"name": "hour", "datatype": "BYTES", "shape": [1], "data": ["1"]}]}, "is missing"),
        (
            INFER,
            {"inputs": [{"name": "hour", "datatype": "BYTES", "shape": [101], "data": ["1"] * 101}]},
            "at most 100 at once",
        ),
        ("/v1/models/elec:predict", {"instances": [[1, 2]]}, "'instances' is missing or no list of objects"),
        ("/v1/models/elec:predict", {"instances": [{"user": "u1"}]}, "'items' is missing"),
    ],
)
def test_mistakes_get_one_sentence(server: httpx.Client, path: str, content: dict[str, object], message: str) -> None:
    answer = server.post(path, json=content)
    assert answer.status_code == 400
    assert message in answer.json()["error"]
    assert "\n" not in answer.json()["error"]


def test_the_process_says_what_is_wrong_and_exits_with_2(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "elec.serving.kserve_model", "--bundle", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 2
    assert "elec: " in done.stderr
    assert "no bundle, for it has no manifest.json" in done.stderr
