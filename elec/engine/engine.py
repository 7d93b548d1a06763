"""What an engine is, and the one that needs nothing: this process."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol, TypeVar

from elec.engine.exchange import Exchange
from elec.errors import InputError
from elec.spec.run import DataEngineSpec

Item = TypeVar("Item")
Result = TypeVar("Result")


class Engine(Protocol):
    """Who computes functions of the data."""

    @property
    def pieces(self) -> int:
        """Into how many pieces a file is cut, so that all workers have work; 1 where cutting would help nobody."""

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """Applies a function to items.

        Args:
            function: Importable, or an instance of an importable class; it may run more than once on an item, elsewhere, and
                at the same time as on other items.
            items: Small; what is large goes through files.

        Yields:
            The results in the order of the items.

        Raises:
            ElecError: What the function raises.
            RunFailedError: If the workers are lost.
        """

    def exchange(self) -> AbstractContextManager[Exchange]:
        """A place for files that all workers reach; it is removed at the end of the `with` block."""


class LocalEngine:
    """One item after the other: the functions use the machine's cores themselves."""

    pieces = 1

    def map(self, function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
        """See `Engine`."""
        return map(function, items)

    @contextmanager
    def exchange(self) -> Iterator[Exchange]:
        """See `Engine`."""
        with Exchange.below("") as exchange:
            yield exchange


@contextmanager
def started(settings: DataEngineSpec, place: str = "") -> Iterator[Engine]:
    """The engine that the spec asks for, while the `with` block lasts.

    Args:
        settings: The spec's `run.data`.
        place: A URI below which files are exchanged; empty for this machine's temporary folder.

    Raises:
        InputError: If it is not installed, or cannot be reached.
    """
    if settings.engine == "local":
        yield LocalEngine()
        return
    try:
        from elec.engine.on_ray import ray_engine
    except ModuleNotFoundError as error:
        raise InputError(
            f"run.data.engine is ray, but the package {error.name} is not installed; install the extra `ray`, or set local"
        ) from None
    with ray_engine(settings, place) as engine:
        yield engine
