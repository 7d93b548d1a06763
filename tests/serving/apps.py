"""The application of a bundle, inside the process."""

from pathlib import Path

from starlette.types import ASGIApp

from elec.serving.http.app import create_app
from elec.serving.service import Serving, open_service
from elec.spec.serving import ServingSpec


def app_of(bundle: Path | str, feast_folder: Path | str = "", **settings: object) -> ASGIApp:
    """What a server of the bundle, with the settings, answers with."""
    chosen = ServingSpec.model_validate(settings)
    return create_app(Serving(open_service(str(bundle), str(feast_folder), chosen)), chosen)
