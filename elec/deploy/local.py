"""The local deployment: a real server process on a free loopback port, which never outlives the one that started it."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from types import TracebackType
from typing import IO, Self

import httpx

from elec.deploy.arguments import settings_arguments
from elec.errors import BlockedError
from elec.serving.http.server import bind
from elec.spec.serving import ServingSpec

_SECONDS_TO_END = 10.0
_SECONDS_BETWEEN_LOOKS = 0.05


class LocalDeployment:
    """A server process in a `with` block: ready when the block starts, gone when it ends.

    Example:
        with LocalDeployment("runs/registry/bundles/...") as server:
            httpx.get(f"{server.url}/v2/health/ready")

    Args:
        bundle: URI of a bundle.
        feast_folder: The Feast folder of a workspace; empty for none.
        settings: The server's bounds.
        deadline: Seconds to become ready.
    """

    def __init__(
        self, bundle: str, feast_folder: str = "", settings: ServingSpec | None = None, *, deadline: float = 120.0
    ) -> None:
        self.bundle = bundle
        self.feast_folder = feast_folder
        self.settings = settings or ServingSpec()
        self.deadline = deadline
        self.url = ""
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None

    @property
    def pid(self) -> int:
        """The server's process; 0 when there is none."""
        return self._process.pid if self._process is not None else 0

    @property
    def alive(self) -> bool:
        """Whether the server's process runs."""
        return self._process is not None and self._process.poll() is None

    def __enter__(self) -> Self:
        """Starts the server.

        Raises:
            BlockedError: If it ends, or is not ready in time.
        """
        try:
            self._start()
            self._wait()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Stops the server, once its requests are answered; one that is stopped already stays so."""
        if self._process is not None:
            for number in (signal.SIGTERM, signal.SIGKILL):
                # The group outlives its leader as long as a process is in it.
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self._process.wait(_SECONDS_TO_END + self.settings.drain_seconds)
            self._process = None
        if self._log is not None:
            self._log.close()
            self._log = None

    def _start(self) -> None:
        # The socket is ours before the process is, so nobody can take the port in between.
        with bind("127.0.0.1", 0) as listener:
            self.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
            self._log = tempfile.TemporaryFile()  # noqa: SIM115 - closed by _stop
            command = [sys.executable, "-m", "elec.serving", "--bundle", self.bundle, "--feast", self.feast_folder]
            handed = ["--fd", str(listener.fileno()), "--parent", str(os.getpid())]
            # A session of its own: it is stopped as a group, and a Ctrl-C on the terminal does not reach it before us.
            self._process = subprocess.Popen(
                [*command, *handed, *settings_arguments(self.settings)],
                pass_fds=[listener.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                start_new_session=True,
            )

    def _wait(self) -> None:
        assert self._process is not None
        until = time.monotonic() + self.deadline
        with httpx.Client(base_url=self.url, timeout=2.0, trust_env=False) as client:
            while True:
                if self._process.poll() is not None:
                    raise BlockedError(
                        f"the server of {self.bundle} ended with exit code {self._process.returncode} before it was ready: "
                        f"{self._last_words()}"
                    )
                with contextlib.suppress(httpx.HTTPError):
                    if client.get("/v2/health/ready").status_code == httpx.codes.OK:
                        return
                if time.monotonic() > until:
                    raise BlockedError(
                        f"the server of {self.bundle} was not ready after {self.deadline:g} seconds: {self._last_words()}"
                    )
                time.sleep(_SECONDS_BETWEEN_LOOKS)

    def _last_words(self) -> str:
        """The end of what the server wrote."""
        assert self._log is not None
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("elec: ") if lines else "it wrote nothing"
