"""Step 7: the challenger is judged on the test window, against its rivals and against the champion in service."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, NamedTuple

from elec.steps.job import Job, parse_job

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

#: The networks of a run, the one that would serve first.
NETWORKS = ("vanilla", "gain", "plain")


class Verdict(NamedTuple):
    """The gate's verdict (`promote`, `keep` or `reject`), figures for the pipeline UI, and the challenger's ROC curve."""

    verdict: str
    metrics: dict[str, float]
    roc: dict[str, list[float]]


def evaluate(job: str, *, features: str, model: str, bundle: str, page: str, summary: str) -> Verdict:
    """Evaluates all networks, builds the challenger's bundle and decides whether it replaces the champion.

    Args:
        job: The `Job`, as JSON.
        features: Folder of the features step.
        model: Folder of the distillation step.
        bundle: Folder to write: the challenger's bundle, not yet published.
        page: HTML file to write.
        summary: Markdown file to write.
    """
    import pyarrow.parquet as pq

    from elec.evaluation import decide, difference, reliability_curve, roc_curve
    from elec.evaluation import evaluate as measure
    from elec.runs.markdown import results_markdown
    from elec.runs.page import results_page
    from elec.serving.latency import measure_latency

    this = parse_job(job)
    with this.step("evaluate") as record:
        predictions = pq.read_table(Path(model, "predictions", "test.parquet"))
        label = predictions["label"].to_numpy()
        users = predictions["user_index"].to_numpy()
        scores = {network: predictions[network].to_numpy() for network in NETWORKS}
        champion = this.space.champion()
        if champion is not None:
            scores["champion"] = _champion_scores(this, champion.bundle_id, Path(features), predictions)
        metrics = {network: measure(label, score, users) for network, score in scores.items()}

        settings = this.spec.run.gate
        gap = None
        if champion is not None:
            gap = difference(label, scores["vanilla"], scores["champion"], users, settings, seed=this.spec.run.seed)
        against_plain = difference(label, scores["vanilla"], scores["plain"], users, settings, seed=this.spec.run.seed)

        figures = {network: found.model_dump() for network, found in metrics.items()}
        manifest = _bundle(this, Path(model), Path(features), Path(bundle), figures["vanilla"])
        latency = measure_latency(Path(bundle), Path(features))
        decision = decide(metrics["vanilla"], metrics.get("champion"), gap, latency, settings)

        record.facts |= {
            "metrics": figures,
            "roc": {network: roc_curve(label, score) for network, score in scores.items()},
            "reliability": {network: reliability_curve(label, score) for network, score in scores.items()},
            "gate": decision.model_dump(mode="json"),
            "latency_ms": latency,
            "difference": gap.model_dump() if gap is not None else None,
            "against_plain": against_plain.model_dump(),
            "champion": champion.bundle_id if champion is not None else None,
            "challenger": manifest.bundle_id,
        }
        for path, text in ((page, results_page(record.facts)), (summary, results_markdown(record.facts))):
            Path(path).parent.mkdir(parents=True, exist_ok=True)
            Path(path).write_text(text, encoding="utf-8")
    shown = {
        f"{network}_{name}": float(value)
        for network, found in figures.items()
        for name, value in found.items()
        if name in {"auc", "gauc", "logloss", "pcoc"} and value is not None
    }
    return Verdict(decision.verdict, shown | {"latency_ms": latency}, record.facts["roc"]["vanilla"])


def _bundle(job: Job, model: Path, features: Path, folder: Path, metrics: dict[str, Any]) -> Any:
    from elec.serving.export import build_bundle
    from elec.serving.manifest import BundleMetadata
    from elec.version import code_version

    ingested = job.folder.records()["ingest"]["facts"]["report"]
    metadata = BundleMetadata(
        run_id=job.run_id,
        as_of=job.as_of,
        code_version=code_version(),
        metrics=metrics,
        window={"first": ingested["first_event"]["train"], "last": ingested["last_event"]["train"]},
        llm=job.spec.run.llm.name,
    )
    return build_bundle(job.spec, model, features, folder, metadata=metadata)


def _champion_scores(job: Job, bundle_id: str, features: Path, predictions: "pa.Table") -> "np.ndarray":
    """The champion's scores of this run's test rows, in the order of the predictions."""
    import numpy as np
    import pyarrow.parquet as pq

    from elec.serving.bundle import open_bundle
    from elec.serving.predictor import Predictor

    with TemporaryDirectory() as scratch:
        predictor = Predictor(open_bundle(job.space.bundle(bundle_id), Path(scratch)))
        frame = pq.ParquetFile(features / "frame" / "test.parquet")
        rows, scores = [], []
        for batch in frame.iter_batches(batch_size=65_536):
            rows.append(batch.column("row_id").to_numpy())
            scores.append(predictor.score(batch))
    if not np.array_equal(np.concatenate(rows), predictions["row_id"].to_numpy()):
        raise AssertionError("the test frame and the predictions are not of the same rows")
    return np.concatenate(scores).astype(np.float64)
