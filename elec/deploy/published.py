"""What a workspace says of its published bundles."""

from elec import storage
from elec.errors import InputError
from elec.runs.workspace import Workspace
from elec.serving.manifest import MANIFEST, Manifest, parse_manifest


def published(workspace: Workspace, bundle_id: str) -> Manifest:
    """The manifest of a published bundle.

    Raises:
        InputError: If it is not there, or damaged.
    """
    uri = workspace.bundle(bundle_id)
    place = storage.join(uri, MANIFEST)
    try:
        return parse_manifest(storage.read_bytes(place), origin=place)
    except FileNotFoundError:
        raise InputError(f"{uri}: there is no such bundle; publish it anew with --bundle FOLDER, or give another one") from None
