"""The steps' work on data, wherever it is done: in this process, in Ray's workers on this machine, or in those of a cluster."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from elec import storage
from elec.engine import Engine, started
from elec.steps.job import Job

#: The refused rows in a run's folder; absent where there are none.
QUARANTINE = "quarantine.parquet"


def work_on_data(job: Job, step: str, inputs: Mapping[str, Path], output: Path) -> dict[str, Any]:
    """Does a step's work where the spec's `run.data` says.

    Args:
        job: The run.
        step: One of `WORK`.
        inputs: The step's input folders, by name.
        output: Folder to write.

    Returns:
        The step's report, as JSON has it.
    """
    settings = job.spec.run.data
    if settings.engine == "ray" and "RAY_ADDRESS" not in os.environ:
        from elec.cluster.jobs import on_a_cluster

        if on_a_cluster():
            from elec.cluster.data import work_on_nodes

            return work_on_nodes(job, step, inputs, output)
    with started(settings, storage.join(job.space.data_job(job.run_id, step), "exchange")) as engine:
        return WORK[step](job, inputs, output, engine)


def _ingest(job: Job, inputs: Mapping[str, Path], output: Path, engine: Engine) -> dict[str, Any]:
    from elec import ingest as room

    report = room.ingest(
        job.spec.dataset,
        output,
        as_of=job.as_of,
        kept=job.space.segments(job.spec.dataset.name),
        # Refused rows stay with the run, whose folder outlives the artifacts: `elec data quarantine` shows them.
        quarantine=storage.join(job.folder.uri, QUARANTINE),
        engine=engine,
    )
    return report.model_dump(mode="json")


def _build_features(job: Job, inputs: Mapping[str, Path], output: Path, engine: Engine) -> dict[str, Any]:
    from elec.features.build import build_features as build

    report = build(job.spec, inputs["ingested"], output, feast_folder=job.space.feast, as_of=job.as_of, engine=engine)
    return report.model_dump(mode="json")


#: What is done, by the step's name.
WORK: Mapping[str, Callable[[Job, Mapping[str, Path], Path, Engine], dict[str, Any]]] = {
    "ingest": _ingest,
    "build_features": _build_features,
}
