from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest

from elec.serving.http.protocol import infer_request, infer_response, parse_infer, parse_json
from elec.serving.http.protocol_errors import RequestError
from tests.serving.made import SPEC, frame

FIELDS = SPEC.dataset.tabular_fields


def request(rows: int = 2) -> dict[str, Any]:
    return infer_request(frame(50, 3).slice(0, rows), FIELDS)


def tensor(content: dict[str, Any], name: str) -> dict[str, Any]:
    return next(entry for entry in content["inputs"] if entry["name"] == name)


def test_a_request_of_ours_reads_back_as_the_table() -> None:
    table = frame(50, 3)
    read = parse_infer(parse_json(orjson.dumps(infer_request(table, FIELDS))), FIELDS, 100).table
    assert read.to_pydict() == table.select([field.name for field in FIELDS]).to_pydict()


@pytest.mark.parametrize(
    ("name", "datatype", "data"),
    [
        ("hour", "INT64", [7, None]),
        ("hour", "UINT8", [7, 8]),
        ("hour", "BYTES", [None, None]),
        ("age", "INT32", [18, None]),
        ("hour", "INT64", [7.0, 8]),
        ("hour", "INT64", [2**63 - 1, 8.0]),
        ("age", "FP32", [18.5, 3]),
        ("age", "FP64", [0.5, 2**60 + 1]),
        ("genres", "BYTES", ["g1|g2", None]),
        ("genres", "BYTES", [["g1", "g2"], []]),
        ("genres", "BYTES", [[], []]),
    ],
)
def test_datatypes_that_fit(name: str, datatype: str, data: list[Any]) -> None:
    content = request()
    tensor(content, name).update(datatype=datatype, data=data)
    assert parse_infer(content, FIELDS, 100).table.num_rows == 2


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("hour", {"datatype": "FP64", "data": [1.5, 2]}, "input 'hour' has the datatype 'FP64'; for a categorical field send"),
        ("hour", {"datatype": "INT64", "data": [1.5, 2]}, "input 'hour' has data that are not INT64"),
        ("hour", {"datatype": "INT64", "data": ["7", "8"]}, "input 'hour' has data that are not INT64"),
        ("hour", {"datatype": "BYTES", "data": [7, 8]}, "input 'hour' has data that are not BYTES"),
        ("hour", {"datatype": "BYTES", "data": ["7", 8]}, "input 'hour' has data that are not BYTES"),
        ("hour", {"datatype": "BYTES", "data": [{}, {}]}, "input 'hour' has data that are not BYTES"),
        ("hour", {"datatype": "INT64", "data": [2**70, 1]}, "too large a number"),
        (
            "age",
            {"datatype": "BYTES", "data": ["old", "young"]},
            "input 'age' has the datatype 'BYTES'; for a numeric field send",
        ),
        ("age", {"data": [True, False]}, "input 'age' has data that are not FP64"),
        ("genres", {"data": [[1], [2]]}, "input 'genres' has data that are not BYTES"),
        ("genres", {"data": [[["g1"]], []]}, "input 'genres' has data that are not BYTES"),
        ("age", {"datatype": None}, "input 'age' has the datatype None"),
        ("age", {"datatype": {}}, "input 'age' has the datatype {}"),
        ("hour", {"datatype": "INT64", "data": [2**63, 1.0]}, "input 'hour' has data that are not INT64"),
        ("age", {"data": ["1", 2]}, "input 'age' has data that are not FP64"),
        ("age", {"shape": "2"}, r"input 'age' has 2 values and the shape '2'; send the shape \[2\]"),
        ("age", {"data": 5}, "input 'age' has no list 'data'"),
        ("hour", {"data": [["7"], ["8"]]}, "input 'hour' has data that are not BYTES"),
        ("age", {"name": "size"}, "input 'size' is not a field of this model; its fields are: user_id, item_id, age"),
        ("age", {"name": None}, "has no 'name'"),
    ],
)
def test_what_does_not_fit_is_said_in_one_sentence(name: str, change: dict[str, Any], message: str) -> None:
    content = request()
    tensor(content, name).update(change)
    with pytest.raises(RequestError, match=message) as caught:
        parse_infer(content, FIELDS, 100)
    assert caught.value.status == 400
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("age", {"shape": [3]}, r"input 'age' has 2 values and the shape \[3\]; send the shape \[2\]"),
        ("age", {"data": [1.0], "shape": [1]}, "the inputs differ in length"),
        ("age", {"name": "price"}, "input 'price' is there twice"),
    ],
)
def test_parts_that_do_not_fit_each_other(name: str, change: dict[str, Any], message: str) -> None:
    content = request()
    tensor(content, name).update(change)
    with pytest.raises(RequestError, match=message) as caught:
        parse_infer(content, FIELDS, 100)
    assert caught.value.status == 422


def test_a_missing_field_is_named() -> None:
    content = request()
    content["inputs"] = [entry for entry in content["inputs"] if entry["name"] != "price"]
    with pytest.raises(RequestError, match="input 'price' is missing"):
        parse_infer(content, FIELDS, 100)


@pytest.mark.parametrize("inputs", [None, [], {}, "x", [1], [None]])
def test_inputs_that_are_none(inputs: object) -> None:
    with pytest.raises(RequestError, match="'inputs'"):
        parse_infer({"inputs": inputs}, FIELDS, 100)


def test_too_many_rows() -> None:
    with pytest.raises(RequestError, match="has 11 rows; send at most 10") as caught:
        parse_infer(request(11), FIELDS, 10)
    assert caught.value.status == 422


def test_only_the_score_can_be_asked_for() -> None:
    assert parse_infer(request() | {"outputs": [{"name": "score"}]}, FIELDS, 10).table.num_rows == 2
    for outputs in ([{"name": "logit"}], [], "score", [1]):
        with pytest.raises(RequestError, match="the model gives 'score'"):
            parse_infer(request() | {"outputs": outputs}, FIELDS, 10)


@pytest.mark.parametrize("body", [b"", b"{", b"[1]", b"null", b'{"a": NaN}', b"\xff", b"[" * 5000])
def test_bodies_that_are_no_object(body: bytes) -> None:
    with pytest.raises(RequestError, match="the body is"):
        parse_json(body)


def test_the_answer_carries_id_and_version() -> None:
    body, length = infer_response({"id": "abc"}, np.array([0.25, 0.5], np.float32), "toy-1")
    assert length is None
    assert orjson.loads(body) == {
        "model_name": "elec",
        "model_version": "toy-1",
        "id": "abc",
        "outputs": [{"name": "score", "datatype": "FP32", "shape": [2], "data": [0.25, 0.5]}],
    }
    assert "id" not in orjson.loads(infer_response({}, np.array([], np.float32), "toy-1")[0])


@pytest.mark.parametrize("change", [{"id": 5}, {"parameters": []}, {"outputs": ["score"]}])
def test_what_goes_with_the_inputs(change: dict[str, Any]) -> None:
    with pytest.raises(RequestError, match=f"'{next(iter(change))}'"):
        parse_infer(request() | change, FIELDS, 10)


def test_no_rows_are_no_mistake() -> None:
    table = parse_infer(request(0), FIELDS, 10).table
    assert table.num_rows == 0
    assert isinstance(table, pa.Table)
