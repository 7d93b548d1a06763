"""Step 5: the transformation layer and the prediction layer of the M-LLM are trained; the LLM stays frozen."""

from pathlib import Path

from elec.steps.job import parse_job
from elec.steps.textify import vector_store


def adapt_llm(job: str, *, features: str, texts: str, mllm: str) -> dict[str, float]:
    """Trains the M-LLM.

    Args:
        job: The `Job`, as JSON.
        features: Folder of the features step.
        texts: Folder of the textify step.
        mllm: Folder to write.

    Returns:
        Figures for the pipeline UI.
    """
    from elec.llm.adapt import adapt

    this = parse_job(job)
    with this.step("adapt_llm") as record:
        report = adapt(this.spec, Path(texts), Path(features), vector_store(this), Path(mllm))
        record.facts.update(report.model_dump(mode="json"))
    return {"valid_auc": report.valid_auc, "valid_logloss": report.valid_logloss}
