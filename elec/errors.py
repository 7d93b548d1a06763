"""The errors that a user can cause, apart from the ones that are ours.

An `InputError` is one sentence: the file, the field, the value and the way out. The command line prints it without a
traceback and exits with 2. Everything else that ends a run exits with 1.
"""


class ElecError(Exception):
    """An expected failure with a message made for people.

    Args:
        message: One line; what cannot be shown (a damaged file's control characters, say) is written as its escape.
    """

    exit_code = 1

    def __init__(self, message: str = "") -> None:
        super().__init__(_shown(message))


class InputError(ElecError):
    """What the user gave is wrong: a file, a field, a value. The message says which, and the way out."""

    exit_code = 2


class RunFailedError(ElecError):
    """A run, or one of its steps, could not be completed."""


class BlockedError(ElecError):
    """A gate stopped the run on purpose: too many bad rows, a schema that moved, a smoke test that failed."""


def _shown(message: str) -> str:
    """A message that a terminal shows as it is, and that every encoding can write."""
    if message.isprintable():
        return message
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in message)
