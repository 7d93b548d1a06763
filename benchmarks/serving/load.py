"""Sustained load on kept-alive connections: our server against KServe's model server, one process each, the same network.

    python -m benchmarks.serving.load

wrk asks for scores of records with the same JSON bodies of the Open Inference Protocol, as fast as each server answers; they
take turns. Behind KServe's server the network stands twice: as a team would put it there (`plain_kserve`: pandas, and ONNX
Runtime with the whole network), and with elec's adapter, which has elec's own encoder and split network, so that what is left
is the server alone: the harder of the two to beat. On two cores the server has one and wrk the other. Then our server is asked
for minutes, and its memory is looked at every second: flat is when the last tenth of the time has within 2% of what the second
tenth had. Needs `wrk`, and the `kserve` extra.
"""

import argparse
import os
import platform
import statistics
import tempfile
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path

import httpx
import numpy as np
import orjson
import pyarrow.parquet as pq

from benchmarks.serving.made_service import build, made_spec, publish
from benchmarks.serving.servers import Sustained, elec, kserve, resident, wrk
from elec.serving.http.protocol import MODEL_NAME, infer_request
from elec.spec import Spec
from elec.spec.run import FeastSpec
from elec.version import code_version

INFER = f"/v2/models/{MODEL_NAME}/infer"
_BODIES = 50
_PLAIN, _ADAPTER, _OURS = "KServe, pandas and ONNX Runtime", "KServe, elec's adapter", "elec"
# Two ways to compute the same.
_EQUAL = 2e-5


def main() -> None:
    """Makes a bundle, asks both servers, and writes the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--ids", type=int, default=1_000_000, help="of the vocabularies together")
    options.add_argument("--rows", type=int, nargs="+", default=[1, 10, 100], help="of a request")
    options.add_argument("--seconds", type=float, default=20.0, help="of one measurement")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--connections", type=int, default=8)
    options.add_argument("--minutes", type=float, default=10.0, help="of the look at memory")
    options.add_argument("--output", type=Path, default=Path("benchmarks/serving/results-load.md"))
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="elec-load-") as scratch:
        folder = Path(scratch)
        spec = made_spec(FeastSpec())
        bundle = str(build(spec, folder, ids=chosen.ids))
        whole = str(build(_unsplit(spec), folder / "whole", ids=chosen.ids))
        feast = str(publish(spec, folder, users=2000, items=5000))
        lines = [
            "| rows a request | server | requests/s | elec is faster | p50 ms | p99 ms | errors |",
            "|---:|---|---:|---:|---:|---:|---:|",
        ]
        for rows in chosen.rows:
            lines += _compared(bundle, whole, bodies(spec, folder, rows), rows, chosen)
        lines += ["", *_ranking(bundle, feast, chosen), "", *_memory(bundle, feast, chosen)]
    lines += ["", _about(chosen)]
    print("\n".join(lines))
    chosen.output.write_text("\n".join(["# Sustained load", "", *lines, ""]))


def bodies(spec: Spec, folder: Path, rows: int) -> list[bytes]:
    """Inference requests for rows of the made frame, each for others."""
    frame = pq.read_table(folder / "features" / "frame" / "test.parquet")
    draw = np.random.default_rng(rows)
    chosen = [frame.take(draw.integers(0, frame.num_rows, rows)) for _ in range(_BODIES)]
    return [orjson.dumps(infer_request(table, spec.dataset.tabular_fields)) for table in chosen]


def rank_bodies(users: int, items: int, candidates: int = 100) -> list[bytes]:
    """Ranking requests for known users and items."""
    draw = np.random.default_rng(0)
    return [
        orjson.dumps(
            {
                "user": f"user-{draw.integers(users)}",
                "candidates": [f"item-{number}" for number in draw.integers(0, items, candidates)],
                "context": {"hour": str(draw.integers(24))},
            }
        )
        for _ in range(_BODIES)
    ]


def _unsplit(spec: Spec) -> Spec:
    serving = spec.run.serving.model_copy(update={"split": False})
    return spec.model_copy(update={"run": spec.run.model_copy(update={"serving": serving})})


def _compared(bundle: str, whole: str, asked: Sequence[bytes], rows: int, chosen: argparse.Namespace) -> list[str]:
    found: dict[str, list[Sustained]] = {name: [] for name in (_PLAIN, _ADAPTER, _OURS)}
    with (
        kserve(whole, "benchmarks.serving.plain_kserve") as (plain, _),
        kserve(bundle) as (adapter, _),
        elec(bundle) as (ours, _),
    ):
        urls = dict(zip(found, (plain, adapter, ours), strict=True))
        _check_scores(urls, asked[0])
        for url in urls.values():
            wrk(url, INFER, asked, seconds=1, connections=chosen.connections)
        for _ in range(chosen.rounds):
            for name, url in urls.items():
                found[name].append(wrk(url, INFER, asked, seconds=chosen.seconds, connections=chosen.connections))
    own = statistics.median(run.rate for run in found[_OURS])
    return [_line(str(rows), name, runs, own) for name, runs in found.items()]


def _check_scores(urls: Mapping[str, str], body: bytes) -> None:
    """All servers have to give the same scores."""
    scores = {name: _scores(url, body) for name, url in urls.items()}
    for name, given in scores.items():
        difference = float(np.abs(given - scores[_OURS]).max())
        if not difference <= _EQUAL:
            raise AssertionError(f"{name}: its scores differ from elec's by {difference:.2g}")


def _scores(url: str, body: bytes) -> np.ndarray:
    answer = httpx.post(url + INFER, content=body, headers={"Content-Type": "application/json"}, trust_env=False).json()
    return np.array(answer["outputs"][0]["data"])


def _ranking(bundle: str, feast: str, chosen: argparse.Namespace) -> list[str]:
    asked = rank_bodies(2000, 5000)
    with elec(bundle, feast) as (url, _):
        wrk(url, "/rank", asked, seconds=1, connections=chosen.connections)
        runs = [wrk(url, "/rank", asked, seconds=chosen.seconds, connections=chosen.connections) for _ in range(chosen.rounds)]
    rate = statistics.median(run.rate for run in runs)
    errors = sum(run.errors for run in runs)
    return [f"`/rank` of 100 candidates, items kept, users looked up in SQLite: {rate:,.0f} requests/s, {errors} errors."]


def _memory(bundle: str, feast: str, chosen: argparse.Namespace) -> list[str]:
    """Asks for minutes, turn about for scores of records and for rankings, and looks at the memory."""
    seen: list[float] = []
    stop = threading.Event()
    seconds = chosen.minutes * 60
    with elec(bundle, feast) as (url, pid):

        def look() -> None:
            while not stop.wait(1.0):
                seen.append(resident(pid))

        watcher = threading.Thread(target=look)
        watcher.start()
        run = wrk(url, "/rank", rank_bodies(2000, 5000), seconds=seconds, connections=chosen.connections)
        stop.set()
        watcher.join()
    tenth = max(1, len(seen) // 10)
    early, late = statistics.median(seen[tenth : 2 * tenth] or seen), statistics.median(seen[-tenth:])
    return [
        f"Memory under {chosen.minutes:g} minutes of `/rank` at {run.rate:,.0f} requests/s, {run.errors} errors: "
        f"{early:,.1f} MiB in the second tenth of the time, {late:,.1f} MiB in the last ({late / early - 1:+.2%})."
    ]


def _line(rows: str, name: str, runs: Sequence[Sustained], own: float) -> str:
    rate, p50, p99 = (statistics.median(getattr(run, what) for run in runs) for what in ("rate", "p50", "p99"))
    errors = sum(run.errors for run in runs)
    return f"| {rows} | {name} | {rate:,.0f} | {own / rate:.2f}x | {p50:.2f} | {p99:.2f} | {errors} |"


def _about(chosen: argparse.Namespace) -> str:
    return (
        f"Medians of {chosen.rounds} runs of {chosen.seconds:g} s, {chosen.connections} connections, one server process; "
        f"8 fields, {chosen.ids:,} ids, DCNv2 of the defaults; {os.cpu_count()} CPUs ({platform.machine()}), "
        f"Python {platform.python_version()}, code {code_version()}."
    )


if __name__ == "__main__":
    main()
