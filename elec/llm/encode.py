"""Encodes the texts that have no vector yet, in shards that run side by side; what is done is published as it goes."""

import time
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from elec.llm.vector_store import VectorStore
from elec.progress import Progress
from elec.spec.learning import LlmSpec

#: A killed shard loses the work on this many texts at most.
PUBLISH_EVERY = 2048


class EncodeReport(BaseModel):
    """What a shard did.

    Attributes:
        texts: The shard's own.
        encoded: Now.
        reused: Known before.
        seconds: Loading the model included.
    """

    model_config = ConfigDict(frozen=True)

    texts: int
    encoded: int
    reused: int
    seconds: float


def plan_shards(spec: LlmSpec, texts: Path, store: VectorStore) -> list[int]:
    """How many tasks are worth opening: one for every `shard_size` new texts, within `shards`, and one at least.

    Args:
        spec: The shards' settings.
        texts: Folder with `texts.parquet`.
        store: What is known.

    Returns:
        The shards' numbers, from 0.
    """
    new = len(store.missing(_keys(texts)))
    return list(range(max(1, min(spec.shards, -(-new // spec.shard_size)))))


def encode_shard(
    spec: LlmSpec,
    texts: Path,
    store: VectorStore,
    shard: int,
    shards: int,
    *,
    threads: int | None = None,
    device: str = "auto",
    publish_every: int = PUBLISH_EVERY,
) -> EncodeReport:
    """Encodes the new texts of one shard into the store.

    A shard owns a range of the sorted keys. Keys are hashes, so all shards have about the same work, and what a shard owns
    does not change while others publish.

    Args:
        spec: The language model.
        texts: Folder with `texts.parquet`.
        store: What is known; gets what is new.
        shard: This shard's number.
        shards: How many there are.
        threads: Of the CPU; left out, torch decides.
        device: `auto`, `cpu` or `cuda`.
        publish_every: Texts.
    """
    started = time.monotonic()
    keys = _keys(texts)
    own = keys[len(keys) * shard // shards : len(keys) * (shard + 1) // shards]
    new = store.missing(own)
    if new:
        if threads is not None:
            import torch

            torch.set_num_threads(threads)
        _encode(spec, texts, store, new, device, publish_every)
    return EncodeReport(
        texts=len(own), encoded=len(new), reused=len(own) - len(new), seconds=round(time.monotonic() - started, 3)
    )


def _encode(spec: LlmSpec, texts: Path, store: VectorStore, new: list[str], device: str, publish_every: int) -> None:
    from elec.llm.encoder import Encoder

    table = pq.read_table(texts / "texts.parquet", columns=["key", "text"], filters=pc.field("key").isin(new))
    # Texts of like length together: less padding, in a batch as in a published part.
    table = table.take(pc.sort_indices(pc.utf8_length(table["text"])))
    encoder = Encoder.load(spec, device=device)
    with Progress("encode text", unit="texts", total=len(table)) as progress:
        for start in range(0, len(table), publish_every):
            part = table.slice(start, publish_every)
            vectors = encoder.encode(part["text"].to_pylist(), done=progress.advance)
            store.add(part["key"].to_pylist(), vectors)


def _keys(texts: Path) -> pa.Array:
    return pq.read_table(texts / "texts.parquet", columns=["key"])["key"].combine_chunks()
