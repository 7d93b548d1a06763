"""What the distillation step is given: the folders of the steps before it and the run, on a small log with a pattern in it."""

import hashlib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from safetensors.torch import save_file

from elec.features import FeatureEncoder
from elec.llm.identity import llm_id
from elec.llm.mllm import MLLM, MllmConfig, save_mllm
from elec.llm.vector_store import VectorStore
from elec.runs.workspace import Workspace
from elec.spec import DatasetSpec, Spec
from elec.spec.learning import LlmSpec
from elec.spec.run import RunSpec
from elec.steps.job import Job

#: The last batch of 100 has a single row.
ROWS = {"train": 1501, "valid": 300, "test": 300}
USERS, ITEMS, WIDTH = 40, 20, 8
DATASET = DatasetSpec.model_validate(
    {
        "name": "small",
        "source": {"path": "log.csv"},
        "label": {"column": "click"},
        "timestamp": {"column": "ts"},
        "user": "user",
        "item": "item",
        "fields": [
            {"name": "genres", "of": "item", "kind": "multivalued", "max_values": 3},
            {"name": "price", "of": "item", "kind": "numeric", "buckets": 4},
        ],
    }
)


def prepare(folder: Path, workspace: str = "", *, seed: int = 0, first_user: int = 0, run: dict[str, Any] | None = None) -> Job:
    """Writes `features/`, `texts/`, `mllm/`, the vectors and `job.json` below a folder.

    Args:
        folder: Where to.
        workspace: Of the job; below the folder when left out.
        seed: Of the log; who likes what stays the same.
        first_user: The users are 40 from this one on.
        run: Changes the run's settings.
    """
    known, drawn = np.random.default_rng(7), np.random.default_rng(seed)
    taste, appeal = known.normal(size=1000), known.normal(size=ITEMS)
    features, texts = folder / "features", folder / "texts"
    for path in (features / "encoded", features / "frame", texts / "rows", folder / "mllm", folder / "llm"):
        path.mkdir(parents=True)
    names = [f"user {number}" for number in range(1000)] + [f"item {number}" for number in range(ITEMS)]
    keys = np.array([hashlib.sha256(name.encode()).hexdigest() for name in names])
    order = np.argsort(keys)
    place = np.argsort(order).astype(np.int32)
    pq.write_table(pa.table({"key": keys[order], "text": np.array(names)[order]}), texts / "texts.parquet")

    encoder, start = None, 0
    for split, rows in ROWS.items():
        user, item = first_user + drawn.integers(0, USERS, rows), drawn.integers(0, ITEMS, rows)
        clicked = drawn.random(rows) < 1 / (1 + np.exp(-2 * (taste[user] + appeal[item])))
        frame = pa.table(
            {
                "user": pa.array(user).cast("string"),
                "item": pa.array(item).cast("string"),
                "genres": pa.array([[f"g{i % 10}"] + ["odd"] * (i % 2) for i in item]),
                "price": pa.array(item.astype(np.float64)),
            }
        )
        pq.write_table(frame, features / "frame" / f"{split}.parquet")
        encoder = encoder or FeatureEncoder.fit(DATASET, features / "frame" / "train.parquet")
        row_id = np.arange(start, start + rows)
        slots = pa.FixedSizeListArray.from_arrays(pa.array(encoder.encode(frame).ravel()), encoder.slots)
        encoded = pa.table(
            {"row_id": row_id, "label": clicked.astype(np.int8), "user_index": user - first_user, "slots": slots}
        )
        pq.write_table(encoded, features / "encoded" / f"{split}.parquet")
        read = pa.table({"row_id": row_id, "user": place[user], "item": place[1000 + item]})
        pq.write_table(read, texts / "rows" / f"{split}.parquet")
        start += rows
    assert encoder is not None
    encoder.save(features / "vocabulary")

    torch.manual_seed(3)
    mllm = MLLM(WIDTH, 2, (8, 6), 0.0)
    save_mllm(mllm, MllmConfig(llm_dim=WIDTH, roles=("user", "item"), layers=(8, 6), dropout=0.0), {}, folder / "mllm")
    # A language model that nobody asks to read: its vectors are in the store.
    (folder / "llm" / "config.json").write_text("{}")
    (folder / "llm" / "tokenizer.json").write_text("{}")
    save_file({"weight": torch.zeros(1)}, folder / "llm" / "model.safetensors")
    space = Workspace(workspace or str(folder / "workspace"))
    llm = LlmSpec(name=str(folder / "llm"))
    vectors = known.normal(size=(len(keys), WIDTH)).astype(np.float16)
    VectorStore(space.vectors, llm_id(llm)).add(keys.tolist(), vectors)

    settings: dict[str, Any] = {
        "seed": 5,
        "llm": llm.model_dump(),
        "model": {"embedding": 4, "deep": (8, 6), "dropout": 0.2},
        "training": {"precision": "float32", "compile": "off"},
        "distill": {"epochs": 3, "batch_size": 100, "learning_rate": 0.02, "patience": 3},
    }
    for name, changed in (run or {}).items():
        settings[name] = {**settings[name], **changed} if isinstance(changed, dict) and name in settings else changed
    spec = Spec(dataset=DATASET, run=RunSpec.model_validate(settings))
    job = Job(spec=spec, workspace=space.uri, run_id="run-1", as_of=datetime(2026, 1, 1, tzinfo=UTC))
    (folder / "job.json").write_text(job.model_dump_json())
    return job


def arguments(folder: Path, model: Path) -> list[str]:
    """What `python -m elec.training` is told to train on these folders."""
    return [
        f"--job={folder / 'job.json'}",
        *(f"--{name}={folder / name}" for name in ("features", "texts", "mllm")),
        f"--model={model}",
    ]


def train(folder: Path, model: Path) -> None:
    """Trains on prepared folders, with a snapshot after every fifth step; `steps.json` beside the model counts the steps."""
    import itertools
    import json
    from types import SimpleNamespace

    from elec.steps.job import parse_job
    from elec.steps.training import train_networks
    from elec.training import loop
    from elec.training.optimiser import Optimiser

    torch.set_num_threads(1)
    loop.time = SimpleNamespace(monotonic=itertools.count(step=0.2).__next__)  # type: ignore[assignment]
    taken, step = itertools.count(1), Optimiser.step

    def counted(*given: Any) -> None:
        step(*given)
        model.with_name("steps.json").write_text(json.dumps(next(taken)))

    Optimiser.step = counted  # type: ignore[method-assign]
    job = parse_job((folder / "job.json").read_text())
    train_networks(job, {name: folder / name for name in ("features", "texts", "mllm")}, model)
