"""How long MovieLens-1M takes from encoded Parquet to evaluated networks, the text's vectors being cached.

    ELEC_SHARED_DATA=FOLDER python -m benchmarks.training.movielens_1m

The rooms before (ingest, features, text, encoding) run first and are not timed. Timed are, as the pipeline runs them: adapting
the LLM, the representations of all rows, gain and vanilla network together, the plain network, and the test figures.
"""

import argparse
import platform
import subprocess
import sys
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path

import pyarrow.parquet as pq
import torch

from elec.evaluation import evaluate
from elec.features.build import build_features
from elec.ingest import ingest
from elec.llm import VectorStore, encode_shard, llm_id
from elec.llm.adapt import adapt
from elec.llm.mllm import load_mllm
from elec.llm.representations import representations_of
from elec.spec import RunSpec, Spec, cache_folder, load_spec
from elec.text.textify import textify
from elec.training import distill
from elec.version import code_version

_AS_OF = datetime(2026, 1, 1, tzinfo=UTC)
#: The recipe of the evidence's experiment.
_RUN = {
    "adapt": {"layers": [128, 64], "epochs": 2, "batch_size": 2048, "learning_rate": 1e-3, "dropout": 0.1, "patience": 1},
    "model": {"embedding": 32, "deep": [256, 128, 64], "dropout": 0.0},
    "distill": {"epochs": 3, "batch_size": 2048, "learning_rate": 1.5e-2, "embedding_l2": 1e-4, "patience": 2},
}


def main() -> None:
    """Prepares, trains, and writes the table."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--threads", type=int, default=2)
    options.add_argument("--output", type=Path, default=Path("benchmarks/training/results-movielens-1m.md"))
    chosen = options.parse_args()
    torch.set_num_threads(chosen.threads)
    with tempfile.TemporaryDirectory(prefix="elec-movielens-1m-") as scratch:
        root = Path(scratch)
        made = root / "log"
        make = [sys.executable, "-m", "benchmarks.evidence.movielens", "--output", str(made), "--protocol", "random"]
        subprocess.run(make, check=True)
        loaded = load_spec(str(made / "spec.yaml"))
        spec = loaded.model_copy(update={"run": RunSpec.model_validate(_RUN)})
        lines = _timed(spec, root)
    about = f"739,012 rows, DCNv2, {chosen.threads} threads, {platform.machine()}; code {code_version()}."
    print("\n".join(lines))
    chosen.output.write_text("# MovieLens-1M, end to end\n\n" + about + "\n\n" + "\n".join(lines) + "\n", encoding="utf-8")


def _timed(spec: Spec, root: Path) -> list[str]:
    ingest(spec.dataset, root / "ingested", as_of=_AS_OF)
    build_features(spec, root / "ingested", root / "features", feast_folder=str(root / "feast"), as_of=_AS_OF)
    textify(spec, root / "features", root / "texts")
    store = VectorStore(str(cache_folder() / "benchmarks" / "vectors"), llm_id(spec.run.llm))
    encode_shard(spec.run.llm, root / "texts", store, 0, 1)

    lines = ["| step | seconds |", "|---|---|"]
    begun = started = time.perf_counter()

    def lap(title: str) -> None:
        nonlocal started
        lines.append(f"| {title} | {time.perf_counter() - started:.1f} |")
        started = time.perf_counter()

    adapt(spec, root / "texts", root / "features", store, root / "mllm")
    lap("adapt the LLM")
    known = representations_of(load_mllm(root / "mllm"), root / "texts", store)
    lap("representations of all rows")
    distill(spec, root / "features", known, root / "model")
    lap("gain + vanilla, and plain")
    rows = pq.read_table(root / "model" / "predictions" / "test.parquet")
    label, users = rows["label"].to_numpy(), rows["user_index"].to_numpy()
    found = {network: evaluate(label, rows[network].to_numpy(), users).auc for network in ("vanilla", "gain", "plain")}
    lap("evaluate")
    lines.append(f"| **all** | **{time.perf_counter() - begun:.1f}** |")
    return [*lines, "", "Test AUC: " + ", ".join(f"{network} {value:.4f}" for network, value in found.items()) + "."]


if __name__ == "__main__":
    main()
