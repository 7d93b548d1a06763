"""Which bundle a workspace has in service, and where its features are."""

from elec import storage
from elec.errors import InputError
from elec.runs.workspace import Workspace


def champion_of(workspace: str) -> str:
    """The URI of a workspace's champion.

    Raises:
        InputError: If it has none.
    """
    space = Workspace(workspace)
    champion = space.champion()
    if champion is None:
        raise InputError(f"{workspace}: no model is in service there yet; run `elec run` first, or give --bundle URI")
    return space.bundle(champion.bundle_id)


def feast_of(workspace: str) -> str:
    """The workspace's Feast folder; empty if there is no registry in it."""
    feast = Workspace(workspace).feast
    return feast if storage.exists(storage.join(feast, "registry.db")) else ""
