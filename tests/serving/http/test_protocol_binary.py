import struct
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from fastapi.testclient import TestClient

from elec.serving.http.protocol import infer_request, infer_request_binary, infer_response, parse_infer, parse_json
from elec.serving.http.protocol_binary import Tail, read_column, split_body, write_column
from elec.serving.http.protocol_errors import RequestError
from elec.serving.http.protocol_tensors import read_floats
from tests.serving.apps import app_of
from tests.serving.made import SPEC, frame

FIELDS = SPEC.dataset.tabular_fields
INFER = "/v2/models/elec/infer"


def test_a_binary_request_reads_back_as_the_table() -> None:
    table = frame(50, 3)
    body, length = infer_request_binary(table, FIELDS)
    header, tail = split_body(body, str(length))
    read = parse_infer(parse_json(header), FIELDS, 100, tail=tail).table
    for field in FIELDS:
        expected = table.column(field.name).to_pylist()
        found = read.column(field.name).to_pylist()
        if field.name == "genres":
            expected = ["|".join(value or []) for value in expected]
        elif field.name in {"age", "price"}:
            found = [None if np.isnan(value) else value for value in found]
        else:
            expected = [value or "" for value in expected]
        assert found == expected


@pytest.mark.parametrize("datatype", ["INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64", "FP32", "FP64"])
def test_numbers_are_little_endian(datatype: str) -> None:
    code = {"INT8": "b", "INT16": "h", "INT32": "i", "INT64": "q", "FP32": "f", "FP64": "d"}
    packed = struct.pack("<3" + (code.get(datatype) or code[datatype[1:]].upper()), 1, 2, 3)
    # The bytes start where no number may start.
    assert read_column("age", datatype, memoryview(b"x" + packed)[1:]).to_pylist() == [1, 2, 3]
    assert write_column(pa.array([1, 2, 3]), datatype) == packed


def test_texts_have_their_length_before_them() -> None:
    content = b"".join(struct.pack("<I", len(text)) + text for text in (b"", "ä|b".encode(), b"c" * 300))
    assert read_column("city", "BYTES", memoryview(content)).to_pylist() == ["", "ä|b", "c" * 300]


@pytest.mark.parametrize("content", [b"\x01", b"\x05\0\0\0ab", b"\xff\xff\xff\xff", b"\0\0\0\0\x01\0"])
def test_a_text_that_ends_too_early(content: bytes) -> None:
    with pytest.raises(RequestError, match="ends within a text"):
        read_column("city", "BYTES", memoryview(content))


def test_bytes_that_are_no_values() -> None:
    with pytest.raises(RequestError, match="not whole INT64 numbers"):
        read_column("age", "INT64", memoryview(b"12345"))
    with pytest.raises(RequestError, match="not UTF-8"):
        read_column("city", "BYTES", memoryview(b"\x01\0\0\0\xff"))
    tensor = {"name": "vectors", "datatype": "FP32", "shape": [1, 2, 2], "parameters": {"binary_data_size": 12}}
    with pytest.raises(RequestError, match="has not 4 numbers"):
        read_floats(tensor, (2, 2), 10, Tail(memoryview(b"\0" * 12)))


@pytest.mark.parametrize("length", ["x", "-1", "", "11", "1" * 400, "1.5", "٣"])
def test_a_header_length_that_is_none(length: str) -> None:
    with pytest.raises(RequestError, match="Inference-Header-Content-Length is"):
        split_body(b"0123456789", length)


@pytest.mark.parametrize("size", [-1, 3, True, "2", 1.0])
def test_sizes_that_do_not_fit(size: Any) -> None:
    with pytest.raises(RequestError, match="bytes are left for it"):
        Tail(memoryview(b"ab")).take("age", size)


def test_the_scores_go_as_they_are_asked_for() -> None:
    scores_N = np.array([0.25, 0.5], np.float32)
    for content in (
        {"parameters": {"binary_data_output": True}},
        {"outputs": [{"name": "score", "parameters": {"binary_data": True}}]},
    ):
        body, length = infer_response(content, scores_N, "toy-1")
        assert length is not None
        (output,) = orjson.loads(body[:length])["outputs"]
        assert output == {"name": "score", "datatype": "FP32", "shape": [2], "parameters": {"binary_data_size": 8}}
        assert np.frombuffer(body[length:], "<f4").tolist() == [0.25, 0.5]
    wanted = {"parameters": {"binary_data_output": True}, "outputs": [{"name": "score", "parameters": {"binary_data": False}}]}
    assert infer_response(wanted, scores_N, "toy-1")[1] is None


def test_both_forms_score_the_same(made: Any) -> None:
    table = frame(40, 5)
    body, length = infer_request_binary(table, FIELDS)
    with TestClient(app_of(made / "bundle")) as client:
        expected = client.post(INFER, json=infer_request(table, FIELDS)).json()["outputs"][0]["data"]
        answer = client.post(INFER, content=body, headers={"Inference-Header-Content-Length": str(length)})
        assert answer.status_code == 200, answer.text
        assert answer.headers["content-type"] == "application/octet-stream"
        own = int(answer.headers["inference-header-content-length"])
        assert np.frombuffer(answer.content[own:], "<f4").tolist() == pytest.approx(expected, abs=1e-7)
        assert client.get("/v2").json()["extensions"] == ["binary_tensor_data"]
        longer = client.post(INFER, content=body + b"x", headers={"Inference-Header-Content-Length": str(length)})
        assert (longer.status_code, longer.json()["error"][:7]) == (400, "1 bytes")
