"""`--set NAME=VALUE`: the settings of one server."""

from collections.abc import Sequence

from pydantic import ValidationError

from elec.errors import InputError
from elec.spec.serving import ServingSpec


def read_settings(given: Sequence[str], start: ServingSpec | None = None) -> ServingSpec:
    """Reads settings from a command line.

    Args:
        given: `NAME=VALUE` each; of a name that is there twice the last one holds.
        start: What is not given; the defaults when left out.

    Raises:
        InputError: If a name is not known, or a value is not one for it.
    """
    start = start or ServingSpec()
    changed: dict[str, str] = {}
    for pair in given:
        name, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"--set {pair}: not NAME=VALUE; --set queue=32, say")
        if name not in ServingSpec.model_fields:
            raise InputError(f"--set {pair}: '{name}' is no setting; settings: {', '.join(ServingSpec.model_fields)}")
        changed[name] = value
    try:
        return ServingSpec.model_validate(start.model_dump() | changed)
    except ValidationError as error:
        problem = error.errors()[0]
        name = str(problem["loc"][0])
        raise InputError(f"--set {name}={changed.get(name, '')}: {problem['msg']}") from None
