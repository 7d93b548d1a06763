"""The reference of a published bundle: the profile of the window that it was trained on."""

from pydantic import ValidationError

from elec import storage
from elec.drift.histograms import Profile
from elec.errors import InputError


def read_reference(uri: str) -> Profile | None:
    """Reads the profile of a reference, or None if there is none.

    Args:
        uri: `Workspace.reference(bundle_id)`.

    Raises:
        InputError: If there is one that cannot be read.
    """
    address = storage.join(uri, "profile.json")
    try:
        content = storage.read_bytes(address)
    except FileNotFoundError:
        return None
    try:
        return Profile.model_validate_json(content)
    except ValidationError as error:
        raise InputError(
            f"{address}: not a drift reference that this version of elec can read ({error.errors()[0]['msg']}); "
            "remove the file to let the next run start without a reference"
        ) from None
