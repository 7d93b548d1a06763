"""The retraining pipeline, from top to bottom.

    ingest -> check_drift --(block)--> stop
                 |(train)
              build_features -> textify -> encode_text (shards in parallel) -> adapt_llm -> distill
                 -> evaluate --(promote)--> deploy
    exit handler: report

The very same function runs on a laptop (`pipelines.local`) and compiles to what a cluster runs.
"""

from typing import Any

from kfp import dsl

from components.adapt_llm import adapt_llm
from components.build_features import build_features
from components.check_drift import check_drift
from components.deploy import deploy
from components.distill import distill
from components.encode_text import encode_text
from components.evaluate import evaluate
from components.ingest import ingest
from components.report import report
from components.stop import stop
from components.textify import textify
from elec.spec import Spec
from pipelines.platform import place

NAME = "elec-retraining"


def retraining_pipeline(spec: Spec, *, workspace: str, run_id: str = dsl.PIPELINE_JOB_RESOURCE_NAME_PLACEHOLDER) -> Any:
    """Builds the retraining pipeline of a data set.

    Args:
        spec: The data set and the run's settings; they are the default of the parameter `spec`.
        workspace: Default of the parameter `workspace`.
        run_id: The run's name; on a cluster the name of the workflow, which no other run has.

    Returns:
        The pipeline, to be called (a local run) or compiled.
    """
    cluster, waits = spec.run.cluster, spec.run.data.engine == "ray"
    spec_json = spec.model_dump_json()

    @dsl.pipeline(name=NAME, description=f"Retrains the click-through-rate model of {spec.dataset.name}.")
    def retraining(spec: str = spec_json, workspace: str = workspace, as_of: str = "", force: bool = False) -> None:
        page = place(report(workspace=workspace, run_id=run_id), cluster, light=True)

        with dsl.ExitHandler(page, name="retrain"):
            log = place(ingest(spec=spec, workspace=workspace, run_id=run_id, as_of=as_of), cluster)
            job = log.outputs["Output"]
            drift = place(check_drift(job=job, force=force, ingested=log.outputs["ingested"]), cluster)

            with dsl.If(drift.outputs["Output"] == "block", name="drift-blocks"):
                place(stop(job=job), cluster, light=True, retry=False)

            with dsl.If(drift.outputs["Output"] == "train", name="train"):
                # With Ray the work is its workers'; the task itself only starts them and waits.
                frame = place(
                    build_features(job=job, ingested=log.outputs["ingested"]),
                    cluster,
                    light=waits,
                )
                features = frame.outputs["features"]

                texts = place(textify(job=job, features=features), cluster)
                with dsl.ParallelFor(texts.outputs["Output"], name="encode-shards") as shard:
                    vectors = place(encode_text(job=job, shard=shard, texts=texts.outputs["texts"]), cluster, gpu=True)

                teacher = place(
                    adapt_llm(job=job, encoded=dsl.Collected(vectors.output), features=features, texts=texts.outputs["texts"]),
                    cluster,
                    gpu=True,
                )
                trained = place(
                    distill(job=job, features=features, texts=texts.outputs["texts"], mllm=teacher.outputs["mllm"]),
                    cluster,
                    # On several nodes the GPUs are its workers'; the task itself only starts them and waits.
                    gpu=cluster.nodes == 1,
                )
                networks, knowledge = trained.outputs["model"], trained.outputs["knowledge"]
                judged = place(evaluate(job=job, features=features, model=networks, knowledge=knowledge), cluster)

                with dsl.If(judged.outputs["Output"] == "promote", name="promote"):
                    service = deploy(
                        job=job,
                        bundle=judged.outputs["bundle"],
                        window=drift.outputs["window"],
                        model=networks,
                    )
                    place(service, cluster)

    return retraining
