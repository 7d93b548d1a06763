"""Step 7: the best student becomes the challenger, and is judged on the test window, against the champion in service."""

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, NamedTuple

from elec.steps.job import Job, parse_job

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

    from elec.serving.manifest import Manifest
    from elec.serving.predictor import Vectors

#: The networks of the chosen student, the one that would serve first.
NETWORKS = ("vanilla", "gain", "plain")


class Verdict(NamedTuple):
    """The gate's verdict (`promote`, `keep` or `reject`), figures for the pipeline UI, and the challenger's ROC curve."""

    verdict: str
    metrics: dict[str, float]
    roc: dict[str, list[float]]


def evaluate(job: str, *, features: str, model: str, knowledge: str, bundle: str, page: str, summary: str) -> Verdict:
    """Evaluates all networks, builds the challenger's bundle and decides whether it replaces the champion.

    Args:
        job: The `Job`, as JSON.
        features: Folder of the features step.
        model: Folder of the distillation step.
        knowledge: Folder of what students other than `vanilla` read, of the same step.
        bundle: Folder to write: the challenger's bundle, not yet published.
        page: HTML file to write.
        summary: Markdown file to write.
    """
    import pyarrow.parquet as pq

    from elec.evaluation import decide, difference, reliability_curve, roc_curve
    from elec.evaluation import evaluate as measure
    from elec.runs.markdown import results_markdown
    from elec.runs.page import results_page
    from elec.steps.students import choose_challenger

    this = parse_job(job)
    with this.step("evaluate") as record:
        challenger = choose_challenger(this, Path(features), Path(model), Path(knowledge), Path(bundle))
        chosen = challenger.judged
        predictions = pq.read_table(chosen.folder / "predictions" / "test.parquet")
        label = predictions["label"].to_numpy()
        users = predictions["user_index"].to_numpy()
        scores = {network: predictions[network].to_numpy() for network in NETWORKS}
        champion = this.space.champion()
        if champion is not None:
            scores["champion"] = _champion_scores(this, champion.bundle_id, Path(features), Path(knowledge), predictions)
        metrics = {network: measure(label, score, users) for network, score in scores.items()}

        settings = this.spec.run.gate
        gap = None
        if champion is not None:
            gap = difference(label, scores["vanilla"], scores["champion"], users, settings, seed=this.spec.run.seed)
        against_plain = difference(label, scores["vanilla"], scores["plain"], users, settings, seed=this.spec.run.seed)

        figures = {network: found.model_dump() for network, found in metrics.items()}
        latency = chosen.latency.p50_ms
        decision = decide(metrics["vanilla"], metrics.get("champion"), gap, latency, settings)
        gate = decision.model_dump(mode="json")
        if len(challenger.facts["students"]) > 1:
            gate["reasons"].append(challenger.choice.reason)

        record.facts |= {
            "metrics": figures,
            "roc": {network: roc_curve(label, score) for network, score in scores.items()},
            "reliability": {network: reliability_curve(label, score) for network, score in scores.items()},
            "gate": gate,
            "latency_ms": latency,
            "difference": gap.model_dump() if gap is not None else None,
            "against_plain": against_plain.model_dump(),
            "champion": champion.bundle_id if champion is not None else None,
            "challenger": chosen.bundle.bundle_id,
            **challenger.facts,
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


def _champion_scores(job: Job, bundle_id: str, features: Path, knowledge: Path, predictions: "pa.Table") -> "np.ndarray":
    """The champion's scores of this run's test rows, in the order of the predictions.

    If it reads text vectors they are this run's own, where those are of its projection. If not, they are what stands in Feast
    for it: of users that may be the newest, which is in its favour, and of what is not there, zeros, as in service.
    """
    import numpy as np
    import pyarrow.parquet as pq

    from elec.serving.bundle import open_bundle
    from elec.serving.predictor import Predictor
    from elec.steps.knowledge import vector_views

    with TemporaryDirectory() as scratch:
        bundle = open_bundle(job.space.bundle(bundle_id), Path(scratch))
        manifest, own_N2V, stored = bundle.manifest, None, None
        if manifest.vectors is not None and manifest.vectors == vector_views(job, knowledge):
            own_N2V = np.load(knowledge / "rows" / "test.npy", mmap_mode="r", allow_pickle=False)
        elif manifest.vectors is not None:
            stored = _stored_vectors(job, manifest)
        predictor = Predictor(bundle, vectors=stored)
        frame = pq.ParquetFile(features / "frame" / "test.parquet")
        rows, scores, start = [], [], 0
        for batch in frame.iter_batches(batch_size=65_536):
            rows.append(batch.column("row_id").to_numpy())
            part = None if own_N2V is None else own_N2V[start : start + batch.num_rows].astype(np.float32)
            scores.append(predictor.score(batch, part))
            start += batch.num_rows
    if not np.array_equal(np.concatenate(rows), predictions["row_id"].to_numpy()):
        raise AssertionError("the test frame and the predictions are not of the same rows")
    return np.concatenate(scores).astype(np.float64)


def _stored_vectors(job: Job, manifest: "Manifest") -> "Vectors":
    from elec.errors import InputError
    from elec.features.stored_vectors import NoVectors, StoredVectors

    assert manifest.vectors is not None
    try:
        return StoredVectors(
            dataset=manifest.dataset,
            user=manifest.user,
            item=manifest.item,
            views=manifest.vectors,
            feast_folder=job.space.feast,
        )
    except InputError:
        return NoVectors(manifest.vectors.size)
