"""The online store answers with what training saw last; SQLite and a real Redis."""

import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from ingested_folder import DATASET, moment, write_entities, write_ingested

from elec.errors import InputError
from elec.features.frame import write_frame
from elec.features.online import OnlineFeatures
from elec.features.repository import FeatureRepository
from elec.features.store_config import OnlineStoreError
from elec.progress import Progress
from elec.spec import Entity
from elec.spec.run import FeastSpec

U1_LAST = {"user_id": "u1", "age": 21.0, "city": "Köln"}
UNKNOWN = {"user_id": "nobody", "age": None, "city": None}


@pytest.fixture(scope="module")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[FeastSpec, Callable[[], None]]]:
    """A Redis of the test's own on a free port, with a password; and how to empty it."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not on PATH, so look-ups in Redis are not tested")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("redis")
    process = subprocess.Popen(
        [program, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--requirepass", "s3cret", "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
    )
    import redis

    client = redis.Redis(port=port, password="s3cret")
    try:
        for _ in range(100):
            try:
                client.ping()
                break
            except redis.ConnectionError:
                time.sleep(0.05)
        yield FeastSpec(online_store="redis", redis=f"127.0.0.1:{port},password=${{TEST_REDIS_PASSWORD}}"), client.flushall
    finally:
        client.close()
        process.terminate()
        process.wait(10)


@pytest.fixture(params=["sqlite", "redis"])
def settings(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> FeastSpec:
    """The settings of each kind of store."""
    if request.param == "sqlite":
        return FeastSpec()
    spec, flush = request.getfixturevalue("redis_server")
    monkeypatch.setenv("TEST_REDIS_PASSWORD", "s3cret")
    flush()
    return spec


def publish(repository: FeatureRepository, ingested: Path, as_of: datetime) -> dict[str, str]:
    with repository.published(ingested, as_of) as published:
        return published.online


def change_city(ingested: Path, city: str) -> None:
    """Another city in u1's newest row, its time as it was."""
    rows = pq.read_table(ingested / "users.parquet").to_pylist()
    rows[1]["city"] = city
    write_entities(ingested / "users.parquet", Entity.USER, rows)


def test_look_ups(tmp_path: Path, settings: FeastSpec) -> None:
    ingested = write_ingested(tmp_path / "ingested")
    publish(FeatureRepository(DATASET, tmp_path / "feast", settings), ingested, moment(100))
    features = OnlineFeatures.of_dataset(DATASET, tmp_path / "feast", settings)
    assert features.user("u1") == U1_LAST
    assert features.user("u2") == {"user_id": "u2", "age": None, "city": None}
    assert features.user("nobody") == UNKNOWN
    assert features.user(None) == {"user_id": None, "age": None, "city": None}
    items = features.items(["i3", "nothing", "i1", "i1", 7])
    assert items.column_names == ["item_id", "title", "tags", "price"]
    assert items.to_pylist() == [
        {"item_id": "i3", "title": "Hat", "tags": None, "price": None},
        {"item_id": "nothing", "title": None, "tags": None, "price": None},
        {"item_id": "i1", "title": "Red shoe", "tags": ["shoe", "red", "sale"], "price": 5.0},
        {"item_id": "i1", "title": "Red shoe", "tags": ["shoe", "red", "sale"], "price": 5.0},
        {"item_id": "7", "title": None, "tags": None, "price": None},
    ]
    assert features.items([]).num_rows == 0


def test_online_equals_the_last_row_of_the_frame(tmp_path: Path, settings: FeastSpec) -> None:
    ingested = write_ingested(tmp_path / "ingested")
    as_of = moment(25)
    repository = FeatureRepository(DATASET, tmp_path / "feast", settings)
    with repository.published(ingested, as_of) as published, Progress("join", unit="rows") as progress:
        for split in ("train", "valid", "test"):
            write_frame(
                published.store,
                published.service,
                DATASET,
                ingested / f"{split}.parquet",
                tmp_path / f"{split}.parquet",
                progress,
            )
    frame = [row for split in ("train", "valid", "test") for row in pq.read_table(tmp_path / f"{split}.parquet").to_pylist()]
    last: dict[str, dict[str, Any]] = {}
    for row in sorted(frame, key=lambda row: row["event_timestamp"]):
        if row["event_timestamp"] <= as_of:
            last |= {row["user_id"]: row, row["item_id"]: row}
    features = OnlineFeatures.of_dataset(DATASET, tmp_path / "feast", settings)
    for key, row in last.items():
        answer = features.user(key) if key.startswith("u") else features.items([key]).to_pylist()[0]
        assert answer == {name: row[name] for name in answer}, key
    # u3 became known after as_of.
    assert features.user("u3")["city"] is None


def test_publishing_again_writes_only_what_is_new(tmp_path: Path, settings: FeastSpec) -> None:
    ingested = write_ingested(tmp_path / "ingested")
    repository = FeatureRepository(DATASET, tmp_path / "feast", settings)
    assert publish(repository, ingested, moment(10)) == {"users": "all", "items": "all"}
    assert OnlineFeatures.of_dataset(DATASET, tmp_path / "feast", settings).user("u1")["city"] == "Bonn"
    assert publish(repository, ingested, moment(10)) == {"users": "none", "items": "none"}
    assert publish(repository, ingested, moment(18)) == {"users": "new", "items": "new"}
    features = OnlineFeatures.of_dataset(DATASET, tmp_path / "feast", settings)
    assert features.user("u1") == U1_LAST
    # What serves does not go back in time.
    assert publish(repository, ingested, moment(12)) == {"users": "none", "items": "none"}
    assert features.user("u1") == U1_LAST
    # A row that was corrected in place is newer for nobody but us.
    change_city(ingested, "Cologne")
    assert publish(repository, ingested, moment(18)) == {"users": "all", "items": "none"}
    assert features.user("u1")["city"] == "Cologne"


def test_a_lost_online_store_is_filled_again(tmp_path: Path, settings: FeastSpec, request: pytest.FixtureRequest) -> None:
    ingested = write_ingested(tmp_path / "ingested")
    repository = FeatureRepository(DATASET, tmp_path / "feast", settings)
    publish(repository, ingested, moment(100))
    if settings.online_store == "redis":
        request.getfixturevalue("redis_server")[1]()
    else:
        (tmp_path / "feast" / "online_store.db").unlink()
    assert publish(repository, ingested, moment(100)) == {"users": "all", "items": "all"}
    assert OnlineFeatures.of_dataset(DATASET, tmp_path / "feast", settings).user("u1") == U1_LAST


def test_more_keys_than_one_batch_all_arrive(tmp_path: Path) -> None:
    ingested = write_ingested(tmp_path / "ingested")
    users = [
        {"user_id": f"n{number}", "event_timestamp": moment(0), "age": float(number), "city": "x"} for number in range(4500)
    ]
    write_entities(ingested / "users.parquet", Entity.USER, users)
    publish(FeatureRepository(DATASET, tmp_path / "feast", FeastSpec()), ingested, moment(100))
    features = OnlineFeatures.of_dataset(DATASET, tmp_path / "feast", FeastSpec())
    assert [features.user(f"n{number}")["age"] for number in (0, 1999, 2000, 4499)] == [0.0, 1999.0, 2000.0, 4499.0]


def test_many_threads_read_one_store(tmp_path: Path, settings: FeastSpec) -> None:
    publish(FeatureRepository(DATASET, tmp_path / "feast", settings), write_ingested(tmp_path / "ingested"), moment(100))
    features = OnlineFeatures.of_dataset(DATASET, tmp_path / "feast", settings)
    wrong: list[object] = []

    def read() -> None:
        try:
            for _ in range(20):
                if features.user("u1") != U1_LAST or features.items(["i1"])["price"].to_pylist() != [5.0]:
                    wrong.append("another value")
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_a_redis_that_is_gone_is_said_without_its_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEST_REDIS_PASSWORD", "s3cret")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    gone = FeastSpec(online_store="redis", redis=f"127.0.0.1:{port},password=${{TEST_REDIS_PASSWORD}}")
    with pytest.raises(OnlineStoreError, match=f"127.0.0.1:{port}") as error:
        publish(FeatureRepository(DATASET, tmp_path / "feast", gone), write_ingested(tmp_path / "ingested"), moment(100))
    assert "s3cret" not in str(error.value)
    # Nothing is half-published: the next run finds no registry.
    assert not (tmp_path / "feast" / "registry.db").exists()
    assert not list((tmp_path / "feast").glob("*.tmp"))


def test_an_empty_workspace_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no feature service 'small_shop_v1'"):
        OnlineFeatures.of_dataset(DATASET, tmp_path, FeastSpec())


def test_a_field_that_the_service_does_not_offer_is_named(tmp_path: Path) -> None:
    publish(FeatureRepository(DATASET, tmp_path / "feast", FeastSpec()), write_ingested(tmp_path / "ingested"), moment(100))
    fields = [*DATASET.fields, DATASET.fields[0].model_copy(update={"name": "height"})]
    with pytest.raises(InputError, match="no field height"):
        OnlineFeatures(
            dataset=DATASET.name,
            user="user_id",
            item="item_id",
            fields=fields,
            feature_service="small_shop_v1",
            feast_folder=tmp_path / "feast",
            settings=FeastSpec(),
        )


def test_looking_up_needs_neither_torch_nor_duckdb(tmp_path: Path) -> None:
    publish(FeatureRepository(DATASET, tmp_path / "feast", FeastSpec()), write_ingested(tmp_path / "ingested"), moment(100))
    program = f"""
import sys
for name in ("torch", "duckdb", "ibis", "evidently"):
    sys.modules[name] = None
sys.path.insert(0, {str(Path(__file__).parent)!r})
from ingested_folder import DATASET
from elec.features.online import OnlineFeatures
from elec.spec.run import FeastSpec
features = OnlineFeatures.of_dataset(DATASET, {str(tmp_path / "feast")!r}, FeastSpec())
print(features.user("u1")["city"], features.items(["i1", "x"]).num_rows)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stdout == "Köln 2\n", done.stderr
    assert done.stderr == ""
