"""Step 6: gain and vanilla network are trained together, and the same network without a teacher beside them."""

from pathlib import Path

from elec.steps.job import parse_job
from elec.steps.knowledge import prepare_knowledge


def distill(job: str, *, features: str, texts: str, mllm: str, model: str, knowledge: str) -> dict[str, float]:
    """Distils the M-LLM into the students, here or on several nodes of the cluster (`run.cluster.nodes`).

    Args:
        job: The `Job`, as JSON.
        features: Folder of the features step.
        texts: Folder of the textify step.
        mllm: Folder of the adaptation step.
        model: Folder to write.
        knowledge: Folder to write first: what students other than the vanilla one read.

    Returns:
        Figures for the pipeline UI.
    """
    this = parse_job(job)
    inputs = {"features": Path(features), "texts": Path(texts), "mllm": Path(mllm)}
    with this.step("distill") as record:
        made = prepare_knowledge(this, Path(features), Path(texts), Path(knowledge))
        if made:
            inputs["knowledge"] = Path(knowledge)
        record.facts.update(made)
        if this.spec.run.cluster.nodes > 1:
            from elec.cluster.launch import train_on_nodes

            facts = train_on_nodes(this, inputs, Path(model))
        else:
            from elec.steps.training import train_networks

            facts = train_networks(this, inputs, Path(model))
        record.facts.update(facts)
    return {f"best_epoch_{network}": float(epoch) for network, epoch in record.facts["best_epochs"].items()}
