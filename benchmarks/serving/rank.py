"""What `/rank` of 100 candidates costs: a real Redis, the real server process, one client on a kept-alive connection.

    python -m benchmarks.serving.rank

Items are asked for cold (the server keeps none, so that every candidate is looked up) and kept. The look-up part stands against
`get_online_features` of Feast called plainly for the same 100 pairs, turn about in one process. The cold start is from the
process's first instruction until `/rank` has answered once, with the bytecode compiled, as the serving image has it. Needs
`redis-server`.
"""

import argparse
import http.client
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.redis_server import redis_server
from benchmarks.serving.made_service import build, made_spec, publish
from elec.features.definitions import project_name
from elec.features.online import OnlineFeatures
from elec.features.store_config import feature_store_settings, open_store
from elec.serving.bundle import open_bundle
from elec.serving.predictor import Predictor
from elec.serving.ranker import Ranker
from elec.serving.start import open_features
from elec.spec import Spec
from elec.spec.run import FeastSpec
from elec.spec.serving import ServingSpec
from elec.version import code_version

_CANDIDATES = 100
_FEATURES = ("users:age", "users:city", "items:category", "items:tags", "items:price")


def main() -> None:
    """Makes a bundle and a store, measures, and writes the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--ids", type=int, default=1_000_000, help="of the vocabularies together")
    options.add_argument("--items", type=int, default=20_000, help="in Redis")
    options.add_argument("--users", type=int, default=5_000, help="in Redis")
    options.add_argument("--requests", type=int, default=3000, help="of each kind")
    options.add_argument("--starts", type=int, default=5)
    options.add_argument("--output", type=Path, default=Path("benchmarks/serving/results-rank.md"))
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="elec-rank-") as scratch, redis_server(Path(scratch)) as address:
        folder = Path(scratch)
        spec = made_spec(FeastSpec(online_store="redis", redis=address))
        bundle = build(spec, folder, ids=chosen.ids)
        feast = publish(spec, folder, users=chosen.users, items=chosen.items)
        asked = _Requests(chosen.users, chosen.items)
        lines = [
            "# Ranking",
            "",
            f"/rank of {_CANDIDATES} candidates, 8 fields, DCNv2 (embedding 32, deep 256/128/64), {chosen.ids:,} ids, Redis "
            f"with {chosen.users:,} users and {chosen.items:,} items on the same machine, one client, {platform.machine()}, "
            f"{os.cpu_count()} cores; code {code_version()}.",
            "",
            *_over_http(bundle, feast, asked, chosen.requests),
            "",
            *_inside(bundle, feast, asked, chosen.requests),
            "",
            *_look_ups(spec, feast, asked, max(50, chosen.requests // 10)),
            "",
            *_starts(bundle, feast, asked, chosen.starts),
        ]
    chosen.output.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print("\n".join(lines))


class _Requests:
    """Users and candidates, drawn anew for every request."""

    def __init__(self, users: int, items: int) -> None:
        self._users, self._items = users, items
        self._draw = np.random.default_rng(4)

    def next(self) -> tuple[str, list[str], dict[str, str]]:
        items = self._draw.choice(self._items, _CANDIDATES, replace=False)
        user, hour = self._draw.integers(self._users), self._draw.integers(24)
        return f"user-{user}", [f"item-{number}" for number in items], {"hour": str(hour)}


def _over_http(bundle: Path, feast: Path, asked: _Requests, requests: int) -> list[str]:
    rows = ["| over HTTP | p50 ms | p99 ms |", "|---|---|---|"]
    for title, settings, warm in (("no item kept", ("items=0",), 100), ("items kept", (), 1000)):
        with _server(bundle, feast, settings) as port, _client(port) as rank:
            # Enough for every item to have been asked for, where items are kept.
            for _ in range(warm):
                rank(*asked.next())
            rows.append(f"| {title} | {_quantiles([_timed(rank, *asked.next()) for _ in range(requests)])} |")
    return rows


def _inside(bundle: Path, feast: Path, asked: _Requests, requests: int) -> list[str]:
    """The parts of a request, in this process; what HTTP adds is the difference to the table above."""
    rows = ["| inside the process | look-up | encode | model | together: p50 ms | p99 ms |", "|---|---|---|---|---|---|"]
    opened = open_bundle(bundle)
    for title, settings, warm in (("no item kept", ServingSpec(items=0), 100), ("items kept", ServingSpec(), 1000)):
        ranker = Ranker(Predictor(opened), open_features(opened.manifest, str(feast)), settings)
        for _ in range(warm):
            ranker.rank(*asked.next())
        parts: dict[str, list[float]] = {"look_up": [], "encode": [], "model": []}
        whole = []
        for _ in range(requests):
            request = asked.next()
            begun = time.perf_counter()
            seconds = ranker.rank(*request).seconds
            whole.append(time.perf_counter() - begun)
            for name, values in parts.items():
                values.append(seconds[name])
        medians = " | ".join(f"{statistics.median(values) * 1e3:.3f}" for values in parts.values())
        rows.append(f"| {title} | {medians} | {_quantiles(whole)} |")
    return rows


def _look_ups(spec: Spec, feast: Path, asked: _Requests, repeats: int) -> list[str]:
    content = feature_store_settings(project_name(spec.dataset.name), feast, spec.run.feast)
    store = open_store(content)
    features = OnlineFeatures.of_dataset(spec.dataset, feast, spec.run.feast)

    def plainly(user: str, items: list[str]) -> None:
        rows = [{"user_id": user, "item_id": item} for item in items]
        store.get_online_features(features=list(_FEATURES), entity_rows=rows).to_dict()

    def ours(user: str, items: list[str]) -> None:
        features.user_and_items(user, items)

    times: dict[Callable[[str, list[str]], None], list[float]] = {plainly: [], ours: []}
    for repeat in range(repeats + 5):
        user, items, _ = asked.next()
        for look_up, values in times.items():
            seconds = _timed(look_up, user, items)
            if repeat >= 5:
                values.append(seconds)
    ratio = statistics.median(times[plainly]) / statistics.median(times[ours])
    return [
        "| look-up of a user and 100 items, none kept | p50 ms | p99 ms |",
        "|---|---|---|",
        f"| `get_online_features` for the 100 pairs | {_quantiles(times[plainly])} |",
        f"| elec | {_quantiles(times[ours])} |",
        "",
        f"elec's look-up is {ratio:.1f}x as fast.",
    ]


def _starts(bundle: Path, feast: Path, asked: _Requests, starts: int) -> list[str]:
    seconds = []
    for _ in range(starts + 1):
        begun = time.monotonic()
        with _server(bundle, feast, ()) as port, _client(port) as rank:
            rank(*asked.next())
            seconds.append(time.monotonic() - begun)
    # The first one compiles the bytecode.
    del seconds[0]
    return [
        "| cold start until the first answer of `/rank` | s |",
        "|---|---|",
        f"| median of {starts} | {statistics.median(seconds):.2f} |",
        f"| slowest | {max(seconds):.2f} |",
    ]


def _timed(work: Callable[..., Any], *arguments: Any) -> float:
    begun = time.perf_counter()
    work(*arguments)
    return time.perf_counter() - begun


def _quantiles(seconds: list[float]) -> str:
    p50, p99 = np.percentile(np.array(seconds) * 1e3, [50, 99])
    return f"{p50:.3f} | {p99:.3f}"


@contextmanager
def _server(bundle: Path, feast: Path, settings: tuple[str, ...]) -> Iterator[int]:
    """The server in a process of its own; gives its port once it is ready."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "elec.serving", "--bundle", str(bundle), "--feast", str(feast), "--port", str(port)]
    for setting in settings:
        command += ["--set", setting]
    compiled = {"OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(bundle.parent / "bytecode")}
    process = subprocess.Popen(command, env={**os.environ, **compiled}, stderr=subprocess.DEVNULL)
    try:
        while not _ready(port):
            if process.poll() is not None:
                sys.exit(f"the server ended with {process.returncode}: {' '.join(command)}")
            time.sleep(0.01)
        yield port
    finally:
        process.terminate()
        process.wait(30)


def _ready(port: int) -> bool:
    try:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == 200
    except OSError:
        return False


@contextmanager
def _client(port: int) -> Iterator[Callable[[str, list[str], dict[str, str]], None]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.connect()
    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def rank(user: str, items: list[str], context: dict[str, str]) -> None:
        connection.request("POST", "/rank", json.dumps({"user": user, "candidates": items, "context": context}))
        response = connection.getresponse()
        answer = json.loads(response.read())
        if response.status != 200 or len(answer["scores"]) != len(items):
            sys.exit(f"/rank answered {response.status}: {answer}")

    try:
        yield rank
    finally:
        connection.close()


if __name__ == "__main__":
    main()
