"""A proxy in front of an S3 server that fails in every way a network does: errors, throttling, silence, cut connections."""

import contextlib
import http.client
import http.server
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlparse

FAULTS = ("500", "503", "reset", "cut", "silence")
_SLOW_DOWN = b"<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
_INTERNAL = b"<?xml version='1.0'?><Error><Code>InternalError</Code><Message>Please try again.</Message></Error>"


class Proxy(http.server.ThreadingHTTPServer):
    """Passes requests on; the first ones of each kind meet a fault.

    Args:
        target: The server's URL.
        faults: What befalls the first requests for the same thing, one after the other; the next one gets through.
        silence: Seconds without an answer.
    """

    daemon_threads = True

    def __init__(self, target: str, faults: tuple[str, ...], silence: float) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target, self.faults, self.silence = urlparse(target).netloc, faults, silence
        self.down = False
        self.met: Counter[str] = Counter()
        self._seen: Counter[str] = Counter()
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.server_port}"

    def fault(self, request: str) -> str | None:
        """What befalls a request."""
        with self._lock:
            if self.down:
                return "reset"
            number = self._seen[request]
            self._seen[request] += 1
            if number >= len(self.faults):
                return None
            self.met[self.faults[number]] += 1
            return self.faults[number]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that gave up is what this is for."""


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Proxy

    def _pass(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.server.fault(f"{self.command} {self.path} {self.headers.get('Range')}")
        if fault == "silence":
            time.sleep(self.server.silence)
        if fault in {"reset", "silence"}:
            self._close()
            return
        if fault in {"500", "503"}:
            self._answer(int(fault), [("Content-Type", "application/xml")], _INTERNAL if fault == "500" else _SLOW_DOWN)
            return
        connection = http.client.HTTPConnection(self.server.target, timeout=30)
        # The signature is of the headers as the client wrote them, `Host` among them.
        connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
        for name, value in self.headers.items():
            if name.lower() not in {"connection", "expect"}:
                connection.putheader(name, value)
        connection.endheaders(body)
        response = connection.getresponse()
        content = response.read()
        kept = [(name, value) for name, value in response.getheaders() if name.lower() not in _OF_CONNECTION]
        self._answer(response.status, kept, content, dict(response.getheaders()).get("Content-Length"), cut=fault == "cut")
        connection.close()

    def _answer(
        self, status: int, headers: list[tuple[str, str]], content: bytes, length: str | None = None, *, cut: bool = False
    ) -> None:
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(content)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content[: len(content) // 2] if cut else content)
        if cut:
            self._close()

    def _close(self) -> None:
        self.wfile.flush()
        with contextlib.suppress(OSError):
            self.connection.shutdown(socket.SHUT_RDWR)
        self.close_connection = True

    do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = _pass

    def log_message(self, *_: Any) -> None:
        pass


_OF_CONNECTION = {"content-length", "transfer-encoding", "connection"}


@contextlib.contextmanager
def proxy(target: str, faults: tuple[str, ...], silence: float = 2.5) -> Iterator[Proxy]:
    """A proxy that runs."""
    server = Proxy(target, faults, silence)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
