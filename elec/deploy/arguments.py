"""What a server process is told about its bounds, and what its clients have to say to it."""

import os

from elec.spec.serving import ServingSpec


def settings_arguments(settings: ServingSpec) -> list[str]:
    """The settings that are not the default, as arguments of `python -m elec.serving`."""
    arguments = []
    for name, field in ServingSpec.model_fields.items():
        value = getattr(settings, name)
        if value != field.default:
            arguments += ["--set", f"{name}={str(value).lower() if isinstance(value, bool) else value}"]
    return arguments


def request_headers(settings: ServingSpec) -> dict[str, str]:
    """What every request carries: the bearer token, if there is one."""
    token = os.environ.get(settings.token, "") if settings.token else ""
    return {"Authorization": f"Bearer {token}"} if token else {}
