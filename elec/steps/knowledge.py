"""What students other than the vanilla one read: made from text vectors, with the projection and codes of earlier runs."""

import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from elec import storage
from elec.steps.job import Job
from elec.steps.textify import vector_store

if TYPE_CHECKING:
    from elec.features.vectors import VectorViews

#: Stands in the folder when no student of the spec needs it: an artifact has to hold something.
NOT_NEEDED = "not_needed.json"


def prepare_knowledge(job: Job, features: Path, texts: Path, folder: Path) -> dict[str, Any]:
    """Builds what the students of the spec read beside the features.

    Codes and vectors keep their meaning from run to run: the first run of a data set with an LLM fits projection and
    codebooks and keeps them in the workspace, and later ones use them.

    Args:
        job: The run.
        features: Folder of the features step.
        texts: Folder of the textify step, every text encoded.
        folder: To write; with the spec's default students it stays all but empty.

    Returns:
        Facts for the step's record; none if there was nothing to do.
    """
    if set(job.spec.run.student.train) == {"vanilla"}:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / NOT_NEEDED).write_text("{}", encoding="utf-8")
        return {}
    from elec.students.knowledge import CODEBOOKS, PROJECTION, build_knowledge

    store, kept = vector_store(job), kept_knowledge(job)
    with TemporaryDirectory(prefix="elec-knowledge-") as scratch:
        place = Path(scratch)
        earlier = storage.fetch_folder(kept, place / "earlier") if storage.exists(storage.join(kept, CODEBOOKS)) else None
        report = build_knowledge(job.spec, features, texts, store, folder, earlier=earlier)
        if earlier is None:
            (place / "fit").mkdir()
            for name in (PROJECTION, CODEBOOKS):
                shutil.copyfile(folder / name, place / "fit" / name)
            try:
                storage.publish_folder(place / "fit", kept, last=CODEBOOKS)
            except FileExistsError:
                # Another run was first: its codes are those that later runs will know.
                shutil.rmtree(folder)
                earlier = storage.fetch_folder(kept, place / "earlier")
                report = build_knowledge(job.spec, features, texts, store, folder, earlier=earlier)
    return {"knowledge": report.model_dump(mode="json")}


def vector_views(job: Job, knowledge: Path) -> "VectorViews | None":
    """The Feast views that belong to a run's vectors; None if no student of the spec reads vectors."""
    from elec.features.vectors import VectorViews
    from elec.students.knowledge import PROJECTION

    settings = job.spec.run.student
    if "vectors" not in settings.train:
        return None
    return VectorViews.of(knowledge / PROJECTION, size=settings.vector_size, history=settings.history)


def publish_vectors(job: Job, knowledge: Path, views: "VectorViews") -> dict[str, str]:
    """Writes the vectors of users and items into Feast, online too.

    Returns:
        For each view, which rows went to the online store: `all`, `new` or `none`.
    """
    from elec.features.repository import FeatureRepository
    from elec.spec import Entity

    repository = FeatureRepository(job.spec.dataset, job.space.feast, job.spec.run.feast, job.spec.run.data)
    rows = {Entity.USER: knowledge / "users.parquet", Entity.ITEM: knowledge / "items.parquet"}
    return repository.publish_vectors(views, rows, job.as_of)


def kept_knowledge(job: Job) -> str:
    """Where projection and codebooks of this data set, LLM and size are kept."""
    from elec.llm.identity import llm_id

    settings = job.spec.run.student
    size = f"{settings.vector_size}-{settings.levels}x{settings.codes}"
    return job.space.knowledge(job.spec.dataset.name, llm_id(job.spec.run.llm), size)
