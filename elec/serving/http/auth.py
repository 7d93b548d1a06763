"""The bearer token that requests carry, where the server was given one."""

import hmac
import os

from elec.errors import InputError
from elec.spec.serving import ServingSpec

#: What is open without a token: a probe carries none.
OPEN_PATHS = frozenset({"/v2/health/live", "/v2/health/ready"})


class Token:
    """Checks requests.

    Args:
        secret: The token; empty for none, and then every request passes.
    """

    def __init__(self, secret: str = "") -> None:
        self._expected = f"Bearer {secret}".encode() if secret else b""

    def __bool__(self) -> bool:
        return bool(self._expected)

    @classmethod
    def of(cls, settings: ServingSpec) -> "Token":
        """The token that the settings name.

        Raises:
            InputError: If its environment variable is not set: a server that should be closed does not start open.
        """
        if not settings.token:
            return cls()
        secret = os.environ.get(settings.token, "").strip()
        if not secret:
            raise InputError(
                f"token={settings.token}: the environment variable {settings.token} is not set; put the token in it"
            )
        return cls(secret)

    def admits(self, path: str, headers: list[tuple[bytes, bytes]]) -> bool:
        """Whether a request may pass.

        Args:
            path: That it asks for.
            headers: Its headers, names in lower case.
        """
        if not self._expected or path in OPEN_PATHS:
            return True
        given = next((value for name, value in headers if name == b"authorization"), b"")
        # The same time for every wrong token of a length, so that nothing of the right one can be measured.
        return hmac.compare_digest(given, self._expected)
