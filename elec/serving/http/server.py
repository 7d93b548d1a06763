"""The server process: uvicorn on a socket of ours, from ready to drained."""

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import Callable
from types import FrameType

import uvicorn

from elec.errors import InputError
from elec.serving.http.admission import Admission
from elec.serving.http.connection import Connection
from elec.serving.http.front import Front
from elec.spec.serving import ServingSpec

#: After SIGTERM new connections are still answered for this long at most: a balancer learns late that a server has gone.
_LAME_DUCK = 1.0
_SECONDS_BETWEEN_LOOKS = 0.02


def serve(
    app: Front,
    listener: socket.socket,
    settings: ServingSpec,
    admission: Admission,
    ready: Callable[[], None] | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT, and lets requests in progress end.

    Args:
        app: The application.
        listener: A bound socket.
        settings: The bounds.
        admission: The application's, which learns when the end begins.
        ready: Called when requests are answered.
    """
    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        http=Connection,
        # Nothing here asks who the client is.
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=max(1, round(settings.drain_seconds)),
    )
    _Server(config, settings.drain_seconds, admission, ready).run(sockets=[listener])


def bind(host: str, port: int) -> socket.socket:
    """A socket of one's own at an address; it accepts nothing until the server listens.

    Args:
        host: A name or an address; `127.0.0.1` keeps strangers out.
        port: 0 for any that is free.

    Raises:
        InputError: If the address is not ours or the port is taken.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, kind, protocol)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except BaseException:
            listener.close()
            raise
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"{host}:{port}: cannot be listened on ({reason}); give another --host or --port") from None
    return listener


class _Server(uvicorn.Server):
    def __init__(
        self, config: uvicorn.Config, drain_seconds: float, admission: Admission, ready: Callable[[], None] | None
    ) -> None:
        super().__init__(config)
        self._drain_seconds = drain_seconds
        self._admission = admission
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._ready is not None and not self.should_exit:
            self._ready()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        # Unlike uvicorn's own, it does not raise the signal again in the end: a server that was told to end, and has done
        # so in order, has not failed. A second signal is impatience.
        self.force_exit = self.should_exit
        self.should_exit = True
        self._admission.draining = sig == signal.SIGTERM

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if self._admission.draining:
            # Each answer tells its client to connect elsewhere next time, so connections end with an answer and not in the
            # middle of a request. Those that stay silent are closed then.
            until = time.monotonic() + min(_LAME_DUCK, self._drain_seconds)
            while self.server_state.connections and time.monotonic() < until and not self.force_exit:
                await asyncio.sleep(_SECONDS_BETWEEN_LOOKS)
        with contextlib.suppress(asyncio.CancelledError):
            await super().shutdown(sockets)
