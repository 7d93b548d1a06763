"""Shards: together they encode every new text once, and a killed one goes on where it was."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from elec.llm import VectorStore, encode_shard, llm_id, plan_shards
from elec.llm import encoder as room
from elec.spec.learning import LlmSpec

WriteTexts = Callable[..., Path]


class Lengths:
    """Stands for the LLM where only the book-keeping matters: a vector is the text's length."""

    seen: list[str]

    def encode(self, texts: Sequence[str], *, done: Callable[[int], None]) -> np.ndarray:
        self.seen.extend(texts)
        done(len(texts))
        return np.array([[len(text), 1.0] for text in texts], np.float32)


@pytest.fixture
def lengths(monkeypatch: pytest.MonkeyPatch) -> Lengths:
    llm = Lengths()
    llm.seen = []
    monkeypatch.setattr(room.Encoder, "load", lambda spec, device: llm)
    return llm


@pytest.mark.parametrize(("new", "shards"), [(0, 1), (1, 1), (10, 1), (11, 2), (25, 3), (1000, 4)])
def test_a_shard_is_opened_for_enough_new_texts(tmp_path: Path, write_texts: WriteTexts, new: int, shards: int) -> None:
    texts = write_texts(tmp_path / "texts", [f"text {number}" for number in range(new)])
    store = VectorStore(tmp_path / "vectors", "model")
    assert plan_shards(LlmSpec(shards=4, shard_size=10), texts, store) == list(range(shards))


def test_shards_share_the_texts(tmp_path: Path, write_texts: WriteTexts, lengths: Lengths) -> None:
    all_texts = ["x" * number for number in range(101)]
    texts = write_texts(tmp_path / "texts", all_texts)
    store = VectorStore(tmp_path / "vectors", "model")
    first = encode_shard(LlmSpec(), texts, store, 1, 3)
    # What a shard owns does not depend on what others have published.
    reports = [encode_shard(LlmSpec(), texts, store, shard, 3) for shard in (0, 1, 2)]
    assert [report.texts for report in reports] == [33, 34, 34]
    assert (first.encoded, first.reused) == (34, 0)
    assert [report.encoded for report in reports] == [33, 0, 34]
    assert sorted(lengths.seen) == all_texts
    table = pq.read_table(texts / "texts.parquet")
    assert store.gather(table["key"])[:, 0].tolist() == [len(text) for text in table["text"].to_pylist()]


def test_texts_are_encoded_by_length_and_published_in_parts(tmp_path: Path, write_texts: WriteTexts, lengths: Lengths) -> None:
    texts = write_texts(tmp_path / "texts", ["x" * number for number in range(10)])
    store = VectorStore(tmp_path / "vectors", "model")
    encode_shard(LlmSpec(), texts, store, 0, 1, publish_every=4)
    assert [len(text) for text in lengths.seen] == list(range(10))
    assert len(list(tmp_path.rglob("*.npy"))) == 3


def test_a_second_run_loads_no_model(tmp_path: Path, write_texts: WriteTexts, lengths: Lengths, monkeypatch: Any) -> None:
    texts = write_texts(tmp_path / "texts", ["a", "b", ""])
    store = VectorStore(tmp_path / "vectors", "model")
    encode_shard(LlmSpec(), texts, store, 0, 1)
    monkeypatch.setattr(room.Encoder, "load", lambda *_, **__: pytest.fail("the model was loaded for nothing"))
    report = encode_shard(LlmSpec(), texts, VectorStore(tmp_path / "vectors", "model"), 0, 1)
    assert (report.texts, report.encoded, report.reused) == (3, 0, 3)


KILLED = """
import os, signal, sys
from pathlib import Path
from elec.llm import VectorStore, encode_shard, llm_id
from elec.spec.learning import LlmSpec

add, parts = VectorStore.add, iter(range(10))
def add_or_die(store, keys, vectors):
    if next(parts) == 2: os.kill(os.getpid(), signal.SIGKILL)
    add(store, keys, vectors)
VectorStore.add = add_or_die
encode_shard(LlmSpec(), Path(sys.argv[1]), VectorStore(sys.argv[2], llm_id(LlmSpec())), 0, 1, threads=1, publish_every=10)
"""


def test_a_killed_shard_goes_on_with_the_real_model(tmp_path: Path, write_texts: WriteTexts) -> None:
    texts = write_texts(tmp_path / "texts", [f"Title is Film {number}. Genres is Drama." for number in range(35)])
    arguments = [sys.executable, "-c", KILLED, str(texts), str(tmp_path / "vectors")]
    assert subprocess.run(arguments, env=os.environ, check=False).returncode == -signal.SIGKILL
    store = VectorStore(tmp_path / "vectors", llm_id(LlmSpec()))
    report = encode_shard(LlmSpec(), texts, store, 0, 1)
    assert (report.texts, report.encoded, report.reused) == (35, 15, 20)
    table = pq.read_table(texts / "texts.parquet")
    # float16, and other neighbours in the batch than in one go.
    direct = room.Encoder.load(LlmSpec(), device="cpu").encode(table["text"].to_pylist())
    np.testing.assert_allclose(store.gather(table["key"]).astype(np.float32), direct, atol=2e-3)
