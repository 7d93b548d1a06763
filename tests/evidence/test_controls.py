"""Controls: every text gets another vector, always the same one, of its own role."""

import hashlib
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elec.evidence.controls import ControlStore
from elec.llm import VectorStore

USERS, ITEMS = 12, 20


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    folder = tmp_path / "texts"
    (folder / "rows").mkdir(parents=True)
    keys = sorted(hashlib.sha256(f"text {number}".encode()).hexdigest() for number in range(USERS + ITEMS))
    pq.write_table(pa.table({"key": keys, "text": keys}), folder / "texts.parquet")
    draw = np.random.default_rng(0)
    for split in ("train", "valid", "test"):
        user = np.concatenate([np.arange(USERS), draw.integers(0, USERS, 30)]).astype(np.int32)
        item = (USERS + np.resize(np.arange(ITEMS), len(user))).astype(np.int32)
        pq.write_table(
            pa.table({"row_id": np.arange(len(user)), "user": user, "item": item}), folder / "rows" / f"{split}.parquet"
        )
    return folder


@pytest.fixture
def store(tmp_path: Path, texts: Path) -> VectorStore:
    found = VectorStore(str(tmp_path / "vectors"), "llm")
    keys = pq.read_table(texts / "texts.parquet")["key"].to_pylist()
    found.add(keys, np.arange(len(keys), dtype=np.float32)[:, None] + np.array([0.0, 100.0, 500.0], np.float32))
    return found


def test_shuffled_text_has_another_texts_vector_of_its_role(texts: Path, store: VectorStore) -> None:
    keys = pq.read_table(texts / "texts.parquet")["key"]
    replaced = ControlStore(store, texts, "shuffled", 1).gather(keys)[:, 0].astype(int)
    own = store.gather(keys)[:, 0].astype(int)
    assert sorted(replaced) == sorted(own)
    assert (replaced != own).all()
    assert (replaced[:USERS] < USERS).all()
    assert (replaced[USERS:] >= USERS).all()


@pytest.mark.parametrize("source", ["shuffled", "random"])
def test_a_text_keeps_its_vector_however_it_is_asked_for(texts: Path, store: VectorStore, source: str) -> None:
    keys = pq.read_table(texts / "texts.parquet")["key"].combine_chunks()
    whole = ControlStore(store, texts, source, 3).gather(keys)  # type: ignore[arg-type]
    some = np.array([5, 30, 5, 1])
    again = ControlStore(store, texts, source, 3)  # type: ignore[arg-type]
    assert np.array_equal(again.gather(keys.take(pa.array(some))), whole[some])
    assert np.array_equal(again.gather([keys[7].as_py()]), whole[[7]])
    other = ControlStore(store, texts, source, 4).gather(keys)  # type: ignore[arg-type]
    assert not np.array_equal(other, whole)


def test_noise_has_the_size_of_the_vectors(texts: Path, store: VectorStore) -> None:
    keys = pq.read_table(texts / "texts.parquet")["key"]
    own, noise = store.gather(keys).astype(float), ControlStore(store, texts, "random", 1).gather(keys).astype(float)
    assert noise.shape == own.shape
    assert noise.dtype == own.dtype
    assert np.abs(noise.mean(axis=0) - own.mean(axis=0)).max() < 3 * own.std(axis=0).max() / np.sqrt(len(own)) * 2
    assert np.abs(np.corrcoef(noise[:, 0], own[:, 0])[0, 1]) < 0.6


def test_other_texts_are_refused(texts: Path, store: VectorStore) -> None:
    with pytest.raises(ValueError, match="1 keys are not of the texts"):
        ControlStore(store, texts, "random", 1).gather(["nowhere"])
