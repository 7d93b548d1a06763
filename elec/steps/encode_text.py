"""Step 4b: the frozen LLM reads each new text once; one shard a task."""

from pathlib import Path

from elec.steps.job import parse_job
from elec.steps.textify import vector_store


def encode_text(job: str, *, shard: str, texts: str) -> int:
    """Encodes one shard of the new texts into the workspace's vector store.

    Args:
        job: The `Job`, as JSON.
        shard: Which one of how many, `0/2`.
        texts: Folder of the textify step.

    Returns:
        How many texts were encoded now; the others were known.
    """
    from elec.llm.encode import encode_shard

    this = parse_job(job)
    number, _, count = shard.partition("/")
    with this.step(f"encode_text-{number}") as record:
        report = encode_shard(this.spec.run.llm, Path(texts), vector_store(this), int(number), int(count))
        record.facts.update(report.model_dump(mode="json"))
    return report.encoded
