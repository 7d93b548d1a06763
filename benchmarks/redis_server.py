"""A Redis of a benchmark's own, on a free port of this machine; nothing is saved."""

import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from elec.errors import InputError


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    """Runs `redis-server` in a `with` block; gives its `host:port`.

    Args:
        folder: Its own.

    Raises:
        InputError: If it is not installed.
    """
    program = shutil.which("redis-server")
    if program is None:
        raise InputError("redis-server is not on PATH; install Redis, for these figures are of it")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", port)) == 0:
                    break
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)
