"""What is wrong with a spec, in one sentence that a newcomer understands: the key, the value, the way out."""

import difflib
from collections.abc import Callable
from typing import Any

from pydantic import BaseModel, ValidationError

from elec.spec.dataset import DatasetSpec

_Context = dict[str, Any]

#: Pydantic's kind of problem -> what the value has to be.
_HAS_TO: dict[str, Callable[[_Context], str]] = {
    "greater_than": lambda context: f"has to be above {context['gt']:g}",
    "greater_than_equal": lambda context: f"has to be at least {context['ge']:g}",
    "less_than": lambda context: f"has to be below {context['lt']:g}",
    "less_than_equal": lambda context: f"has to be at most {context['le']:g}",
    "string_type": lambda _: "has to be text; put quotes around a single value",
    "string_too_short": lambda _: "is empty; give a value, or leave the key out",
    "string_too_long": lambda context: f"has more than {context['max_length']} characters; shorten it",
    "too_short": lambda context: f"has to list at least {context['min_length']}, not {context['actual_length']}",
    "too_long": lambda context: f"has to list at most {context['max_length']}, not {context['actual_length']}",
    "tuple_type": lambda _: "has to be a list; write [a, b], or one '- ' a line",
    "bool_parsing": lambda _: "has to be true or false",
    "bool_type": lambda _: "has to be true or false",
    "int_parsing": lambda _: "has to be a whole number",
    "int_type": lambda _: "has to be a whole number",
    "int_from_float": lambda _: "has to be a whole number",
    "float_parsing": lambda _: "has to be a number; a share of 5% is written 0.05",
    "float_type": lambda _: "has to be a number",
    "datetime_from_date_parsing": lambda _: "has to be a date or a time, such as 2024-05-31 or 2024-05-31T18:00:00",
    "datetime_parsing": lambda _: "has to be a date or a time, such as 2024-05-31 or 2024-05-31T18:00:00",
    "datetime_type": lambda _: "has to be a date or a time, such as 2024-05-31 or 2024-05-31T18:00:00",
}

_COLUMN = "has to be letters, digits and underscores, not starting with a digit; rename the column with `columns`"

#: A key whose value has to fit a pattern -> what that means.
_PATTERNS = {
    "dataset.name": "has to be lower-case letters, digits and hyphens, at most 41 of them",
    "dataset.user": _COLUMN,
    "dataset.item": _COLUMN,
    "dataset.fields.name": _COLUMN,
    "dataset.crossed.name": _COLUMN,
    "dataset.crossed.fields": _COLUMN,
    "dataset.aggregates.windows": "has to be a duration, such as 30m, 12h or 7d",
    "dataset.aggregates.every": "has to be a duration, such as 30m, 12h or 7d",
    "run.cluster.cpu": "has to be a number of CPUs, such as 4 or 500m",
    "run.cluster.memory": "has to be an amount of memory, such as 16G",
    "run.cluster.secrets": "has to be a secret and its key, such as {REDIS_PASSWORD: redis/password}",
}

#: A key whose choices have one that only elec itself makes.
_ELECS = {"dataset.fields.of": "pair"}


def sentence(error: ValidationError, model: type[BaseModel], content: dict[str, Any]) -> str:
    """The first problem of a validation.

    Args:
        error: What pydantic found.
        model: The model that was validated; the data set's keys are below its field `dataset`.
        content: The data set's keys as the user wrote them.

    Returns:
        One sentence without a full stop.
    """
    # A misspelt key is also a missing one: name what was written first.
    problem = min(error.errors(), key=lambda found: found["type"] != "extra_forbidden")
    location = problem["loc"]
    place = _place(location, content)
    kind, context = problem["type"], problem.get("ctx", {})
    if kind == "extra_forbidden":
        known = _keys_at(location[:-1], model)
        close = difflib.get_close_matches(str(location[-1]), known, n=1)
        hint = f"did you mean '{close[0]}'?" if close else f"known keys: {', '.join(known)}"
        return f"unknown key {place}; {hint}"
    if kind == "missing":
        return f"the key {place} is missing; add it"
    if kind == "value_error":
        message = _middle(problem["msg"].removeprefix("Value error, "))
        return f"{place}: {message}" if place else message
    value = problem["input"]
    shown = f" = {_short(repr(value))}" if isinstance(value, str | int | float | bool) else ""
    return f"{place}{shown} {_has_to(kind, context, value, location, model, problem['msg'])}"


def _middle(text: str, most: int = 800) -> str:
    """A message without what is in the middle of a long value: what has to be done stands at its end."""
    return text if len(text) <= most else f"{text[: most // 2]}...{text[-most // 2 :]}"


def _short(text: str, most: int = 100) -> str:
    return text if len(text) <= most else f"{text[: most - 3]}..."


def _has_to(
    kind: str, context: _Context, value: object, location: tuple[int | str, ...], model: type[BaseModel], message: str
) -> str:
    """What the value has to be instead."""
    if kind in {"enum", "literal_error"}:
        expected = str(context["expected"])
        if (elecs := _ELECS.get(_dotted(location))) is not None:
            expected = " or ".join(expected.replace(f" or '{elecs}'", "").rsplit(", ", 1))
        choices = [choice for choice in expected.split("'")[1::2] if choice]
        close = difflib.get_close_matches(str(value), choices, n=1, cutoff=0.5)
        return f"has to be {expected}" + (f"; did you mean '{close[0]}'?" if close else "")
    if kind in {"model_type", "model_attributes_type", "dict_type"}:
        return f"has to have keys of its own: {', '.join(_keys_at(location, model))}"
    if kind == "string_pattern_mismatch":
        return _PATTERNS.get(_dotted(location), f"does not fit the pattern {context['pattern']}")
    if kind in _HAS_TO:
        return _HAS_TO[kind](context)
    return f"is wrong: {message[0].lower()}{message[1:]}"


def _dotted(location: tuple[int | str, ...]) -> str:
    """A key without positions in lists, and without the names that the user gave."""
    parts = [part for part in location if isinstance(part, str)]
    return ".".join(parts[:3] if parts[:3] == ["run", "cluster", "secrets"] else parts)


def _place(location: tuple[int | str, ...], content: dict[str, Any]) -> str:
    """A key as the user would look for it; a field by its name. Empty for the spec as a whole."""
    # The user's YAML has the data set's keys at the top level.
    parts = location[1:] if location and location[0] == "dataset" else location
    dotted = ".".join(str(part) for part in parts)
    if len(parts) >= 2 and parts[0] == "fields" and isinstance(parts[1], int):
        field = content["fields"][parts[1]]
        if isinstance(field, dict) and isinstance(field.get("name"), str) and parts[2:] != ("name",):
            return f"'{dotted}' (of field '{field['name']}')"
    return f"'{dotted}'" if dotted else ""


def _keys_at(location: tuple[int | str, ...], model: type[BaseModel]) -> list[str]:
    """The keys that the spec knows at a place, as far as the place can be followed."""
    for part in location:
        field = model.model_fields.get(str(part))
        found = _model_in(field.annotation) if field is not None else None
        if isinstance(part, int) or found is None:
            continue
        model = found
    keys = list(model.model_fields)
    return [*keys, "run"] if model is DatasetSpec else keys


def _model_in(annotation: Any) -> type[BaseModel] | None:
    """The pydantic model inside an annotation such as `tuple[FieldSpec, ...]` or `SideTable | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        found = _model_in(inner)
        if found is not None:
            return found
    return None
