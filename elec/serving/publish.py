"""Publication: a bundle gets its place below the workspace once, whole, and is never overwritten."""

from pathlib import Path

from elec import storage
from elec.errors import BlockedError
from elec.runs.workspace import Workspace
from elec.serving.bundle import verify
from elec.serving.manifest import MANIFEST, parse_manifest


def publish_bundle(folder: Path, workspace: Workspace) -> str:
    """Publishes a bundle.

    Its place follows from its content, so a bundle that is there already is the same one, and publishing it again is done
    before it starts. Of two that publish at once one wins, and the other finds the work done.

    Args:
        folder: The bundle.
        workspace: Where to.

    Returns:
        The published bundle's URI.

    Raises:
        InputError: If the folder is no bundle, or a damaged one.
        BlockedError: If another bundle has the same id.
    """
    manifest = verify(folder)
    uri = workspace.bundle(manifest.bundle_id)
    try:
        storage.publish_folder(folder, uri, last=MANIFEST)
    except FileExistsError:
        place = storage.join(uri, MANIFEST)
        published = parse_manifest(storage.read_bytes(place), origin=place)
        if published.files != manifest.files:
            raise BlockedError(
                f"{uri}: another bundle is published there; nothing was overwritten, remove one of the two"
            ) from None
    return uri
