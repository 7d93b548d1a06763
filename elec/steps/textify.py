"""Step 4a: records become texts, long texts become tags, and the texts are counted: each distinct one is paid for once."""

from pathlib import Path
from typing import TYPE_CHECKING

from elec import storage
from elec.steps.job import Job, parse_job

if TYPE_CHECKING:
    from elec.llm.vector_store import VectorStore


def textify(job: str, *, features: str, texts: str) -> list[str]:
    """Writes the distinct texts of a run.

    Args:
        job: The `Job`, as JSON.
        features: Folder of the features step.
        texts: Folder to write.

    Returns:
        The shards that encode what the vector store does not know yet, as `0/2`, `1/2`; at least one.
    """
    from elec.llm.encode import plan_shards
    from elec.text.textify import textify as write_texts

    this = parse_job(job)
    with this.step("textify") as record:
        summaries = None if storage.is_s3(this.workspace) else storage.local_path(storage.join(this.workspace, "summaries"))
        report = write_texts(this.spec, Path(features), Path(texts), summary_cache=summaries)
        record.facts.update(report.model_dump(mode="json"))
        shards = plan_shards(this.spec.run.llm, Path(texts), vector_store(this))
    return [f"{shard}/{len(shards)}" for shard in shards]


def vector_store(job: Job) -> "VectorStore":
    """The workspace's store of vectors of this run's LLM."""
    from elec.llm.identity import llm_id
    from elec.llm.vector_store import VectorStore

    return VectorStore(job.space.vectors, llm_id(job.spec.run.llm))
