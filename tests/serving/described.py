"""A manifest without a bundle: for what only needs to know the fields."""

from typing import Any

from elec.serving.manifest import Manifest
from tests.serving.made import AS_OF, SPEC


def describe(number: int = 0, **changes: Any) -> Manifest:
    """The manifest of the made data set's bundle of that number."""
    dataset = SPEC.dataset
    content: dict[str, Any] = {
        "run_id": "run-1",
        "as_of": AS_OF,
        "code_version": "abc",
        "bundle_id": f"toy-20240501T000000-{number:012x}",
        "dataset": dataset.name,
        "user": dataset.user,
        "item": dataset.item,
        "fields": dataset.tabular_fields,
        "feature_service": f"{dataset.name}_v1",
        "slots": sum(field.width for field in dataset.tabular_fields),
        "opset": 20,
        "files": {},
    }
    return Manifest.model_validate(content | changes)
