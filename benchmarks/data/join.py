"""The point-in-time join: elec's against that of Feast's DuckDB store, over the same files in one run, row for row.

    python -m benchmarks.data.join --rows 1000000

Two views of nine features each (five numbers, four texts), three rows a key; one row in twenty of the log has a key that no
view knows. Each way writes the training frame in a process of its own; a first join of 2,000 rows loads its libraries and is
not timed. The peak is the most resident memory of the process. All read the log as ingest leaves it, in order of row_id.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from elec.features.asof import MOST_BYTES_HELD
from elec.features.definitions import VIEWS
from elec.features.frame import CHUNK_ROWS, joined_rows, write_frame
from elec.features.repository import FeatureRepository
from elec.features.store_config import feature_store_settings, open_store
from elec.progress import Progress
from elec.spec import DatasetSpec, Entity
from elec.spec.run import FeastSpec
from elec.version import code_version

_START = datetime(2026, 1, 1, tzinfo=UTC)
_MONTH = timedelta(days=30)
_MICROSECOND = timedelta(microseconds=1)
_MOMENT = pa.timestamp("us", tz="UTC")
_ROWS_A_KEY = 3
_FIRST_ROWS = 2_000
_SERVICE = "made_v1"
_NUMBERS, _TEXTS = 5, 4
_WAYS = {
    "fast": "elec, the views in memory",
    "asof": "elec, the views by DuckDB's `ASOF JOIN`",
    "feast": f"Feast's DuckDB store, {CHUNK_ROWS:,} rows at a time",
    "at_once": "Feast's DuckDB store, all rows at once",
}
_JOINS: dict[str, dict[str, Any]] = {
    "fast": {},
    "asof": {"most_bytes_held": 0},
    "feast": {"join": "feast"},
    "at_once": {"join": "feast", "chunk_rows": 2**62},
}


def made_dataset() -> DatasetSpec:
    """A data set whose users and items have nine fields each."""
    fields: list[dict[str, Any]] = [{"name": "device"}]
    for entity in VIEWS:
        fields += [{"name": f"{entity}_number_{place}", "of": entity, "kind": "numeric"} for place in range(_NUMBERS)]
        fields += [{"name": f"{entity}_text_{place}", "of": entity} for place in range(_TEXTS)]
    return DatasetSpec.model_validate(
        {
            "name": "made",
            "source": {"path": "/nowhere/log.csv"},
            "label": {"column": "click"},
            "timestamp": {"column": "time"},
            "user": "user_id",
            "item": "item_id",
            "fields": fields,
        }
    )


def write_entities(dataset: DatasetSpec, folder: Path, keys: dict[Entity, int], rows_a_key: int) -> None:
    """Writes `users.parquet` and `items.parquet`, in no order.

    Args:
        dataset: That of `made_dataset`.
        folder: Where to.
        keys: How many users and items there are.
        rows_a_key: Of each, at times within a month.
    """
    draw = np.random.default_rng(1)
    for entity, view in VIEWS.items():
        rows = keys[entity] * rows_a_key
        columns: dict[str, Any] = {
            dataset.key_of(entity): _texts(entity[0], draw.permutation(rows) % keys[entity]),
            "event_timestamp": _moments(draw, rows),
        }
        for field in dataset.fields_of(entity):
            numeric = "number" in field.name
            columns[field.name] = pa.array(draw.normal(size=rows)) if numeric else _texts("value", draw.integers(0, 1000, rows))
        pq.write_table(pa.table(columns), folder / f"{view}.parquet")


def _write_log(dataset: DatasetSpec, file: Path, rows: int, keys: dict[Entity, int]) -> None:
    draw = np.random.default_rng(2)
    columns = {
        "row_id": pa.array(np.arange(rows)),
        "label": pa.array(draw.integers(0, 2, rows), pa.int8()),
        "event_timestamp": _moments(draw, rows),
        "device": _texts("device", draw.integers(0, 9, rows)),
    }
    for entity, most in keys.items():
        columns[dataset.key_of(entity)] = _texts(entity[0], draw.integers(0, most + most // 20, rows))
    pq.write_table(pa.table(columns), file)


def _texts(start: str, numbers: np.ndarray[Any, np.dtype[np.int64]]) -> pa.Array:
    return pa.array(np.char.add(start, numbers.astype(str)))


def _moments(draw: np.random.Generator, rows: int) -> pa.Array:
    start = (_START - datetime(1970, 1, 1, tzinfo=UTC)) // _MICROSECOND
    return pa.array(start + draw.integers(0, _MONTH // _MICROSECOND, rows)).cast(_MOMENT)


def main() -> None:
    """Makes log and views, runs every way in turn, compares their frames and writes the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--users", type=int, default=100_000)
    options.add_argument("--items", type=int, default=50_000)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--output", type=Path, default=Path("benchmarks/data/results-join.md"))
    options.add_argument("--way", choices=_WAYS, help=argparse.SUPPRESS)
    options.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.way:
        print(json.dumps(_join(chosen.folder, chosen.way)))
        return
    keys = {Entity.USER: chosen.users, Entity.ITEM: chosen.items}
    with tempfile.TemporaryDirectory(prefix="elec-join-") as scratch:
        folder = Path(scratch)
        write_entities(made_dataset(), folder, keys, _ROWS_A_KEY)
        for name, rows in (("log", chosen.rows), ("first", _FIRST_ROWS)):
            _write_log(made_dataset(), folder / f"{name}.parquet", rows, keys)
        # The definitions and the views' files, but nothing online: no row is older than the moment.
        with FeatureRepository(made_dataset(), folder / "feast", FeastSpec()).published(folder, _START - _MONTH):
            pass
        rounds = [{way: _in_process(folder, way) for way in _WAYS} for _ in range(chosen.rounds)]
        frames = [pq.read_table(folder / f"{way}.parquet") for way in _WAYS]
        if not all(frame.equals(frames[0]) for frame in frames):
            raise AssertionError("the ways do not give the same rows")
    text = "\n".join(_table(rounds, chosen.rows))
    about = (
        f"{chosen.rows:,} rows of a log, {chosen.users:,} users and {chosen.items:,} items with {_NUMBERS + _TEXTS} features "
        f"and {_ROWS_A_KEY} rows each; {platform.machine()}, {os.cpu_count()} cores, median of {chosen.rounds} rounds. The "
        f"join: from the log's Parquet file to Arrow in order of row_id; then with the frame written, by the same code "
        f"in every way. `ASOF JOIN` is what the fast join does with views "
        f"of more than {MOST_BYTES_HELD / 2**20:.0f} MB. The frames are equal row for row. Code {code_version()}."
    )
    print(text)
    chosen.output.write_text(f"# Point-in-time join\n\n{about}\n\n{text}\n", encoding="utf-8")


def _table(rounds: list[dict[str, dict[str, float]]], rows: int) -> list[str]:
    lines = [
        "| join | join, seconds | rows/s | ratio | with the frame written, seconds | ratio | peak memory |",
        "|---" * 7 + "|",
    ]
    for way, title in _WAYS.items():
        cells = []
        for part in ("join", "frame"):
            seconds = float(np.median([found[way][part] for found in rounds]))
            ratio = float(np.median([found[way][part] / found["fast"][part] for found in rounds]))
            cells += [f"{seconds:.2f}", *([f"{rows / seconds:,.0f}"] if part == "join" else []), f"{ratio:.1f}x"]
        lines.append(f"| {title} | {' | '.join(cells)} | {max(found[way]['peak'] for found in rounds):,.0f} MB |")
    return lines


def _in_process(folder: Path, way: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.data.join", "--way", way, "--folder", str(folder)]
    found: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return found


def _join(folder: Path, way: str) -> dict[str, float]:
    store = open_store(feature_store_settings("made", folder / "feast", FeastSpec()))
    _joined(store, folder, "first", way)
    _written(store, folder, "first", way)
    found = {}
    for part, work in (("join", _joined), ("frame", _written)):
        started = time.perf_counter()
        work(store, folder, "log", way)
        found[part] = time.perf_counter() - started
    return found | {"peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def _joined(store: Any, folder: Path, log: str, way: str) -> None:
    for _ in joined_rows(store, _SERVICE, made_dataset(), folder / f"{log}.parquet", **_JOINS[way]):
        pass


def _written(store: Any, folder: Path, log: str, way: str) -> None:
    with Progress("join", unit="rows") as progress:
        rows, target = folder / f"{log}.parquet", folder / f"{way}.parquet"
        write_frame(store, _SERVICE, made_dataset(), rows, target, progress, **_JOINS[way])


if __name__ == "__main__":
    main()
