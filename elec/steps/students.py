"""A run's students side by side: measured on validation and test rows, bundled, timed, and the challenger chosen among them."""

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from elec.steps.job import Job
from elec.steps.knowledge import publish_vectors, vector_views

if TYPE_CHECKING:
    from elec.evaluation import Choice, Metrics
    from elec.features.vectors import VectorViews
    from elec.serving.latency import Latency
    from elec.serving.manifest import Manifest, Student
    from elec.serving.predictor import Vectors


@dataclass(frozen=True)
class Judged:
    """A student.

    Attributes:
        folder: Of its networks and their predictions.
        bundle: Its bundle's manifest.
        valid: On the validation rows, on which the choice is made.
        test: On the test rows, for the report and the gate.
        latency: Of a request, with the look-up of text vectors where it reads them.
    """

    folder: Path
    bundle: "Manifest"
    valid: "Metrics"
    test: "Metrics"
    latency: "Latency"


@dataclass(frozen=True)
class Challenger:
    """The chosen student, and how it came to be chosen.

    Attributes:
        judged: The chosen one.
        choice: Why.
        facts: For the step's record.
    """

    judged: Judged
    choice: "Choice"
    facts: dict[str, Any]


def choose_challenger(job: Job, features: Path, model: Path, knowledge: Path, bundle: Path) -> Challenger:
    """Judges every student of a run and leaves the bundle of the best.

    Args:
        job: The run.
        features: Folder of the features step.
        model: Folder of the distillation step.
        knowledge: Folder of what students other than `vanilla` read.
        bundle: Folder to write: the challenger's bundle, not yet published.
    """
    from elec.evaluation import Candidate, choose
    from elec.storage import whole_folder

    views = vector_views(job, knowledge)
    online = publish_vectors(job, knowledge, views) if views is not None else {}
    with TemporaryDirectory(prefix="elec-students-") as scratch:
        judged: dict[str, Judged] = {}
        for name, folder in student_folders(job, model).items():
            judged[name] = _judge(job, name, folder, features, knowledge, views, Path(scratch, name))
        choice = choose([Candidate(name, one.valid.auc, one.latency.p50_ms) for name, one in judged.items()], job.spec.run.gate)
        with whole_folder(bundle) as place:
            shutil.copytree(Path(scratch, choice.chosen), place, dirs_exist_ok=True)
    facts: dict[str, Any] = {
        "student": choice.chosen,
        "students": {
            name: {
                "valid": one.valid.model_dump(),
                "test": one.test.model_dump(),
                "latency": one.latency.model_dump(),
                "why": choice.why[name],
            }
            for name, one in judged.items()
        },
        "choice": choice.reason,
    }
    if views is not None:
        facts["vectors"] = {"views": views.model_dump(), "online": online}
    return Challenger(judged[choice.chosen], choice, facts)


def student_folders(job: Job, model: Path) -> "dict[Student, Path]":
    """The folder of each student's networks: the model's own for a single student, else one each."""
    names = job.spec.run.student.train
    return {name: model if len(names) == 1 else model / "students" / name for name in names}


def _judge(
    job: Job,
    name: "Student",
    folder: Path,
    features: Path,
    knowledge: Path,
    views: "VectorViews | None",
    bundle: Path,
) -> Judged:
    import pyarrow.parquet as pq

    from elec.evaluation import evaluate as measure
    from elec.export.bundle import build_bundle, note_cost
    from elec.serving.latency import measure_latency
    from elec.serving.start import open_features

    metrics = []
    for split in ("valid", "test"):
        rows = pq.read_table(folder / "predictions" / f"{split}.parquet", columns=["label", "user_index", "vanilla"])
        metrics.append(measure(*(rows[column].to_numpy() for column in ("label", "vanilla", "user_index"))))
    valid, test = metrics
    manifest = build_bundle(
        job.spec,
        folder,
        features,
        bundle,
        metadata=_metadata(job, test.model_dump()),
        student=name,
        knowledge=None if name == "vanilla" else knowledge,
        vectors=views if name == "vectors" else None,
    )
    store: Vectors | None = open_features(manifest, job.space.feast) if name == "vectors" else None
    latency = measure_latency(bundle, features, store)
    return Judged(folder, note_cost(bundle, latency.cost), valid, test, latency)


def _metadata(job: Job, metrics: Mapping[str, Any]) -> Any:
    from elec.serving.manifest import BundleMetadata
    from elec.version import code_version

    records = job.folder.records()
    ingested, features = records["ingest"]["facts"]["report"], records["build_features"]["facts"]
    return BundleMetadata(
        run_id=job.run_id,
        as_of=job.as_of,
        code_version=code_version(),
        metrics=dict(metrics),
        window={"first": ingested["first_event"]["train"], "last": ingested["last_event"]["train"]},
        llm=job.spec.run.llm.name,
        feature_service=features["feature_service"],
        feature_views=tuple(features["feature_views"].values()),
    )
