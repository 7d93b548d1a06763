"""The Open Inference Protocol (V2), JSON form: one named tensor for every raw field in, one tensor of scores out.

https://github.com/kserve/open-inference-protocol. A categorical field is `BYTES` or a whole number, a numeric field any
number, a multi-valued field `BYTES`: each element is text with the field's separator, or a list of texts. A null is a missing
value, which the network knows how to score.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from elec.errors import InputError
from elec.serving.manifest import Manifest
from elec.spec.dataset import FieldSpec, Kind

#: The name of the model in every path.
MODEL_NAME = "elec"
OUTPUT = "score"

_INTEGERS = frozenset({"INT8", "INT16", "INT32", "INT64", "UINT8", "UINT16", "UINT32", "UINT64"})
_FLOATS = frozenset({"FP16", "FP32", "FP64"})
_TEXT = frozenset({"BYTES"})

#: The datatypes that a field may come in; the first is the one that the metadata names.
_ACCEPTED: Mapping[Kind, tuple[str, frozenset[str]]] = {
    Kind.CATEGORICAL: ("BYTES", _TEXT | _INTEGERS),
    Kind.NUMERIC: ("FP64", _FLOATS | _INTEGERS),
    Kind.MULTIVALUED: ("BYTES", _TEXT),
}


class RequestError(InputError):
    """What a client sent is wrong.

    Args:
        message: One sentence.
        status: Of the HTTP answer.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def parse_json(body: bytes) -> dict[str, Any]:
    """The JSON object of a request.

    Raises:
        RequestError: If it is not one.
    """
    try:
        content = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError(f"the body is not JSON ({error}); send one JSON object") from None
    if not isinstance(content, dict):
        raise RequestError(f"the body is a JSON {type(content).__name__}; send one JSON object")
    return content


def parse_infer(content: Mapping[str, Any], fields: Sequence[FieldSpec], most_rows: int) -> pa.Table:
    """Reads the tensors of an inference request.

    Args:
        content: The request.
        fields: What a record has.
        most_rows: A request may have.

    Returns:
        A table of N rows with a column for every field.

    Raises:
        RequestError: If a tensor is missing, unknown, of the wrong datatype or length, or there are too many rows.
    """
    inputs = content.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise RequestError("the request has no 'inputs'; send a list with a tensor for every field")
    _check_outputs(content.get("outputs"))
    known = {field.name: field for field in fields}
    columns: dict[str, pa.Array] = {}
    for tensor in inputs:
        name = tensor.get("name") if isinstance(tensor, dict) else None
        if not isinstance(name, str):
            raise RequestError("an element of 'inputs' has no 'name'; each is {name, datatype, shape, data}")
        if name not in known:
            raise RequestError(f"input '{name}' is not a field of this model; its fields are: {', '.join(known)}")
        if name in columns:
            raise RequestError(f"input '{name}' is there twice; send each field once")
        columns[name] = _column(tensor, known[name], most_rows)
    missing = [name for name in known if name not in columns]
    if missing:
        raise RequestError(f"input '{missing[0]}' is missing; send a tensor for it, with null where the value is unknown")
    lengths = {name: len(column) for name, column in columns.items()}
    if len(set(lengths.values())) > 1:
        raise RequestError(f"the inputs differ in length ({lengths}); send one value a row in each")
    return pa.table({name: columns[name] for name in known})


def infer_response(content: Mapping[str, Any], scores: np.ndarray, bundle_id: str) -> bytes:
    """The answer to an inference request.

    Args:
        content: The request.
        scores: float32 [N].
        bundle_id: The version that answers.
    """
    answer: dict[str, Any] = {"model_name": MODEL_NAME, "model_version": bundle_id}
    if isinstance(content.get("id"), str):
        answer["id"] = content["id"]
    answer["outputs"] = [{"name": OUTPUT, "datatype": "FP32", "shape": [len(scores)], "data": scores}]
    return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY)


def infer_request(table: pa.Table, fields: Sequence[FieldSpec]) -> dict[str, Any]:
    """An inference request for the rows of a table, as a client sends it."""
    return {
        "inputs": [
            {
                "name": field.name,
                "datatype": _ACCEPTED[field.kind][0],
                "shape": [table.num_rows],
                "data": table.column(field.name).to_pylist(),
            }
            for field in fields
        ]
    }


def model_metadata(manifest: Manifest) -> dict[str, Any]:
    """What the model takes and gives."""
    return {
        "name": MODEL_NAME,
        "versions": [manifest.bundle_id],
        "platform": "onnx_onnxruntime",
        "inputs": [{"name": field.name, "datatype": _ACCEPTED[field.kind][0], "shape": [-1]} for field in manifest.fields],
        "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [-1]}],
    }


def _check_outputs(outputs: Any) -> None:
    if outputs is None:
        return
    names = (
        [output.get("name") if isinstance(output, dict) else output for output in outputs] if isinstance(outputs, list) else []
    )
    if names != [OUTPUT]:
        raise RequestError(f"'outputs' asks for {names}, and the model gives '{OUTPUT}'; ask for that, or leave 'outputs' out")


def _column(tensor: Mapping[str, Any], field: FieldSpec, most_rows: int) -> pa.Array:
    name, data, datatype, shape = field.name, tensor.get("data"), tensor.get("datatype"), tensor.get("shape")
    accepted = _ACCEPTED[field.kind][1]
    if datatype not in accepted:
        raise RequestError(f"input '{name}' has the datatype {datatype!r}; for a {field.kind} field send {_listed(accepted)}")
    if not isinstance(data, list):
        raise RequestError(f"input '{name}' has no list 'data'; send one value a row")
    if shape not in ([len(data)], [len(data), 1]):
        raise RequestError(f"input '{name}' has {len(data)} values and the shape {shape!r}; send the shape [{len(data)}]")
    if len(data) > most_rows:
        raise RequestError(f"the request has {len(data):,} rows; send at most {most_rows:,} at once", status=422)
    try:
        column = pa.array(data)
    except (pa.ArrowInvalid, pa.ArrowTypeError, OverflowError):
        raise RequestError(f"input '{name}' mixes types, or has a number that is too large; send {datatype} or null") from None
    if not _is(column.type, datatype):
        raise RequestError(f"input '{name}' says {datatype}, but its data are {column.type}; send {datatype} or null")
    return column


def _is(kind: pa.DataType, datatype: str) -> bool:
    if pa.types.is_null(kind):
        return True
    if datatype in _INTEGERS:
        return bool(pa.types.is_integer(kind))
    if datatype in _FLOATS:
        return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))
    element = kind.value_type if pa.types.is_list(kind) else kind
    return bool(pa.types.is_string(element) or (pa.types.is_list(kind) and pa.types.is_null(element)))


def _listed(datatypes: frozenset[str]) -> str:
    *most, last = sorted(datatypes)
    return f"{', '.join(most)} or {last}" if most else last
