"""Training, where it takes place: in the distillation task's own process, or in the workers of a `TrainJob`."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import orjson

from elec import storage
from elec.steps.job import Job
from elec.steps.textify import vector_store

if TYPE_CHECKING:
    from elec.llm.mllm import MLLM
    from elec.training import PairTeacher
    from elec.training.aid import Aid

#: The files that a training learns from, in each of its input folders.
_LEARNT_FROM = {
    "features": ("encoded/*.parquet", "vocabulary/*"),
    "texts": ("texts.parquet", "rows/*.parquet"),
    "mllm": ("*.safetensors",),
    "knowledge": ("encoded/*.parquet", "vocabulary/*", "rows/*.npy"),
}


def train_networks(job: Job, inputs: Mapping[str, Path], model: Path) -> dict[str, Any]:
    """Trains the networks of a run; a training that was killed goes on where it was, bit by bit.

    Args:
        job: The run.
        inputs: The folders `features`, `texts`, `mllm` and, for students that read it, `knowledge`.
        model: Folder to write; of processes that train together the first one writes.

    Returns:
        What the step's record says of it.
    """
    from elec.device import choose_device
    from elec.llm.mllm import load_mllm
    from elec.llm.representations import write_representations
    from elec.training import distill
    from elec.training.parallel import is_first

    mllm = load_mllm(inputs["mllm"], device=choose_device())
    with TemporaryDirectory(prefix="elec-training-") as scratch:
        known = write_representations(mllm, inputs["texts"], vector_store(job), Path(scratch, "representations"))
        aid, facts = _aid(job, inputs, Path(scratch))
        report = distill(
            job.spec,
            inputs["features"],
            known,
            model,
            knowledge=inputs.get("knowledge"),
            teacher=_pair_teacher(job, inputs["texts"], mllm),
            aid=aid,
        )
    facts = report.model_dump(mode="json") | facts
    if is_first():
        facts["curves"] = orjson.loads((model / "curves.json").read_bytes())
        storage.remove_folder(aid.snapshots)
    return facts


def _pair_teacher(job: Job, texts: Path, mllm: "MLLM") -> "PairTeacher | None":
    """What the M-LLM says of pairs that are no rows; None where the spec asks for none, or rows have no text of each."""
    import numpy as np
    import pyarrow.parquet as pq

    from elec.llm.representations import PairRepresentations
    from elec.llm.rows import read_texts
    from elec.training import PairTeacher

    roles, _, numbers_NR = read_texts(texts / "rows" / "train.parquet")
    if job.spec.run.distill.unlabelled.share == 0 or roles != ("user", "item"):
        return None
    numbers_N2 = numbers_NR.astype(np.int64)
    vectors = vector_store(job).gather(pq.read_table(texts / "texts.parquet", columns=["key"])["key"])
    return PairTeacher(numbers_N2[:, 0], numbers_N2[:, 1], PairRepresentations(mllm, vectors))


def _aid(job: Job, inputs: Mapping[str, Path], scratch: Path) -> tuple["Aid", dict[str, Any]]:
    """What the training may use, and facts about it that the report does not have."""
    from elec.device import choose_device
    from elec.training.aid import Aid
    from elec.training.parallel import current
    from elec.training.snapshot import training_key
    from elec.version import code_version

    run, group = job.spec.run, current()
    champion = job.space.champion() if run.distill.warm_start else None
    decides = {
        # How often a snapshot is taken and where rows are kept decides no weight.
        "run": run.model_dump(
            mode="json",
            include={"seed", "text", "llm", "adapt", "model", "training", "distill", "student"},
            exclude={"training": {"checkpoint_seconds", "memory"}},
        ),
        "item": job.spec.dataset.item,
        "champion": champion.bundle_id if champion is not None else None,
        "code_version": code_version(),
        "device": choose_device().type,
        "processes": group.world if group is not None else 1,
    }
    snapshots = job.space.snapshots(training_key(decides, _learnt_from(inputs)))
    start, facts = None, {}
    if champion is not None:
        start = storage.fetch_folder(job.space.weights(champion.bundle_id), scratch)
    elif run.distill.warm_start:
        facts["warm_start"] = dict.fromkeys(run.student.train, "starts fresh: there is no champion yet")
    return Aid(snapshots=snapshots, group=group, champion=start), facts


def _learnt_from(inputs: Mapping[str, Path]) -> Iterator[Path]:
    for name, patterns in _LEARNT_FROM.items():
        if name in inputs:
            for pattern in patterns:
                yield from sorted(inputs[name].glob(pattern))
