"""Step 6: gain and vanilla network are trained together, and the same network without a teacher beside them."""

from pathlib import Path

import orjson

from elec.steps.job import parse_job
from elec.steps.textify import vector_store


def distill(job: str, *, features: str, texts: str, mllm: str, model: str) -> dict[str, float]:
    """Distils the M-LLM into the vanilla network.

    Args:
        job: The `Job`, as JSON.
        features: Folder of the features step.
        texts: Folder of the textify step.
        mllm: Folder of the adaptation step.
        model: Folder to write.

    Returns:
        Figures for the pipeline UI.
    """
    from elec.device import choose_device
    from elec.llm.mllm import load_mllm
    from elec.llm.representations import representations_of
    from elec.training import distill as train

    this = parse_job(job)
    with this.step("distill") as record:
        teacher = load_mllm(Path(mllm), device=choose_device())
        known = representations_of(teacher, Path(texts), vector_store(this))
        report = train(this.spec, Path(features), known, Path(model))
        record.facts.update(report.model_dump(mode="json"))
        record.facts["curves"] = orjson.loads(Path(model, "curves.json").read_bytes())
    return {f"best_epoch_{network}": float(epoch) for network, epoch in report.best_epochs.items()}
