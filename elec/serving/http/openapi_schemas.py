"""The JSON schemas of requests and answers. What fits a schema is never answered with 400."""

from typing import Any

from elec.serving.http.protocol import LLM, MODEL_NAME, OUTPUT, VECTORS
from elec.serving.http.protocol_rank import LONGEST_KEY
from elec.serving.http.protocol_tensors import ACCEPTED, FLOATS, INTEGERS, TEXT
from elec.serving.manifest import Manifest
from elec.spec.fields import Entity, FieldSpec, Kind

Schema = dict[str, Any]

_INT64 = {"type": "integer", "minimum": -(2**63), "maximum": 2**63 - 1}
_NUMBER = {"type": "number"}
_TEXT = {"type": "string"}
_SIZE = {"type": "integer", "minimum": 0, "maximum": 2**31 - 1}
_KEY = {"anyOf": [{"type": "string", "minLength": 1, "maxLength": LONGEST_KEY}, _INT64]}
_OBJECT = {"type": "object"}


def infer_schema(manifest: Manifest, rows: int) -> Schema:
    """Of an inference request.

    Args:
        manifest: Of the bundle.
        rows: Most that a request may have.
    """
    tensors = [schema for field in manifest.fields for schema in _tensors(field, rows)]
    least = len(manifest.fields)
    if manifest.vectors is not None:
        tensors.append(_numbers(VECTORS, (2, manifest.vectors.size), rows))
    if manifest.llm_size:
        tensors.append(_numbers(LLM, (manifest.llm_size,), rows))
    output = {
        "type": "object",
        "properties": {"name": {"const": OUTPUT}, "parameters": {"type": "object"}},
        "required": ["name"],
    }
    return {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "parameters": _OBJECT,
            "inputs": {
                "type": "array",
                "minItems": 1,
                "items": {"anyOf": tensors},
                "description": f"{least} fields, each once.",
            },
            "outputs": {"type": "array", "minItems": 1, "maxItems": 1, "items": output},
        },
    }


def rank_schemas(manifest: Manifest, rows: int) -> Schema:
    """Of a ranking request.

    Args:
        manifest: Of the bundle.
        rows: Most candidates that a request may have.
    """
    fields = {field.name: _value(field) for field in manifest.fields if field.of is Entity.CONTEXT}
    context = {"type": "object", "properties": fields, "additionalProperties": False}
    shared = {"user": _KEY, "context": _or_null(context), "sort": {"type": "boolean"}, "id": _or_null(_TEXT)}
    keys = {"type": "array", "items": _KEY, "maxItems": rows}
    return {
        "oneOf": [
            {
                "type": "object",
                "required": ["user", name],
                "properties": {**shared, name: keys},
                "additionalProperties": False,
            }
            for name in ("items", "candidates")
        ]
    }


def answer_schemas() -> dict[str, Schema]:
    """Of the answers, by name."""
    score: Schema = {"type": "number", "minimum": 0, "maximum": 1}
    ready: dict[str, Schema] = {"ready": {"type": "boolean"}}
    scored = _answer({"item": {"type": "string"}, "score": score})
    unknown = _answer({"user": {"type": "boolean"}, "items": _SIZE})
    degraded: Schema = {"type": "array", "items": _TEXT, "minItems": 1, "description": "What was missing, and why."}
    told: dict[str, Schema] = {"bundle": _TEXT, "unknown": unknown}
    ranked = {
        "oneOf": [
            _answer(told | {"items": {"type": "array", "items": scored}}, id=_TEXT, degraded=degraded),
            _answer(told | {"scores": {"type": "array", "items": score}}, id=_TEXT, degraded=degraded),
        ]
    }
    tensor = _answer(
        {
            "name": {"const": OUTPUT},
            "datatype": {"const": "FP32"},
            "shape": {"type": "array", "items": _SIZE, "minItems": 1, "maxItems": 1},
            "data": {"type": "array", "items": score},
        }
    )
    described = _answer(
        {"name": _TEXT, "datatype": _TEXT, "shape": {"type": "array", "items": {"type": "integer", "minimum": -1}}},
        parameters=_OBJECT,
    )
    model: dict[str, Schema] = {
        "name": {"const": MODEL_NAME},
        "versions": {"type": "array", "items": _TEXT, "minItems": 1},
        "platform": _TEXT,
        "inputs": {"type": "array", "items": described},
        "outputs": {"type": "array", "items": described},
    }
    scores: dict[str, Schema] = {
        "model_name": {"const": MODEL_NAME},
        "model_version": _TEXT,
        "outputs": {"type": "array", "items": tensor},
    }
    return {
        "Error": _answer({"error": _TEXT}),
        "Live": _answer({"live": {"const": True}}),
        "Ready": _answer(ready),
        "Server": _answer({"name": _TEXT, "version": _TEXT, "extensions": {"type": "array", "items": _TEXT}}),
        "Model": _answer(model),
        "ModelReady": _answer({"name": {"const": MODEL_NAME}, "version": _TEXT, **ready}),
        "Scores": _answer(scores, id=_TEXT),
        "Ranked": ranked,
    }


def _answer(always: dict[str, Schema], **sometimes: Schema) -> Schema:
    return {
        "type": "object",
        "required": list(always),
        "properties": always | sometimes,
        "additionalProperties": False,
    }


def _tensors(field: FieldSpec, rows: int) -> list[Schema]:
    """The forms in which a field may come."""
    accepted = ACCEPTED[field.kind][1]
    forms = []
    if accepted & TEXT:
        data: Schema = _array(_or_null(_TEXT), rows)
        if field.kind is Kind.MULTIVALUED:
            several = {"type": "array", "items": _or_null(_TEXT)}
            data = {"anyOf": [data, _array(_or_null(several), rows)]}
        forms.append((sorted(accepted & TEXT), data))
    if accepted & INTEGERS:
        forms.append((sorted(accepted & INTEGERS), _array(_or_null(_INT64), rows)))
    if accepted & FLOATS:
        forms.append((sorted(accepted & FLOATS), _array(_or_null(_NUMBER), rows)))
    return [_tensor(field.name, datatypes, {"anyOf": [_shape(()), _shape((1,))]}, data) for datatypes, data in forms]


def _numbers(name: str, sizes: tuple[int, ...], rows: int) -> Schema:
    """A tensor without nulls; its data is flat or nested."""
    nested = _array(_NUMBER, rows)
    for _ in sizes:
        nested = {"type": "array", "items": nested}
    flat = {"type": "array", "items": _NUMBER}
    return _tensor(name, sorted(FLOATS), _shape(sizes), {"anyOf": [flat, nested]})


def _tensor(name: str, datatypes: list[str], shape: Schema, data: Schema) -> Schema:
    return {
        "type": "object",
        "required": ["name", "datatype", "shape", "data"],
        "properties": {"name": {"const": name}, "datatype": {"enum": datatypes}, "shape": shape, "data": data},
    }


def _shape(sizes: tuple[int, ...]) -> Schema:
    length = 1 + len(sizes)
    return {
        "type": "array",
        "prefixItems": [_SIZE, *({"const": size} for size in sizes)],
        "minItems": length,
        "maxItems": length,
    }


def _array(items: Schema, rows: int) -> Schema:
    return {"type": "array", "items": items, "maxItems": rows}


def _or_null(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _value(field: FieldSpec) -> Schema:
    """A context field's value in a ranking request."""
    if field.kind is Kind.NUMERIC:
        return _or_null(_NUMBER)
    if field.kind is Kind.MULTIVALUED:
        return {"anyOf": [_TEXT, {"type": "array", "items": _TEXT}, {"type": "null"}]}
    return {"anyOf": [_TEXT, _NUMBER, {"type": "null"}]}
