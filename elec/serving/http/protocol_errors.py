"""What a client gets wrong, as one sentence and a status.

400: it is not what the OpenAPI document describes. 422: it is, and its parts do not fit each other, or are too many.
"""

from elec.errors import InputError


class RequestError(InputError):
    """What a client sent is wrong.

    Args:
        message: One sentence.
        status: Of the HTTP answer.
    """

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def too_large(most: int) -> RequestError:
    """The body is over the bound."""
    return RequestError(f"the body is larger than {most:,} bytes; send fewer rows at once", status=413)
