"""New champions are picked up while the old one answers: loaded and warmed beside it, then swapped in."""

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from elec.errors import ElecError, InputError
from elec.runs.workspace import Champion, Workspace
from elec.serving.service import Service, Serving

log = logging.getLogger("elec.watch")

# A bundle that could not be loaded is tried again after a while, at longer and longer distances.
_FIRST_RETRY = 10.0
_LAST_RETRY = 300.0


class ChampionWatch:
    """Keeps a server on its workspace's champion.

    The one before is kept loaded, so that a rollback is a swap back, at once. A bundle that is refused leaves the old one
    serving; that is said once.

    Args:
        serving: What answers.
        workspace: Whose champion it is.
        load: Opens the bundle at a URI, and warms it.
        seconds: Between two looks.
        failed: Counts what went wrong, by kind: `champion` cannot be read, `bundle` is refused.
    """

    def __init__(
        self,
        serving: Serving,
        workspace: Workspace,
        load: Callable[[str], Service],
        seconds: float,
        failed: Callable[[str], None] | None = None,
    ) -> None:
        self._serving = serving
        self._workspace = workspace
        self._load = load
        self._seconds = seconds
        self._failed = failed or (lambda _: None)
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        # What was refused, and when it is tried again.
        self._refused: Champion | None = None
        self._wait, self._again = _FIRST_RETRY, 0.0
        self._unreadable = ""

    def __enter__(self) -> Self:
        # It must not keep a process alive whose workspace hangs.
        self._thread = threading.Thread(target=self._watch, name="champion-watch", daemon=True)
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._stopped.set()

    def look(self) -> bool:
        """Looks once.

        Returns:
            Whether another bundle answers now.
        """
        try:
            champion = self._workspace.champion()
        except Exception as error:
            self._cannot_read(error)
            return False
        if self._unreadable:
            log.warning("the champion of %s can be read again", self._workspace.uri)
        self._unreadable = ""
        if champion is None or champion.bundle_id == self._serving.current.version:
            return False
        before = self._serving.find(champion.bundle_id)
        if before is not None:
            self._swap(before)
            return True
        if champion == self._refused and time.monotonic() < self._again:
            return False
        try:
            service = self._load(self._workspace.bundle(champion.bundle_id))
            service.take_over(self._serving.current)
        except Exception as error:
            self._refuse(champion, error)
            return False
        self._refused = None
        self._swap(service)
        return True

    def _watch(self) -> None:
        while not self._stopped.wait(self._seconds):
            self.look()

    def _swap(self, service: Service) -> None:
        old = self._serving.current.version
        self._serving.swap(service)
        log.warning("%s answers now, and %s is kept for a rollback", service.version, old, extra={"bundle": service.version})

    def _refuse(self, champion: Champion, error: Exception) -> None:
        if champion != self._refused:
            self._wait = _FIRST_RETRY
            reason = str(error) if isinstance(error, ElecError) else f"{type(error).__name__}: {error}"
            serves = self._serving.current.version
            log.error("the new champion is refused, %s goes on serving: %s", serves, reason, extra={"bundle": serves})
        else:
            self._wait = min(self._wait * 2, _LAST_RETRY)
        self._failed("bundle")
        self._refused, self._again = champion, time.monotonic() + self._wait

    def _cannot_read(self, error: Exception) -> None:
        said = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        if said != self._unreadable:
            log.error("the champion of %s cannot be read: %s", self._workspace.uri, said)
        self._unreadable = said
        self._failed("champion")
