"""Training throughput: elec against FuxiCTR, the same rows, the same model, the same machine, turn about in one run.

    python -m benchmarks.training.throughput --fuxictr VENV

VENV is a virtual environment with FuxiCTR in it (`pip install -r benchmarks/training/fuxictr-requirements.txt`). FuxiCTR runs
its own loop with its own layers and data loader, with the number of loader processes that is faster here.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.training.made_log import MadeLog, fields_of
from elec.version import code_version

_LOOP = Path(__file__).with_name("fuxictr_loop.py")


@dataclass(frozen=True)
class Case:
    """One size of problem: what it is called, fields, rows of the embedding table, and train rows."""

    title: str
    fields: int
    table: int
    rows: int


CASES = (
    Case("8 fields, 0.1 M embeddings", 8, 100_000, 400_000),
    Case("8 fields, 1 M embeddings", 8, 1_000_000, 400_000),
    Case("32 fields, 2 M embeddings", 32, 2_000_000, 200_000),
)
_VALID = 50_000


def main() -> None:
    """Runs all cases and writes the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--fuxictr", type=Path, required=True, metavar="VENV")
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--output", type=Path, default=Path("benchmarks/training/results-throughput.md"))
    chosen = options.parse_args()
    lines = [
        "| problem | trained | samples/s | times FuxiCTR's | valid AUC |",
        "|---|---|---|---|---|",
    ]
    for case in CASES:
        found = _lines(case, chosen)
        lines += found
        print("\n".join(found), flush=True)
    about = (
        f"Batch 4096, embedding 32, two cross layers, deep 256/128/64, one epoch, {chosen.threads} threads, "
        f"{platform.machine()}; median of {chosen.rounds} rounds, turn about; Adam at a constant 1e-3 "
        f"on all embeddings (FuxiCTR) or those read (elec), from each one's own first embeddings; code {code_version()}. "
        "Timed from the made network on, without validation. `precision: auto` takes bfloat16 for trainings of minutes, where "
        "a probe finds it faster and the loss the same."
    )
    chosen.output.write_text("# Training throughput\n\n" + about + "\n\n" + "\n".join(lines) + "\n", encoding="utf-8")


def _lines(case: Case, chosen: argparse.Namespace) -> list[str]:
    fields = fields_of(case.fields, case.table)
    log = MadeLog(fields, seed=1)
    with tempfile.TemporaryDirectory(prefix="elec-throughput-") as scratch:
        folder = Path(scratch)
        for part, (split, rows) in enumerate((("train", case.rows), ("valid", _VALID))):
            log.write_parquet(folder / f"{split}.parquet", rows, part)
            log.write_npz(folder / f"{split}.npz", rows, part)
        task: dict[str, Any] = {
            "folder": str(folder),
            "fields": [[field.name, field.size] for field in fields],
            "rows": [case.rows, _VALID],
            "batch_size": 4096,
            "epochs": 1,
            "threads": chosen.threads,
            "embedding": 32,
            "deep": [256, 128, 64],
            "cross_layers": 2,
            "learning_rate": 1e-3,
        }
        fuxictr = [str(chosen.fuxictr / "bin" / "python"), str(_LOOP)]
        elec = [sys.executable, "-m", "benchmarks.training.elec_loop"]
        workers = max((0, 1), key=lambda count: _run(fuxictr, task | {"workers": count})["samples_per_second"])
        arms = {
            "FuxiCTR DCNv2": (fuxictr, {"workers": workers}),
            "elec DCNv2, float32": (elec, {"network": "plain", "training": {"precision": "float32"}}),
            "elec DCNv2, bfloat16": (elec, {"network": "plain", "training": {"precision": "bfloat16"}}),
            "elec gain + vanilla, float32": (elec, {"network": "pair", "training": {"precision": "float32"}}),
            "elec gain + vanilla, bfloat16": (elec, {"network": "pair", "training": {"precision": "bfloat16"}}),
        }
        found: dict[str, list[dict[str, float]]] = {name: [] for name in arms}
        for _ in range(chosen.rounds):
            for name, (command, own) in arms.items():
                found[name].append(_run(command, task | own))
    rates = {name: statistics.median(run["samples_per_second"] for run in runs) for name, runs in found.items()}
    return [
        f"| {case.title} | {name} | {rate:,.0f} | {rate / rates['FuxiCTR DCNv2']:.1f} "
        f"| {statistics.median(run['auc'] for run in found[name]):.4f} |"
        for name, rate in rates.items()
    ]


def _run(command: list[str], task: dict[str, Any]) -> dict[str, float]:
    done = subprocess.run(
        [*command, json.dumps(task)],
        check=False,
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": str(task["threads"])},
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
