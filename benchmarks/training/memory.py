"""Memory and rate over rows that are read from Parquet by blocks, against the same rows held in memory.

    python -m benchmarks.training.memory --rows 20000000

Each way runs in a process of its own over the same file and for the same steps; its peak is the most resident memory beyond
what the model and the libraries took before the first row was read.
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
from itertools import islice
from pathlib import Path

import torch

from benchmarks.training.made_log import MadeLog, fields_of
from elec.models import vanilla_network
from elec.progress import Progress
from elec.spec.learning import ModelSpec, TrainingSpec
from elec.training.data import load_rows
from elec.training.losses import click_loss
from elec.training.memory import keep_freed_memory
from elec.training.optimiser import Optimiser
from elec.training.stream import StreamedRows
from elec.version import code_version

_BATCH = 4096
_TABLE = 1_000_000
_ROWS_AT_ONCE = 1_000_000


def main() -> None:
    """Makes the rows, runs both ways in turn and writes the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--rows", type=int, default=20_000_000)
    options.add_argument("--steps", type=int, default=800)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--output", type=Path, default=Path("benchmarks/training/results-memory.md"))
    options.add_argument("--way", choices=("memory", "stream"), help=argparse.SUPPRESS)
    options.add_argument("--path", type=Path, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.way:
        print(json.dumps(_train(chosen.way, chosen.path, chosen.steps)))
        return
    with tempfile.TemporaryDirectory(prefix="elec-memory-") as scratch:
        path = Path(scratch) / "train.parquet"
        with Progress("make rows", unit="rows", total=chosen.rows) as progress:
            MadeLog(fields_of(8, _TABLE), seed=1).write_parquet(path, chosen.rows, 0)
            progress.advance(chosen.rows)
        found: dict[str, list[dict[str, float]]] = {"memory": [], "stream": []}
        for _ in range(chosen.rounds):
            for way, runs in found.items():
                runs.append(_in_process(way, path, chosen.steps))
    lines = ["| rows | samples/s | peak memory beyond the model |", "|---|---|---|"]
    for way, title in (("memory", "held in memory"), ("stream", "streamed from Parquet")):
        rate = max(run["samples_per_second"] for run in found[way])
        peak = max(run["peak"] for run in found[way])
        lines.append(f"| {title} | {rate:,.0f} | {peak / 1e9:.2f} GB |")
    about = (
        f"{chosen.rows:,} rows of 8 fields, DCNv2, {_TABLE:,} embeddings of 32, batch {_BATCH}, the first {chosen.steps} steps "
        f"of an epoch, {platform.machine()}, the fastest of {chosen.rounds} rounds turn about; code {code_version()}."
    )
    print("\n".join(lines))
    chosen.output.write_text("# Memory of training\n\n" + about + "\n\n" + "\n".join(lines) + "\n", encoding="utf-8")


def _in_process(way: str, path: Path, steps: int) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.training.memory", "--way", way, "--path", str(path), "--steps", str(steps)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | {"OMP_NUM_THREADS": "2"})
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _train(way: str, path: Path, steps: int) -> dict[str, float]:
    """The first steps of an epoch, with memory kept as `train` keeps it; the rate leaves out the opening of the file."""
    keep_freed_memory()
    network = vanilla_network(fields_of(8, _TABLE), ModelSpec(dropout=0.0)).train()
    optimiser = Optimiser(network, learning_rate=1e-3, embedding_l2=0.0, steps=steps, training=TrainingSpec())
    # The optimiser's own state of the table is part of the model, and is not touched before it is needed.
    slots = torch.zeros((2, 8), dtype=torch.int64)
    optimiser.step(click_loss(network(slots)[0], torch.tensor([0.0, 1.0])))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    rows = StreamedRows(path) if way == "stream" else load_rows(path)
    samples, started = 0, time.perf_counter()
    for batch in islice(rows.shuffled(_BATCH, seed=1, epoch=1), steps):
        optimiser.step(click_loss(network(batch.slots_BS)[0], batch.label_B))
        samples += len(batch)
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return {"samples_per_second": samples / seconds, "peak": peak * 1024.0}


if __name__ == "__main__":
    main()
