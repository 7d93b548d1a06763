"""Rows into the online store: elec's writer against `feast materialize`, the same view in one run, compared byte for byte.

    python -m benchmarks.data.materialise --keys 1000000

A view of users with nine features (five numbers, four texts), one row a key. Each way writes to a Redis of its own
(`redis-server`, nothing saved), or to an SQLite file of its own, in a process of its own, Feast loaded before the clock starts.
Afterwards every key of both Redis servers is compared, or every row of both files, and some keys are read through Feast.
"""

import argparse
import json
import os
import platform
import resource
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from benchmarks.data.join import made_dataset, write_entities
from benchmarks.redis_server import redis_server
from elec.features.materialize import ViewRows, write_online
from elec.features.repository import FeatureRepository
from elec.features.store_config import feature_store_settings, open_store
from elec.spec import Entity
from elec.spec.run import FeastSpec
from elec.version import code_version

_LONG_AGO = datetime(2020, 1, 1, tzinfo=UTC)
_AS_OF = datetime(2027, 1, 1, tzinfo=UTC)
_WAYS = {"elec": "elec", "feast": "`feast materialize`"}
_READ_KEYS = 1_000
_SCANNED_KEYS = 5_000


def main() -> None:
    """Makes the view, writes it both ways, compares the stores and writes the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--keys", type=int, default=1_000_000)
    options.add_argument("--stores", nargs="+", default=["redis", "sqlite"], choices=("redis", "sqlite"))
    options.add_argument("--output", type=Path, default=Path("benchmarks/data/results-materialise.md"))
    options.add_argument("--way", choices=_WAYS, help=argparse.SUPPRESS)
    options.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options.add_argument("--redis", help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.way:
        print(json.dumps(_write(chosen.folder, chosen.way, chosen.redis)))
        return
    lines = ["| store | way | seconds | keys/s | peak memory | ratio |", "|---|---|---|---|---|---|"]
    for store in chosen.stores:
        with tempfile.TemporaryDirectory(prefix="elec-materialise-") as scratch:
            lines += _compared(Path(scratch), store, chosen.keys)
    about = (
        f"{chosen.keys:,} keys with nine features; {platform.machine()}, {os.cpu_count()} cores. The stores hold the same "
        f"bytes afterwards, and {_READ_KEYS:,} keys read through Feast's `get_online_features` answer the same. "
        f"Code {code_version()}."
    )
    print("\n".join(lines))
    chosen.output.write_text("\n".join(["# Materialisation", "", about, "", *lines, ""]), encoding="utf-8")


def _compared(scratch: Path, store: str, keys: int) -> list[str]:
    """The table's rows of one kind of store."""
    dataset = made_dataset()
    write_entities(dataset, scratch, {Entity.USER: keys, Entity.ITEM: 10}, 1)
    found = {}
    folders = {way: scratch / way for way in _WAYS}
    with _redis(store) as first, _redis(store) as second:
        addresses = dict(zip(_WAYS, (first, second), strict=True))
        for way, folder in folders.items():
            # Definitions and the view's file; at this moment no row is true yet.
            with FeatureRepository(dataset, folder / "feast", _settings(addresses[way])).published(scratch, _LONG_AGO):
                pass
            found[way] = _in_process(folder, way, addresses[way])
        if store == "redis":
            _compare_redis(first, second)
        else:
            _compare_sqlite(*folders.values())
        answers = [_read(folder, addresses[way]) for way, folder in folders.items()]
        if answers[0] != answers[1] or all(value is None for value in answers[0]["user_number_0"]):
            raise AssertionError("Feast reads other values than it wrote")
    lines = []
    for way, title in _WAYS.items():
        seconds = found[way]["seconds"]
        lines.append(
            f"| {store} | {title} | {seconds:.1f} | {keys / seconds:,.0f} | {found[way]['peak']:,.0f} MB "
            f"| {seconds / found['elec']['seconds']:.1f}x |"
        )
    return lines


def _settings(address: str | None) -> FeastSpec:
    return FeastSpec() if address is None else FeastSpec(online_store="redis", redis=address)


def _store(folder: Path, address: str | None) -> Any:
    return open_store(feature_store_settings("made", folder / "feast", _settings(address)))


def _in_process(folder: Path, way: str, address: str | None) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.data.materialise", "--way", way, "--folder", str(folder)]
    command += ["--redis", address] if address else []
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _write(folder: Path, way: str, address: str | None) -> dict[str, float]:
    store = _store(folder, address)
    file = folder / "feast" / "data" / "made" / "users.parquet"
    features = tuple(field.name for field in made_dataset().fields_of(Entity.USER))
    started = time.perf_counter()
    if way == "elec":
        write_online(store, ViewRows("users", ("user_id",), features, file), _LONG_AGO, _AS_OF)
    else:
        store.materialize(_LONG_AGO, _AS_OF, feature_views=["users"])
    seconds = time.perf_counter() - started
    return {"seconds": seconds, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}


def _read(folder: Path, address: str | None) -> dict[str, list[Any]]:
    keys = pq.read_table(folder / "feast" / "data" / "made" / "users.parquet", columns=["user_id"])["user_id"]
    chosen = keys.take(np.random.default_rng(5).integers(0, len(keys), _READ_KEYS)).to_pylist()
    features = [f"users:{field.name}" for field in made_dataset().fields_of(Entity.USER)]
    rows = [{"user_id": key} for key in [*chosen, "nobody"]]
    answer: dict[str, list[Any]] = _store(folder, address).get_online_features(features=features, entity_rows=rows).to_dict()
    return answer


@contextmanager
def _redis(store: str) -> Iterator[str | None]:
    """The address of a Redis of its own."""
    if store != "redis":
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="elec-redis-") as folder, redis_server(Path(folder)) as address:
        yield address


def _compare_redis(first: str | None, second: str | None) -> None:
    import redis

    one, other = (redis.Redis.from_url(f"redis://{address}") for address in (first, second))
    if one.dbsize() != other.dbsize():
        raise AssertionError(f"{one.dbsize()} keys, and {other.dbsize()}")
    cursor: int | None = None
    while cursor != 0:
        cursor, keys = one.scan(cursor or 0, count=_SCANNED_KEYS)  # type: ignore[misc]
        contents = []
        for client in (one, other):
            pipe = client.pipeline(transaction=False)
            for key in keys:
                pipe.hgetall(key)
            contents.append(pipe.execute())
        if contents[0] != contents[1]:
            raise AssertionError("the two Redis servers differ")


def _compare_sqlite(first: Path, second: Path) -> None:
    connection = sqlite3.connect(first / "feast" / "online_store.db")
    connection.execute("ATTACH ? AS other", (str(second / "feast" / "online_store.db"),))
    for one, other in (("main", "other"), ("other", "main")):
        statement = f"SELECT count(*) FROM (SELECT * FROM {one}.made_users EXCEPT SELECT * FROM {other}.made_users)"
        if connection.execute(statement).fetchone()[0]:
            raise AssertionError("the two files differ")
    connection.close()


if __name__ == "__main__":
    main()
