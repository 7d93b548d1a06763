"""Real server processes under load, for the benchmarks: started, asked by wrk or at a set rate, and looked at from outside."""

import asyncio
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import numpy as np
import orjson
import uvloop

from elec.deploy.local import LocalDeployment

_SECONDS_TO_START = 120.0

# Each thread of wrk walks through the bodies, one after the other.
_SCRIPT = """
local bodies, at = {{}}, 0
for line in io.lines("{bodies}") do bodies[#bodies + 1] = line end
wrk.method, wrk.path = "POST", "{path}"
wrk.headers["Content-Type"] = "application/json"
function request()
  at = at % #bodies + 1
  return wrk.format(nil, nil, nil, bodies[at])
end
local threads = {{}}
function setup(thread) thread:set("refused", 0); table.insert(threads, thread) end
function response(status) if status ~= 200 then refused = refused + 1 end end
function done(summary, latency)
  local other = 0
  for _, thread in ipairs(threads) do other = other + thread:get("refused") end
  local errors = summary.errors
  io.write(string.format("DONE %d %d %d %d %f %f\\n", summary.requests, summary.duration, other,
    errors.connect + errors.read + errors.write + errors.timeout, latency:percentile(50), latency:percentile(99)))
end
"""


@dataclass(frozen=True)
class Sustained:
    """What wrk saw.

    Attributes:
        rate: Answers a second.
        errors: Answers that were not 200, and broken connections.
        p50: Milliseconds.
        p99: Milliseconds.
    """

    rate: float
    errors: int
    p50: float
    p99: float


@dataclass
class Offered:
    """What came of requests that were sent at a set rate, whatever the server did.

    Attributes:
        statuses: Answers by status; 0 for a broken connection.
        seconds: Of each answer of 200, from when the request was due.
        sent: When each of those was due, in seconds since the start.
        versions: By bundle, the answers that it gave.
    """

    statuses: Counter[int] = field(default_factory=Counter)
    seconds: list[float] = field(default_factory=list)
    sent: list[float] = field(default_factory=list)
    versions: Counter[str] = field(default_factory=Counter)

    def p99(self, since: float = 0.0) -> float:
        """99th percentile in milliseconds of the requests that were due after a moment."""
        chosen = [taken for due, taken in zip(self.sent, self.seconds, strict=True) if due >= since]
        return float(np.percentile(chosen, 99) * 1e3) if chosen else float("nan")


@contextmanager
def kserve(bundle: str, module: str = "elec.serving.kserve_model") -> Iterator[tuple[str, int]]:
    """The bundle behind KServe's model server, one process; its address and process id.

    Args:
        bundle: Its folder.
        module: With the model: elec's own adapter, or another.
    """
    with tempfile.TemporaryFile() as log:
        port = _free_port()
        command = [sys.executable, "-m", module, "--bundle", bundle, "--http_port", str(port)]
        process = subprocess.Popen(
            [*command, "--enable_grpc", "false"], stdout=log, stderr=log, env=os.environ | {"OMP_NUM_THREADS": "1"}
        )
        with _ready(process, port) as served:
            yield served


@contextmanager
def elec(bundle: str, feast: str = "", settings: Sequence[str] = (), workspace: str = "") -> Iterator[tuple[str, int]]:
    """The bundle, or a workspace's champion, behind our server, one process; its address and process id."""
    if not settings and not workspace:
        with LocalDeployment(bundle, feast) as server:
            yield server.url, server.pid
        return
    port = _free_port()
    what = ["--workspace", workspace] if workspace else ["--bundle", bundle]
    given = [part for setting in settings for part in ("--set", setting)]
    command = [sys.executable, "-m", "elec.serving", *what, "--feast", feast, "--port", str(port), *given]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    with _ready(process, port) as served:
        yield served


def wrk(url: str, path: str, bodies: Sequence[bytes], *, seconds: float, connections: int) -> Sustained:
    """Asks as fast as the server answers, on kept-alive connections."""
    program = shutil.which("wrk")
    if program is None:
        sys.exit("wrk is not on PATH; install it, for these figures are its own")
    with tempfile.TemporaryDirectory(prefix="elec-wrk-") as scratch:
        lines, script = Path(scratch, "bodies"), Path(scratch, "post.lua")
        lines.write_bytes(b"\n".join(bodies) + b"\n")
        script.write_text(_SCRIPT.format(bodies=lines, path=path))
        command = [program, "-t1", f"-c{connections}", f"-d{max(1, round(seconds))}s", "-s", str(script), url]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"DONE (\d+) (\d+) (\d+) (\d+) ([\d.]+) ([\d.]+)", told)
    assert found is not None, told
    requests, taken, other, broken = (int(number) for number in found.groups()[:4])
    return Sustained(requests / (taken / 1e6), other + broken, float(found[5]) / 1e3, float(found[6]) / 1e3)


def offer(url: str, path: str, bodies: Sequence[bytes], *, rate: float, seconds: float, connections: int = 400) -> Offered:
    """Sends requests at random moments at a rate, and does not wait for answers to send the next one.

    Args:
        url: The server's.
        path: Of every request.
        bodies: Sent in turn.
        rate: Requests a second.
        seconds: For so long.
        connections: Kept alive; a request that finds none free waits, and its time counts from when it was due.
    """
    return uvloop.run(_offer(url, path, bodies, rate, seconds, connections))


def resident(pid: int) -> float:
    """MiB of memory that a process has."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


async def _offer(url: str, path: str, bodies: Sequence[bytes], rate: float, seconds: float, connections: int) -> Offered:
    host, port = url.removeprefix("http://").split(":")
    free: asyncio.LifoQueue[tuple[asyncio.StreamReader, asyncio.StreamWriter] | None] = asyncio.LifoQueue()
    for _ in range(connections):
        free.put_nowait(None)
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: "
    requests = [f"{head}{len(body)}\r\n\r\n".encode() + body for body in bodies]
    offered = Offered()
    due = np.cumsum(np.random.default_rng(0).exponential(1 / rate, round(rate * seconds))).tolist()
    started = time.perf_counter()

    async def ask(content: bytes, moment: float) -> None:
        connection = await free.get()
        status, lasting = 0, False
        # A connection that was idle for long may be closed by now, as any client has to expect; a new one may not.
        for tried in (connection, None) if connection else (None,):
            try:
                reader, writer = tried or await asyncio.open_connection(host, int(port))
                writer.write(content)
                status, body, lasting = await _answer(reader)
                break
            except (OSError, asyncio.IncompleteReadError):
                continue
        if status == 200:
            offered.seconds.append(time.perf_counter() - started - moment)
            offered.sent.append(moment)
            offered.versions[_version(body)] += 1
        if status and not lasting:
            writer.close()
        free.put_nowait((reader, writer) if lasting else None)
        offered.statuses[status] += 1

    tasks: set[asyncio.Task[None]] = set()
    for number, moment in enumerate(due):
        wait = moment - (time.perf_counter() - started)
        if wait > 0:
            await asyncio.sleep(wait)
        task = asyncio.create_task(ask(requests[number % len(requests)], moment))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
    if tasks:
        await asyncio.wait(tasks, timeout=30)
    return offered


async def _answer(reader: asyncio.StreamReader) -> tuple[int, bytes, bool]:
    head = (await reader.readuntil(b"\r\n\r\n")).lower()
    length = re.search(rb"content-length: (\d+)", head)
    body = await reader.readexactly(int(length[1]) if length else 0)
    return int(head[9:12]), body, b"connection: close" not in head


def _version(body: bytes) -> str:
    answer = orjson.loads(body)
    return str(answer.get("bundle") or answer.get("model_version"))


def _free_port() -> int:
    from elec.serving.http.server import bind

    with bind("127.0.0.1", 0) as listener:
        port: int = listener.getsockname()[1]
    return port


@contextmanager
def _ready(process: subprocess.Popen[bytes], port: int) -> Iterator[tuple[str, int]]:
    """The address and the process id of a server, once it is ready; the process ends with the block."""
    try:
        url = f"http://127.0.0.1:{port}"
        _wait(url, process)
        yield url, process.pid
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(20)
        process.kill()


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _SECONDS_TO_START
    with httpx.Client(base_url=url, timeout=2.0, trust_env=False) as client:
        while time.monotonic() < until and process.poll() is None:
            with suppress(httpx.HTTPError):
                if client.get("/v2/health/ready").status_code == httpx.codes.OK:
                    return
            time.sleep(0.05)
    raise SystemExit(f"the server at {url} did not become ready")
