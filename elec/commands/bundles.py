"""Which bundle a command means, and where its features are."""

from elec.serving.champion import champion_of, feast_of

__all__ = ["bundle_of", "feast_of"]


def bundle_of(bundle: str, workspace: str) -> str:
    """The URI of the bundle that was given, or of the champion.

    Raises:
        InputError: If none was given and the workspace has no champion.
    """
    return bundle or champion_of(workspace)
