"""elec's training loop over the same rows and the same model as `fuxictr_loop`, in a process of its own.

Prints one line of JSON: samples a second of the training steps (validation not counted) and the validation AUC.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.training.made_log import MadeField
from elec.evaluation.metrics import auc
from elec.progress import Progress
from elec.spec import RunSpec
from elec.training import loop
from elec.training.data import load_rows
from elec.training.inputs import StudentInputs
from elec.training.loop import predict
from elec.training.pair import train_pair
from elec.training.plain import train_plain

_LLM_SIZE = 128


def run_spec(task: dict[str, Any]) -> RunSpec:
    """The settings of a task."""
    return RunSpec.model_validate(
        {
            "model": {"embedding": 32, "deep": task["deep"], "cross_layers": task["cross_layers"], "dropout": 0.0},
            "training": task["training"],
            "distill": {
                "epochs": task["epochs"],
                "batch_size": task["batch_size"],
                "learning_rate": task["learning_rate"],
                "embedding_l2": 0.0,
                "patience": task["epochs"],
            },
        }
    )


def main() -> None:
    """Trains once."""
    task = json.loads(sys.argv[1])
    torch.set_num_threads(task["threads"])
    folder = Path(task["folder"])
    spec = run_spec(task)
    joint = task["network"] == "pair"
    rows = {}
    for part, split in enumerate(("train", "valid")):
        path = folder / f"{split}.parquet"
        llm = None
        if joint:
            # What the M-LLM says does not matter for the speed; its width does.
            count = task["rows"][part]
            llm = np.random.default_rng(part).normal(size=(count, _LLM_SIZE)).astype(np.float32)
        rows[split] = load_rows(path, llm)
    fields = [MadeField(name, size) for name, size in task["fields"]]
    inputs = StudentInputs(fields, rows, llm_size=_LLM_SIZE if joint else 0)
    seconds = _time_validation()
    place = torch.device("cpu")
    with Progress("train", unit="samples", total=None) as progress:
        started = time.perf_counter()
        learner = train_pair(inputs, spec, place, progress)["vanilla"] if joint else train_plain(inputs, spec, place, progress)
        spent = time.perf_counter() - started - seconds[0]
    probability = predict(learner.network, learner.score, rows["valid"])
    found = {
        "samples_per_second": task["epochs"] * len(rows["train"]) / spent,
        "auc": auc(rows["valid"].label_N.numpy(), probability),
        "logloss": learner.best_logloss,
    }
    print(json.dumps(found))


def _time_validation() -> list[float]:
    """Adds up what the loop spends on validation, which FuxiCTR's rate does not count either."""
    seconds = [0.0]
    record = loop.Learner.record

    def timed(*arguments: Any, **options: Any) -> None:
        started = time.perf_counter()
        record(*arguments, **options)
        seconds[0] += time.perf_counter() - started

    loop.Learner.record = timed  # type: ignore[method-assign]
    return seconds


if __name__ == "__main__":
    main()
