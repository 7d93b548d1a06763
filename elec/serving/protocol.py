"""The Open Inference Protocol (V2), JSON form: one named tensor for every raw field in, one tensor of scores out.

https://github.com/kserve/open-inference-protocol. A categorical field is `BYTES` or a whole number, a numeric field any
number, a multi-valued field `BYTES`: each element is text with the field's separator, or a list of texts. A null is a missing
value, which the network knows how to score. A model that reads text vectors takes one more, optional tensor, `vectors`
[N, 2, V]: the user's and the item's, zeros for unknown. Without it the server looks them up in Feast, by user and item.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa

from elec.errors import InputError
from elec.serving.manifest import Manifest
from elec.spec.dataset import FieldSpec, Kind

#: The name of the model in every path.
MODEL_NAME = "elec"
OUTPUT = "score"
#: The optional input of a model that reads text vectors.
VECTORS = "vectors"

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


class Records(NamedTuple):
    """The rows of a request, and their text vectors, float32 [N, 2, V], if they were sent."""

    table: pa.Table
    vectors_N2V: np.ndarray | None


def parse_infer(content: Mapping[str, Any], fields: Sequence[FieldSpec], most_rows: int, vector_size: int = 0) -> Records:
    """Reads the tensors of an inference request.

    Args:
        content: The request.
        fields: What a record has.
        most_rows: A request may have.
        vector_size: V, of the text vectors that may be sent too; 0 for none.

    Returns:
        A table of N rows with a column for every field, and the text vectors if they were sent.

    Raises:
        RequestError: If a tensor is missing, unknown, of the wrong datatype or length, or there are too many rows.
    """
    inputs = content.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise RequestError("the request has no 'inputs'; send a list with a tensor for every field")
    _check_outputs(content.get("outputs"))
    known = {field.name: field for field in fields}
    columns: dict[str, pa.Array] = {}
    vectors_N2V = None
    for tensor in inputs:
        name = tensor.get("name") if isinstance(tensor, dict) else None
        if not isinstance(name, str):
            raise RequestError("an element of 'inputs' has no 'name'; each is {name, datatype, shape, data}")
        of_vectors = bool(vector_size) and name == VECTORS
        if name not in known and not of_vectors:
            raise RequestError(f"input '{name}' is not a field of this model; its fields are: {', '.join(known)}")
        if name in columns or (of_vectors and vectors_N2V is not None):
            raise RequestError(f"input '{name}' is there twice; send each field once")
        if of_vectors:
            vectors_N2V = _vectors(tensor, vector_size, most_rows)
            continue
        columns[name] = _column(tensor, known[name], most_rows)
    missing = [name for name in known if name not in columns]
    if missing:
        raise RequestError(f"input '{missing[0]}' is missing; send a tensor for it, with null where the value is unknown")
    lengths = {name: len(column) for name, column in columns.items()}
    if vectors_N2V is not None:
        lengths[VECTORS] = len(vectors_N2V)
    if len(set(lengths.values())) > 1:
        raise RequestError(f"the inputs differ in length ({lengths}); send one value a row in each")
    return Records(pa.table({name: columns[name] for name in known}), vectors_N2V)


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


def infer_request(table: pa.Table, fields: Sequence[FieldSpec], vectors_N2V: np.ndarray | None = None) -> dict[str, Any]:
    """An inference request for the rows of a table, as a client sends it; with their text vectors if there are any."""
    inputs = [
        {
            "name": field.name,
            "datatype": _ACCEPTED[field.kind][0],
            "shape": [table.num_rows],
            "data": table.column(field.name).to_pylist(),
        }
        for field in fields
    ]
    if vectors_N2V is not None:
        flat = vectors_N2V.reshape(-1).tolist()
        inputs.append({"name": VECTORS, "datatype": "FP32", "shape": list(vectors_N2V.shape), "data": flat})
    return {"inputs": inputs}


def model_metadata(manifest: Manifest) -> dict[str, Any]:
    """What the model takes and gives."""
    inputs: list[dict[str, Any]] = [
        {"name": field.name, "datatype": _ACCEPTED[field.kind][0], "shape": [-1]} for field in manifest.fields
    ]
    if manifest.vectors is not None:
        shape = [-1, 2, manifest.vectors.size]
        inputs.append({"name": VECTORS, "datatype": "FP32", "shape": shape, "parameters": {"optional": True}})
    return {
        "name": MODEL_NAME,
        "versions": [manifest.bundle_id],
        "platform": "onnx_onnxruntime",
        "inputs": inputs,
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


def _vectors(tensor: Mapping[str, Any], size: int, most_rows: int) -> np.ndarray:
    """The tensor of text vectors, float32 [N, 2, V]; its data is flat or nested."""
    data, datatype, shape = tensor.get("data"), tensor.get("datatype"), tensor.get("shape")
    if datatype not in _FLOATS:
        raise RequestError(f"input '{VECTORS}' has the datatype {datatype!r}; send {_listed(_FLOATS)}")
    rows = shape[0] if isinstance(shape, list) and len(shape) == 3 else None
    if not isinstance(rows, int) or isinstance(rows, bool) or rows < 0 or shape != [rows, 2, size]:
        raise RequestError(f"input '{VECTORS}' has the shape {shape!r}; send [rows, 2, {size}], the user's vector first")
    if rows > most_rows:
        raise RequestError(f"the request has {rows:,} rows; send at most {most_rows:,} at once", status=422)
    try:
        values = np.asarray(data)
        if values.dtype.kind not in "fiu" or not np.isfinite(values).all():
            raise ValueError("not numbers")
        return values.astype(np.float32).reshape(rows, 2, size)
    except ValueError:
        raise RequestError(
            f"input '{VECTORS}' has not {rows * 2 * size:,} numbers; send zeros for a vector that is not known"
        ) from None


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
