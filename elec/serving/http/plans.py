"""A request that was read: the work that it asks for, and what the result is answered with."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, TypeAlias

from starlette.types import Scope

Headers: TypeAlias = Sequence[tuple[bytes, bytes]]

_TOLD = "elec.told"


class Reply(NamedTuple):
    """An answer.

    Attributes:
        content: Its body.
        status: Of HTTP.
        kind: Of the content.
        headers: Those beside the content's kind and length.
    """

    content: bytes
    status: int = 200
    kind: bytes = b"application/json"
    headers: Headers = ()


class Plan(NamedTuple):
    """The work of a request.

    Attributes:
        aside: It waits for others, or takes long, and is no work for the event loop.
        work: To be done in turn.
        answer: What its result is answered with.
    """

    aside: bool
    work: Callable[[], Any]
    answer: Callable[[Any], Reply]


#: Reads a request's body; what is wrong with it is raised.
Planner: TypeAlias = Callable[[Scope, bytes], Plan]


@dataclass(slots=True)
class Told:
    """What a route tells of a request.

    Attributes:
        route: Its route's own path; what the client wrote may hold anything.
        request: Its id.
        bundle: That answered.
        seconds: By part of the work.
    """

    route: str = "other"
    request: str = ""
    bundle: str = ""
    seconds: dict[str, float] = field(default_factory=dict)


def tell(scope: Scope, route: str = "other") -> Told:
    """Makes the place where a route leaves what it has to tell of its request."""
    made = scope[_TOLD] = Told(route)
    return made


def told(scope: Scope) -> Told:
    """Where a route leaves what it has to tell of its request."""
    found: Told = scope[_TOLD]
    return found


def header(scope: Scope, name: bytes) -> str | None:
    """A header of a request.

    Args:
        scope: The request.
        name: In lower case.
    """
    for own, value in scope["headers"]:
        if own == name:
            text: str = value.decode("latin-1")
            return text
    return None
