"""The store of vectors: nothing is lost, nothing half-written is seen, and what is damaged is said to be."""

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elec import s3, storage
from elec.errors import InputError
from elec.llm import VectorStore


def keys_of(*texts: object) -> list[str]:
    return [hashlib.sha256(str(text).encode()).hexdigest() for text in texts]


def vectors_of(keys: list[str], size: int = 4) -> np.ndarray:
    """Vectors that tell which key they belong to."""
    return np.array([[int(key[place : place + 2], 16) for place in range(size)] for key in keys], np.float32).reshape(-1, size)


def test_what_is_added_is_found(tmp_path: Path) -> None:
    store = VectorStore(tmp_path, "model-1")
    keys = keys_of(*range(50))
    assert store.missing(keys) == keys
    store.add(keys[:30], vectors_of(keys[:30]))
    assert store.missing([keys[40], keys[3], keys[40], keys[31]]) == [keys[40], keys[31]]
    store.add(keys[30:], vectors_of(keys[30:]))
    assert len(store) == 50
    wanted = [keys[35], keys[2], keys[35], keys[0]]
    found = store.gather(wanted)
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, vectors_of(wanted))
    # Another process, another order, Arrow instead of a list.
    np.testing.assert_array_equal(
        VectorStore(tmp_path, "model-1").gather(pa.chunked_array([keys[::-1]])), vectors_of(keys[::-1])
    )
    assert VectorStore(tmp_path, "model-2").missing(keys) == keys
    assert store.gather([]).shape == (0, 4)


def test_a_key_without_a_vector(tmp_path: Path) -> None:
    store = VectorStore(tmp_path, "model")
    (known, unknown) = keys_of("known", "unknown")
    with pytest.raises(InputError, match="1 of 1 texts have no vector"):
        store.gather([known])
    store.add([known], vectors_of([known]))
    with pytest.raises(InputError, match=f"1 of 2 texts have no vector .*{unknown}.*; encode the texts first"):
        store.gather([known, unknown])


def test_what_cannot_be_stored(tmp_path: Path) -> None:
    store = VectorStore(tmp_path, "model")
    keys = keys_of(1, 2)
    for bad in (np.ones((3, 4)), np.ones(2)):
        with pytest.raises(ValueError, match="do not go with"):
            store.add(keys, bad)
    with pytest.raises(ValueError, match="1 distinct"):
        store.add([keys[0], keys[0]], np.ones((2, 4)))
    for value in (np.nan, np.inf, 1e6):
        with pytest.raises(InputError, match="not finite in float16"):
            store.add(keys, np.full((2, 4), value))
    store.add([], np.ones((0, 4)))
    assert storage.list_files(tmp_path) == []
    store.add(keys[:1], np.ones((1, 4)))
    with pytest.raises(ValueError, match="of length 4, not 5"):
        store.add(keys[1:], np.ones((1, 5)))


def test_segments_never_change(tmp_path: Path) -> None:
    store = VectorStore(tmp_path, "model")
    store.add(keys_of(1, 2), vectors_of(keys_of(1, 2)))
    before = {name: (tmp_path / name).read_bytes() for name in storage.list_files(tmp_path)}
    # The same content again, by another writer, is the same segment.
    VectorStore(tmp_path, "model").add(keys_of(1, 2), vectors_of(keys_of(1, 2)))
    assert {name: (tmp_path / name).read_bytes() for name in storage.list_files(tmp_path)} == before
    store.add(keys_of(3), vectors_of(keys_of(3)))
    after = {name: (tmp_path / name).read_bytes() for name in storage.list_files(tmp_path)}
    assert len(after) == 4
    assert before.items() <= after.items()
    assert sorted({Path(name).suffix for name in after}) == [".npy", ".parquet"]
    assert np.load(next(tmp_path.rglob("*.npy")), allow_pickle=False).dtype == np.float16


def test_a_writer_sees_what_another_one_adds(tmp_path: Path) -> None:
    one, two = VectorStore(tmp_path, "model"), VectorStore(tmp_path, "model")
    keys = keys_of(*range(20))
    one.add(keys[:12], vectors_of(keys[:12]))
    two.add(keys[8:], vectors_of(keys[8:]))
    for store in (one, two):
        assert store.missing(keys) == []
        assert len(store) == 20
        np.testing.assert_array_equal(store.gather(keys), vectors_of(keys))


@pytest.mark.parametrize("damage", ["truncated", "flipped", "gone", "index", "other"])
def test_damage_is_reported(tmp_path: Path, damage: str) -> None:
    keys = keys_of(*range(10))
    VectorStore(tmp_path, "model").add(keys, vectors_of(keys))
    (vectors,) = tmp_path.rglob("*.npy")
    content = bytearray(vectors.read_bytes())
    if damage == "truncated":
        vectors.write_bytes(content[:-8])
    elif damage == "flipped":
        content[-1] ^= 1
        vectors.write_bytes(content)
    elif damage == "gone":
        vectors.unlink()
    elif damage == "index":
        index = vectors.with_suffix(".parquet")
        index.write_bytes(index.read_bytes()[:-20])
    else:
        pq.write_table(pa.table({"key": keys, "row": list(range(10))}), vectors.with_suffix(".parquet"))
    with pytest.raises(InputError, match=f"segment of vectors is damaged .*delete {vectors.name} and {vectors.stem}.parquet"):
        VectorStore(tmp_path, "model").gather(keys)
    # The way out that the message names.
    for path in list(tmp_path.rglob(f"{vectors.stem}.*")):
        path.unlink()
    assert VectorStore(tmp_path, "model").missing(keys) == keys


@settings(max_examples=30, deadline=None)
@given(st.lists(st.lists(st.integers(0, 30), unique=True, max_size=12), max_size=6), st.lists(st.integers(0, 30), max_size=40))
def test_any_segments_any_look_up(
    tmp_path_factory: pytest.TempPathFactory, segments: list[list[int]], wanted: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("store")
    for segment in segments:
        VectorStore(folder, "model").add(keys_of(*segment), vectors_of(keys_of(*segment)))
    store = VectorStore(folder, "model")
    known = {number for segment in segments for number in segment}
    keys = keys_of(*wanted)
    assert store.missing(keys) == list(dict.fromkeys(keys_of(*(number for number in wanted if number not in known))))
    findable = keys_of(*(number for number in wanted if number in known))
    if findable:
        np.testing.assert_array_equal(store.gather(findable), vectors_of(findable))


WRITER = """
import os, signal, sys
import numpy as np
from elec import s3, storage
from elec.llm import VectorStore

moments = iter(range(100))
sync, write = os.fsync, storage.write_bytes
def die_at(moment):
    if next(moments) == moment: os.kill(os.getpid(), signal.SIGKILL)
def fsync(handle): die_at(int(sys.argv[2])); sync(handle)
def write_bytes(uri, content): write(uri, content); die_at(int(sys.argv[2]))
os.fsync, storage.write_bytes = fsync, write_bytes
keys = sys.argv[3].split(",")
VectorStore(sys.argv[1], "model").add(keys, np.ones((len(keys), 4), np.float32))
"""


def test_a_writer_that_is_killed_leaves_nothing_half_published(tmp_path: Path) -> None:
    before, during = keys_of(*range(5)), keys_of(*range(5, 9))
    VectorStore(tmp_path, "model").add(before, vectors_of(before))
    # While the vectors are written, behind them, while the index is written, and when all is done.
    for moment, published in enumerate([False, False, False, True]):
        arguments = [sys.executable, "-c", WRITER, str(tmp_path), str(moment), ",".join(during)]
        assert subprocess.run(arguments, env=os.environ, check=False).returncode == -signal.SIGKILL
        store = VectorStore(tmp_path, "model")
        assert store.missing(during) == ([] if published else during)
        np.testing.assert_array_equal(store.gather(before), vectors_of(before))
    np.testing.assert_array_equal(VectorStore(tmp_path, "model").gather(during), np.ones((4, 4)))


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 bucket, on a server of its own."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "made-up")
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    s3.client().create_bucket(Bucket="vectors")
    yield "s3://vectors/store"
    server.stop()


def test_a_store_on_s3_keeps_what_it_fetched(tmp_path: Path, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = keys_of(*range(10))
    VectorStore(bucket, "model", cache=tmp_path / "a").add(keys[:6], vectors_of(keys[:6]))
    VectorStore(bucket, "model", cache=tmp_path / "a").add(keys[6:], vectors_of(keys[6:]))
    store = VectorStore(bucket, "model", cache=tmp_path / "b")
    assert store.missing(keys_of(3, "new")) == keys_of("new")
    np.testing.assert_array_equal(store.gather(keys), vectors_of(keys))

    fetched: list[str] = []
    read = storage.read_bytes
    monkeypatch.setattr(storage, "read_bytes", lambda uri: fetched.append(str(uri)) or read(uri))  # type: ignore[func-returns-value]
    again = VectorStore(bucket, "model", cache=tmp_path / "b")
    np.testing.assert_array_equal(again.gather(keys), vectors_of(keys))
    assert [uri for uri in fetched if uri.endswith(".npy")] == []

    # A damaged copy is thrown away, so the next try fetches anew.
    copy = next((tmp_path / "b").rglob("*.npy"))
    copy.write_bytes(copy.read_bytes()[:-1])
    with pytest.raises(InputError, match="damaged"):
        VectorStore(bucket, "model", cache=tmp_path / "b").gather(keys)
    np.testing.assert_array_equal(VectorStore(bucket, "model", cache=tmp_path / "b").gather(keys), vectors_of(keys))
