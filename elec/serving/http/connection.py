"""uvicorn's connection, on which a request that came whole, and that the lane takes, goes the short way."""

from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from elec.serving.http.lane import Errand, Lane
from elec.serving.http.plans import Reply

# Requests that a client may send behind one that is not answered yet. uvicorn itself keeps all of them, however many.
_MOST_BEHIND = 256


class Connection(HttpToolsProtocol):
    """A connection of a client.

    What comes in pieces, other methods and paths, and what is sent behind a request before its answer, go uvicorn's own way.
    """

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._lane: Lane = self.config.app.lane  # type: ignore[union-attr]
        # What is being answered the short way; uvicorn's `cycle` may be what is sent behind it already.
        self._turn: _Turn | None = None
        # The parts of the body of a request that may go the short way; None if there is no such request.
        self._parts: list[bytes] | None = None

    def data_received(self, data: bytes) -> None:
        """Reads what came."""
        super().data_received(data)
        if len(self.pipeline) > _MOST_BEHIND:
            self.transport.abort()
        elif self._parts is not None:
            # The rest of the body has to be waited for: the long way has a clock for that.
            parts, self._parts = self._parts, None
            if not self.transport.is_closing():
                super().on_headers_complete()
                for part in parts:
                    super().on_body(part)

    def connection_lost(self, exc: Exception | None) -> None:
        """Gives up what nobody waits for any more."""
        super().connection_lost(exc)
        if self._turn is not None:
            self._turn.abandon()
            self._turn = None

    def on_headers_complete(self) -> None:
        """Chooses the way."""
        if self._is_short():
            self._parts = []
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """Takes a part of a body."""
        if self._parts is None:
            super().on_body(body)
        else:
            self._parts.append(body)

    def on_message_complete(self) -> None:
        """Begins with a request that is there whole."""
        if self._parts is None:
            super().on_message_complete()
            return
        parts, self._parts = self._parts, None
        self._turn = turn = _Turn(self, self.parser.should_keep_alive())
        # uvicorn sees by it that the connection is busy, and has what is sent behind wait.
        self.cycle = turn  # type: ignore[assignment]
        scope: Any = self.scope
        turn.errand = self._lane.begin(self.url, scope, parts[0] if len(parts) == 1 else b"".join(parts), turn.send)

    def _is_short(self) -> bool:
        # A client that does not read its answers waits uvicorn's way until it does.
        return (
            self._lane.takes(self.url)
            and self.parser.get_method() == b"POST"
            and (self.cycle is None or self.cycle.response_complete)
            and not self.pipeline
            and not self.expect_100_continue
            and self.parser.get_http_version() == "1.1"
            and not self.parser.should_upgrade()
            and not self.flow.write_paused
            and not self.transport.is_closing()
        )


class _Nobody:
    """Whom uvicorn tells that a connection is lost."""

    def set(self) -> None:
        """Nobody waits."""


_NOBODY = _Nobody()


class _Turn:
    """A request and its answer; to uvicorn, its `RequestResponseCycle`.

    Args:
        connection: That it came on.
        keep_alive: Whether the client wants to go on.
    """

    __slots__ = ("_connection", "disconnected", "errand", "keep_alive", "message_event", "response_complete")

    def __init__(self, connection: Connection, keep_alive: bool) -> None:
        self._connection = connection
        self.keep_alive = keep_alive
        self.disconnected = False
        self.response_complete = False
        self.message_event = _NOBODY
        #: Its work.
        self.errand: Errand | None = None

    def abandon(self) -> None:
        """The client has left."""
        self.disconnected = True
        if self.errand is not None:
            self.errand.abandon()

    def send(self, reply: Reply, last: bool) -> None:
        """Sends the answer.

        Args:
            reply: The answer.
            last: Whether the connection ends with it.
        """
        self.response_complete = True
        if self.disconnected:
            return
        connection = self._connection
        ends = last or not self.keep_alive
        parts = [STATUS_LINE[reply.status]]
        for name, value in (*connection.server_state.default_headers, *reply.headers):
            parts += (name, b": ", value, b"\r\n")
        parts.append(b"content-type: %b\r\ncontent-length: %d\r\n" % (reply.kind, len(reply.content)))
        parts.append(b"connection: close\r\n\r\n" if ends else b"\r\n")
        parts.append(reply.content)
        connection.transport.write(b"".join(parts))
        if ends:
            connection.transport.close()
        connection.on_response_complete()
