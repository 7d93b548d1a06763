"""A vocabulary of ten million ids: the memory-mapped file against a Python dict and against `pyarrow.compute.index_in`.

    python -m benchmarks.serving.vocabulary --ids 10000000

Each way runs in processes of its own over the same values. Two workers of a way live at once, as in a server of two processes:
`own` is the memory that only one worker has (anonymous pages), `mapped` the pages of the file, of which the machine holds
one copy for all. Timings are of the first worker, while it is alone; every batch of keys is drawn anew, one in ten unknown.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from elec.features.ids import FIRST_VALUE, OUT_OF_VOCABULARY
from elec.features.lookup import one_array
from elec.features.vocabulary import Vocabulary
from elec.progress import Progress
from elec.version import code_version

_TITLES = {"mapped": "elec, memory-mapped", "dict": "Python dict", "index_in": "pyarrow `index_in`"}
_BATCHES = (1, 100, 10_000)
_WORKERS = 2
# A way that takes long to answer is asked less often.
_SECONDS, _REPEATS, _FEWEST = 5.0, 500, 3

Ids = Callable[[pa.Array], np.ndarray[Any, np.dtype[np.int64]]]


def main() -> None:
    """Makes the values, runs the ways in turn, checks that they agree and writes the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--ids", type=int, default=10_000_000)
    options.add_argument("--output", type=Path, default=Path("benchmarks/serving/results-vocabulary.md"))
    options.add_argument("--way", choices=_TITLES, help=argparse.SUPPRESS)
    options.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.way:
        _work(chosen.way, chosen.folder, chosen.ids)
        return
    with tempfile.TemporaryDirectory(prefix="elec-vocabulary-") as scratch:
        folder = Path(scratch)
        with Progress("make vocabulary", unit="ids", total=chosen.ids) as progress:
            values = _values(chosen.ids)
            started = time.perf_counter()
            Vocabulary(values).save(folder / "values.arrow")
            written = time.perf_counter() - started
            pq.write_table(pa.table({"value": values}), folder / "values.parquet")
            progress.advance(chosen.ids)
        sizes = {suffix: (folder / f"values.{suffix}").stat().st_size for suffix in ("arrow", "parquet")}
        found = {way: _workers(way, folder, chosen.ids) for way in _TITLES}
    checks = {run["check"] for runs in found.values() for run in runs}
    if len(checks) != 1:
        raise AssertionError(f"the ways do not give the same ids: {checks}")
    table = "\n".join(_table(found))
    about = (
        f"{chosen.ids:,} ids as `user_00000017`, {platform.machine()}, one thread, the file in the page cache. "
        f"The mapped file has {sizes['arrow'] / 1e6:.0f} MB and is written in {written:.1f} s; "
        f"the same values as Parquet have {sizes['parquet'] / 1e6:.0f} MB. "
        "Open: from the file until the first key is answered. Look-ups: p50, keys in Arrow to ids in numpy. "
        f"Code {code_version()}."
    )
    print(table)
    chosen.output.write_text(f"# Vocabulary\n\n{about}\n\n{table}\n", encoding="utf-8")


def _table(found: dict[str, list[dict[str, Any]]]) -> list[str]:
    heads = ["own memory of a worker", "mapped by a worker", f"{_WORKERS} workers together", "open"]
    heads += [f"{batch:,} key{'s' * (batch > 1)}" for batch in _BATCHES]
    lines = [f"| way | {' | '.join(heads)} |", "|---" * (len(heads) + 1) + "|"]
    for way, runs in found.items():
        own, mapped = (max(run[name] for run in runs) for name in ("own", "mapped"))
        together = sum(run["own"] for run in runs) + mapped
        cells = [f"{size / 1e6:,.1f} MB" for size in (own, mapped, together)]
        cells += [_time(runs[0]["open"]), *(_time(runs[0]["seconds"][str(batch)]) for batch in _BATCHES)]
        lines.append(f"| {_TITLES[way]} | {' | '.join(cells)} |")
    return lines


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:,.0f} us" if seconds < 1e-3 else f"{seconds * 1e3:,.1f} ms" if seconds < 1 else f"{seconds:.1f} s"


def _values(count: int) -> pa.Array:
    """`user_00000017` and the like, in an order that has nothing to do with their numbers."""
    numbers = pc.utf8_lpad(pc.cast(pa.array(np.random.default_rng(0).permutation(count)), pa.string()), 8, "0")
    return one_array(pc.binary_join_element_wise("user", numbers, "_"))


def _workers(way: str, folder: Path, ids: int) -> list[dict[str, Any]]:
    """The findings of the workers of a way; the second starts when the first has been timed, and both measure at the end."""
    command = [sys.executable, "-m", "benchmarks.serving.vocabulary", "--way", way]
    command += ["--folder", str(folder), "--ids", str(ids)]
    workers: list[subprocess.Popen[str]] = []
    timed = []
    try:
        for _ in range(_WORKERS):
            environment = os.environ | {"OMP_NUM_THREADS": "1"}
            workers.append(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment))
            timed.append(_line(workers[-1]))
        for worker in workers:
            assert worker.stdin is not None
            worker.stdin.write("measure\n")
            worker.stdin.flush()
        return [run | _line(worker) for run, worker in zip(timed, workers, strict=True)]
    finally:
        for worker in workers:
            worker.kill()
            worker.wait()


def _line(worker: subprocess.Popen[str]) -> dict[str, Any]:
    assert worker.stdout is not None
    found: dict[str, Any] = json.loads(worker.stdout.readline())
    return found


def _work(way: str, folder: Path, ids: int) -> None:
    """One worker: opens, is timed, waits for the other one, measures its memory."""
    # What the libraries take by themselves is there before the first measurement.
    Vocabulary(pa.array([f"v{number}" for number in range(3000)])).ids(pa.array(["v1"]))
    pq.write_table(pa.table({"value": ["v"]}), folder / f"{os.getpid()}.parquet")
    one_array(pq.read_table(folder / f"{os.getpid()}.parquet")["value"])
    before = _memory()
    started = time.perf_counter()
    look_up = _opened(way, folder, ids)
    look_up(pa.array(["user_00000000"]))
    opened = time.perf_counter() - started
    seconds, check = {}, 0
    for batch in _BATCHES:
        draw = np.random.default_rng(batch)
        taken: list[float] = []
        while len(taken) < _FEWEST or (len(taken) < _REPEATS and sum(taken) < _SECONDS):
            keys = _keys(draw, ids, batch)
            started = time.perf_counter()
            found = look_up(keys)
            taken.append(time.perf_counter() - started)
            if len(taken) <= _FEWEST:
                check = (check * 31 + int((found * np.arange(1, batch + 1)).sum())) % 2**61
        seconds[batch] = float(np.median(taken))
    print(json.dumps({"open": opened, "seconds": seconds, "check": check}), flush=True)
    sys.stdin.readline()
    print(json.dumps({name: size - before[name] for name, size in _memory().items()}), flush=True)
    sys.stdin.readline()


def _keys(draw: np.random.Generator, ids: int, count: int) -> pa.Array:
    numbers = pa.array(draw.integers(0, ids + ids // 9, count))
    return pc.binary_join_element_wise("user", pc.utf8_lpad(pc.cast(numbers, pa.string()), 8, "0"), "_")


def _opened(way: str, folder: Path, ids: int) -> Ids:
    if way == "mapped":
        return Vocabulary.load(folder / "values.arrow", ids + FIRST_VALUE).ids
    values = one_array(pq.read_table(folder / "values.parquet")["value"])
    if way == "index_in":

        def by_index_in(keys: pa.Array) -> np.ndarray[Any, np.dtype[np.int64]]:
            position = pc.cast(pc.index_in(keys, value_set=values), pa.int64())
            found: np.ndarray[Any, np.dtype[np.int64]] = pc.fill_null(
                pc.add(position, FIRST_VALUE), OUT_OF_VOCABULARY
            ).to_numpy()
            return found

        return by_index_in
    known = dict(zip(values.to_pylist(), range(FIRST_VALUE, ids + FIRST_VALUE), strict=True))

    def by_dict(keys: pa.Array) -> np.ndarray[Any, np.dtype[np.int64]]:
        return np.array([known.get(key, OUT_OF_VOCABULARY) for key in keys.to_pylist()], dtype=np.int64)

    return by_dict


def _memory() -> dict[str, int]:
    """Bytes of this process: its own, and those of mapped files."""
    kibibytes = {}
    for line in Path("/proc/self/smaps_rollup").read_text(encoding="utf-8").splitlines()[1:]:
        name, size, _ = line.split()
        kibibytes[name] = int(size)
    own = kibibytes["Anonymous:"]
    return {"own": own * 1024, "mapped": (kibibytes["Rss:"] - own) * 1024}


if __name__ == "__main__":
    main()
