"""elec's training loop over the same rows, the same model and the same settings as `fuxictr_loop`, in a process of its own.

Prints one line of JSON: samples a second of the training (making the network and validating not counted) and the valid AUC.
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
from elec.training import loop, optimiser
from elec.training.data import load_rows
from elec.training.inputs import StudentInputs
from elec.training.learner import predict
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
                "calibrate": False,
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
    # FuxiCTR's learning rate stays as it is; elec's falls linearly, to a share that is all of it here.
    optimiser._FINAL_SHARE = 1.0
    begun, validation = _watch()
    place = torch.device("cpu")
    with Progress("train", unit="samples", total=None) as progress:
        learner = train_pair(inputs, spec, place, progress)["vanilla"] if joint else train_plain(inputs, spec, place, progress)
        spent = time.perf_counter() - begun[0] - sum(validation)
    probability = predict(learner.network, learner.score, rows["valid"])
    found = {
        "samples_per_second": task["epochs"] * len(rows["train"]) / spent,
        "auc": auc(rows["valid"].label_N.numpy(), probability),
        "logloss": learner.best_logloss,
    }
    print(json.dumps(found))


def _watch() -> tuple[list[float], list[float]]:
    """When optimisers are made, and how long validations take: FuxiCTR's rate starts there too, and leaves those out."""
    begun: list[float] = []
    validation: list[float] = []
    make, record = optimiser.Optimiser.__init__, loop.Learner.record

    def made(*arguments: Any, **options: Any) -> None:
        begun.append(time.perf_counter())
        make(*arguments, **options)

    def recorded(*arguments: Any, **options: Any) -> None:
        started = time.perf_counter()
        record(*arguments, **options)
        validation.append(time.perf_counter() - started)

    optimiser.Optimiser.__init__ = made  # type: ignore[method-assign]
    loop.Learner.record = recorded  # type: ignore[method-assign]
    return begun, validation


if __name__ == "__main__":
    main()
