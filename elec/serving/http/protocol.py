"""The Open Inference Protocol (V2): one named tensor for every raw field in, one tensor of scores out.

https://github.com/kserve/open-inference-protocol. A categorical field is `BYTES` or a whole number, a numeric field any
number, a multi-valued field `BYTES`: each element is text with the field's separator, or a list of texts. A null is a missing
value, which the network knows how to score. A model that reads text vectors takes one more, optional tensor, `vectors`
[N, 2, V]: the user's and the item's, zeros for unknown. Without it the server looks them up in Feast, by user and item. A
gain network needs the tensor `llm` [N, L] too, the M-LLM's representation of each record.
Any tensor may come, and the scores may go, in binary form: see `protocol_binary`.
"""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from elec.features.raw import Columns
from elec.serving.http.protocol_binary import Tail, write_column
from elec.serving.http.protocol_errors import RequestError
from elec.serving.http.protocol_tensors import ACCEPTED, read_field, read_floats
from elec.serving.manifest import Manifest
from elec.spec.fields import FieldSpec, Kind

#: The name of the model in every path.
MODEL_NAME = "elec"
OUTPUT = "score"
#: The optional input of a model that reads text vectors.
VECTORS = "vectors"
#: The input of a gain network.
LLM = "llm"
#: Behind the JSON of a request without binary tensors.
NOTHING = Tail(memoryview(b""))


class Records(NamedTuple):
    """The rows of a request: a column for every field, and what was sent of text vectors and representations, both float32."""

    columns: Columns
    vectors_N2V: np.ndarray | None = None
    llm_NL: np.ndarray | None = None

    @property
    def rows(self) -> int:
        """N."""
        return len(next(iter(self.columns.values()), ()))

    def part(self, start: int, end: int) -> "Records":
        """Some of the rows."""
        columns = {name: values[start:end] for name, values in self.columns.items()}
        return Records(columns, *(None if given is None else given[start:end] for given in self[1:]))

    @property
    def table(self) -> pa.Table:
        """The columns as Arrow's, which takes longer than scoring a few rows."""
        arrays = {name: values if isinstance(values, pa.Array) else pa.array(values) for name, values in self.columns.items()}
        return pa.table(arrays)


def parse_json(body: bytes | memoryview) -> dict[str, Any]:
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


def parse_infer(
    content: Mapping[str, Any],
    fields: Sequence[FieldSpec],
    most_rows: int,
    vector_size: int = 0,
    llm_size: int = 0,
    tail: Tail = NOTHING,
) -> Records:
    """Reads the tensors of an inference request.

    Args:
        content: The request.
        fields: What a record has.
        most_rows: A request may have.
        vector_size: V, of the text vectors that may be sent too; 0 for none.
        llm_size: L, of the M-LLM's representations that have to be sent too; 0 for none.
        tail: The bytes behind the JSON, for tensors in binary form.

    Returns:
        N rows with a column for every field, in order, and what else was sent.

    Raises:
        RequestError: If a tensor is missing, unknown, of the wrong datatype or length, or there are too many rows.
    """
    inputs = content.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise RequestError("the request has no 'inputs'; send a list with a tensor for every field")
    _check_optional(content)
    known = {field.name: field for field in fields}
    sizes = {name: size for name, size in ((VECTORS, (2, vector_size)), (LLM, (llm_size,))) if size[-1]}
    columns: dict[str, list[Any] | pa.Array] = {}
    numbers: dict[str, np.ndarray] = {}
    for tensor in inputs:
        name = tensor.get("name") if isinstance(tensor, dict) else None
        if not isinstance(name, str):
            raise RequestError("an element of 'inputs' has no 'name'; each is {name, datatype, shape, data}")
        if name not in known and name not in sizes:
            raise RequestError(f"input '{name}' is not a field of this model; its fields are: {', '.join(known)}")
        if name in columns or name in numbers:
            raise RequestError(f"input '{name}' is there twice; send each field once", status=422)
        if name in sizes:
            numbers[name] = read_floats(tensor, sizes[name], most_rows, tail)
        else:
            columns[name] = read_field(tensor, known[name], most_rows, tail)
    missing = [name for name in known if name not in columns]
    if missing:
        raise RequestError(
            f"input '{missing[0]}' is missing; send a tensor for it, with null where the value is unknown", status=422
        )
    if llm_size and LLM not in numbers:
        raise RequestError(f"input '{LLM}' is missing; a gain network reads the M-LLM's representation of each record", 422)
    tail.end()
    lengths = {name: len(column) for name, column in (columns | numbers).items()}
    if len(set(lengths.values())) > 1:
        raise RequestError(f"the inputs differ in length ({lengths}); send one value a row in each", status=422)
    return Records({name: columns[name] for name in known}, numbers.get(VECTORS), numbers.get(LLM))


def infer_response(content: Mapping[str, Any], scores_N: np.ndarray, bundle_id: str) -> tuple[bytes, int | None]:
    """The answer to an inference request.

    Args:
        content: The request.
        scores_N: float32.
        bundle_id: The version that answers.

    Returns:
        The body, and how long its JSON is if the scores are behind it in binary form.
    """
    answer: dict[str, Any] = {"model_name": MODEL_NAME, "model_version": bundle_id}
    if "id" in content:
        answer["id"] = content["id"]
    output: dict[str, Any] = {"name": OUTPUT, "datatype": "FP32", "shape": [len(scores_N)]}
    answer["outputs"] = [output]
    if not _wants_binary(content):
        output["data"] = scores_N
        return orjson.dumps(answer, option=orjson.OPT_SERIALIZE_NUMPY), None
    behind = scores_N.astype("<f4").tobytes()
    output["parameters"] = {"binary_data_size": len(behind)}
    header = orjson.dumps(answer)
    return header + behind, len(header)


def infer_request(
    table: pa.Table,
    fields: Sequence[FieldSpec],
    vectors_N2V: np.ndarray | None = None,
    llm_NL: np.ndarray | None = None,
) -> dict[str, Any]:
    """An inference request for the rows of a table, as a client sends it; with what else the model reads of them."""
    inputs = [
        {
            "name": field.name,
            "datatype": ACCEPTED[field.kind][0],
            "shape": [table.num_rows],
            "data": table.column(field.name).to_pylist(),
        }
        for field in fields
    ]
    for name, values in _numbers(vectors_N2V, llm_NL):
        flat = values.reshape(-1).tolist()
        inputs.append({"name": name, "datatype": "FP32", "shape": list(values.shape), "data": flat})
    return {"inputs": inputs}


def infer_request_binary(
    table: pa.Table,
    fields: Sequence[FieldSpec],
    vectors_N2V: np.ndarray | None = None,
    llm_NL: np.ndarray | None = None,
) -> tuple[bytes, int]:
    """The same request in binary form, which asks for scores in binary form; its body, and how long the JSON in it is."""
    inputs: list[dict[str, Any]] = []
    parts: list[bytes] = []

    def add(name: str, datatype: str, shape: Sequence[int], content: bytes) -> None:
        parts.append(content)
        described = {"name": name, "datatype": datatype, "shape": list(shape)}
        inputs.append(described | {"parameters": {"binary_data_size": len(content)}})

    for field in fields:
        column, datatype = table.column(field.name), ACCEPTED[field.kind][0]
        if field.kind is Kind.MULTIVALUED:
            column = pc.binary_join(column, field.separator)
        add(field.name, datatype, [table.num_rows], write_column(column, datatype))
    for name, values in _numbers(vectors_N2V, llm_NL):
        add(name, "FP32", values.shape, values.astype("<f4").tobytes())
    header = orjson.dumps({"inputs": inputs, "parameters": {"binary_data_output": True}})
    return header + b"".join(parts), len(header)


def model_metadata(manifest: Manifest, versions: Sequence[str] = ()) -> dict[str, Any]:
    """What the model takes and gives.

    Args:
        manifest: Of the bundle.
        versions: That can be asked for; the bundle's own when left out.
    """
    inputs: list[dict[str, Any]] = [
        {"name": field.name, "datatype": ACCEPTED[field.kind][0], "shape": [-1]} for field in manifest.fields
    ]
    if manifest.vectors is not None:
        shape = [-1, 2, manifest.vectors.size]
        inputs.append({"name": VECTORS, "datatype": "FP32", "shape": shape, "parameters": {"optional": True}})
    if manifest.llm_size:
        inputs.append({"name": LLM, "datatype": "FP32", "shape": [-1, manifest.llm_size]})
    return {
        "name": MODEL_NAME,
        "versions": list(versions) or [manifest.bundle_id],
        "platform": "onnx_onnxruntime",
        "inputs": inputs,
        "outputs": [{"name": OUTPUT, "datatype": "FP32", "shape": [-1]}],
    }


def _numbers(vectors_N2V: np.ndarray | None, llm_NL: np.ndarray | None) -> list[tuple[str, np.ndarray]]:
    return [(name, values) for name, values in ((VECTORS, vectors_N2V), (LLM, llm_NL)) if values is not None]


def _check_optional(content: Mapping[str, Any]) -> None:
    """What a request may have beside its inputs."""
    if not isinstance(content.get("id", ""), str):
        raise RequestError(f"'id' is {content['id']!r}; send text, or leave it out")
    if not isinstance(content.get("parameters", {}), dict):
        raise RequestError("'parameters' is not an object; send {name: value}, or leave it out")
    if "outputs" not in content:
        return
    outputs = content["outputs"]
    names = [put.get("name") if isinstance(put, dict) else put for put in outputs] if isinstance(outputs, list) else []
    if names != [OUTPUT]:
        raise RequestError(f"'outputs' asks for {names}, and the model gives '{OUTPUT}'; ask for that, or leave 'outputs' out")
    if not isinstance(outputs[0], dict) or not isinstance(outputs[0].get("parameters", {}), dict):
        raise RequestError(f"'outputs' is no list of objects; send [{{name: {OUTPUT}}}], or leave it out")


def _wants_binary(content: Mapping[str, Any]) -> bool:
    wanted = content.get("parameters", {}).get("binary_data_output", False)
    if "outputs" in content:
        wanted = content["outputs"][0].get("parameters", {}).get("binary_data", wanted)
    return wanted is True
