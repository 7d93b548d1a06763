"""Step 4b: the frozen LLM reads each new text once; one shard a task."""

import os
from pathlib import Path

from elec.steps.job import parse_job
from elec.steps.textify import vector_store

#: How many tasks share this machine; on a cluster a task has its pod to itself.
PARALLEL_TASKS = "ELEC_PARALLEL_TASKS"


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
        sharing = min(int(count), int(os.environ.get(PARALLEL_TASKS, "1")))
        threads = max(1, len(os.sched_getaffinity(0)) // sharing)
        report = encode_shard(this.spec.run.llm, Path(texts), vector_store(this), int(number), int(count), threads=threads)
        record.facts.update(report.model_dump(mode="json"))
    return report.encoded
