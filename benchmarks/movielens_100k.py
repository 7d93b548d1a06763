"""Does the teacher pay on MovieLens-100K? Vanilla and gain against the same network without a teacher, with controls.

    python -m benchmarks.movielens_100k --seeds 5 --output benchmarks/results/movielens-100k.md

Each seed trains everything anew: the M-LLM, gain and vanilla together, and the plain network with the same initial weights,
batches and budget. Validation chooses every epoch; test is only reported. The controls replace the text's vectors by those of
another text (`shuffled`) and by noise (`random`): what they give too does not come from the text.
"""

import argparse
import json
import platform
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from scipy import stats

from elec.datasets.fetch import fetch
from elec.evaluation import Metrics, evaluate
from elec.features.build import build_features
from elec.ingest import ingest
from elec.llm import VectorStore, encode_shard, llm_id
from elec.llm.adapt import adapt
from elec.llm.mllm import load_mllm
from elec.llm.representations import representations_of
from elec.spec import Spec, cache_folder, load_spec
from elec.text.textify import textify
from elec.training import distill
from elec.version import code_version

ARMS = ("text", "shuffled", "random")
AS_OF = datetime(2026, 1, 1, tzinfo=UTC)


class ControlStore:
    """A vector store whose vectors have lost their meaning.

    Args:
        store: The real one.
        arm: `shuffled` or `random`.
        seed: Of the shuffle or the noise.
    """

    def __init__(self, store: VectorStore, arm: str, seed: int) -> None:
        self.store, self.arm, self.seed = store, arm, seed
        self.uri = f"{store.uri}-{arm}"

    def gather(self, keys: Any) -> np.ndarray:
        """Vectors of N texts, float16 [N, H]: of other texts, or noise of the same size."""
        draw = np.random.default_rng(self.seed)
        vectors = self.store.gather(keys)
        if self.arm == "shuffled":
            return np.ascontiguousarray(vectors[draw.permutation(len(vectors))])
        return draw.normal(0.0, float(vectors.std()), vectors.shape).astype(np.float16)


def measure(spec: Spec, arm: str, features: Path, texts: Path, store: VectorStore, folder: Path) -> dict[str, Metrics]:
    """Trains all networks once and measures them on the test rows."""
    vectors: Any = store if arm == "text" else ControlStore(store, arm, spec.run.seed)
    adapt(spec, texts, features, vectors, folder / "mllm")
    known = representations_of(load_mllm(folder / "mllm"), texts, vectors)
    distill(spec, features, known, folder / "model")
    rows = pq.read_table(folder / "model" / "predictions" / "test.parquet")
    label, users = rows["label"].to_numpy(), rows["user_index"].to_numpy()
    return {network: evaluate(label, rows[network].to_numpy(), users) for network in ("vanilla", "gain", "plain")}


def table(found: dict[tuple[str, int], dict[str, Metrics]], seeds: list[int]) -> str:
    """Means and standard deviations over seeds, and paired t-tests against the plain network."""
    lines = [
        "| network | AUC | LogLoss | PCOC | AUC over plain | p | LogLoss under plain | p |",
        "|---|---|---|---|---|---|---|---|",
    ]

    def values(arm: str, network: str, metric: str) -> np.ndarray:
        return np.array([getattr(found[arm, seed][network], metric) for seed in seeds])

    for arm, network, title in [
        ("text", "plain", "plain: the same network, no teacher"),
        ("text", "vanilla", "vanilla: distilled, serves"),
        ("shuffled", "vanilla", "vanilla, shuffled text (control)"),
        ("random", "vanilla", "vanilla, random vectors (control)"),
        ("text", "gain", "gain: the teacher, never serves"),
    ]:
        shown = [
            f"{values(arm, network, metric).mean():.4f} ± {values(arm, network, metric).std(ddof=1):.4f}"
            for metric in ("auc", "logloss")
        ]
        row = f"| {title} | {shown[0]} | {shown[1]} | {values(arm, network, 'pcoc').mean():.3f} |"
        if network == "plain":
            lines.append(row + " | | | |")
            continue
        for metric, sign in (("auc", 1), ("logloss", -1)):
            gain = sign * (values(arm, network, metric) - values(arm, "plain", metric))
            row += f" {gain.mean():+.4f} | {stats.ttest_1samp(gain, 0.0).pvalue:.3f} |"
        lines.append(row)
    return "\n".join(lines)


def main() -> None:
    """Runs the comparison and writes table and figures."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seeds", type=int, default=5)
    options.add_argument("--output", type=Path, default=Path("benchmarks/results/movielens-100k.md"))
    chosen = options.parse_args()
    fetch("movielens-100k")
    spec = load_spec("movielens-100k")
    seeds = [spec.run.seed + number for number in range(chosen.seeds)]
    found: dict[tuple[str, int], dict[str, Metrics]] = {}
    with tempfile.TemporaryDirectory(prefix="elec-benchmark-") as scratch:
        root = Path(scratch)
        ingest(spec.dataset, root / "ingested", as_of=AS_OF)
        build_features(spec, root / "ingested", root / "features", feast_folder=str(root / "feast"), as_of=AS_OF)
        textify(spec, root / "features", root / "texts")
        store = VectorStore(str(cache_folder() / "benchmarks" / "vectors"), llm_id(spec.run.llm))
        encode_shard(spec.run.llm, root / "texts", store, 0, 1)
        for seed in seeds:
            seeded = spec.model_copy(update={"run": spec.run.model_copy(update={"seed": seed})})
            for arm in ARMS:
                folder = root / f"{arm}-{seed}"
                found[arm, seed] = measure(seeded, arm, root / "features", root / "texts", store, folder)
                print(arm, seed, {network: round(metrics.auc, 4) for network, metrics in found[arm, seed].items()}, flush=True)
    result = table(found, seeds)
    print(result)
    chosen.output.parent.mkdir(parents=True, exist_ok=True)
    about = (
        f"Code {code_version()}, seeds {seeds[0]}-{seeds[-1]}, {platform.machine()}. Mean ± sd; paired t-tests over seeds.\n"
    )
    chosen.output.write_text(f"# MovieLens-100K\n\n{about}\n{result}\n", encoding="utf-8")
    figures = [
        {"arm": arm, "seed": seed, "network": network, **metrics.model_dump()}
        for (arm, seed), networks in found.items()
        for network, metrics in networks.items()
    ]
    chosen.output.with_suffix(".json").write_text(
        json.dumps({"code": code_version(), "run": spec.run.model_dump(), "figures": figures}, indent=1)
    )


if __name__ == "__main__":
    main()
