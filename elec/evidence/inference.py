"""Table 5: how long one sample takes on one thread, by the LLM, by the gain network and by every student."""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import torch
from pydantic import BaseModel, ConfigDict

from elec.evidence.arms import ARMS, STUDENTS, Arm
from elec.evidence.plan import SEARCH_SEED, Plan
from elec.evidence.prepared import Sample
from elec.features import FeatureEncoder
from elec.llm.encoder import Encoder
from elec.llm.mllm import MLLM
from elec.llm.rows import read_texts
from elec.models import gain_network, vanilla_network
from elec.training.data import Batch, load_rows
from elec.version import code_version

_BATCHES = (1, 100)
_SECONDS, _LEAST = 1.0, 20
_LLM_SECONDS, _LLM_LEAST = 4.0, 3


class Timing(BaseModel):
    """How long a batch takes.

    Attributes:
        what: Is computed.
        engine: That computes it.
        batch: Rows at once.
        p50_ms: Median of a batch.
        sample_ms: The same a row.
    """

    model_config = ConfigDict(frozen=True)

    what: str
    engine: str
    batch: int
    p50_ms: float
    sample_ms: float


class InferenceFigures(BaseModel):
    """Table 5.

    Attributes:
        dataset: Whose rows were scored.
        llm: The base LLM.
        timings: A line each.
        cpu: What it ran on.
        code_version: Of the code.
    """

    model_config = ConfigDict(frozen=True)

    dataset: str
    llm: str
    timings: tuple[Timing, ...]
    cpu: str
    code_version: str


def measure_inference(plan: Plan) -> InferenceFigures:
    """Times the networks of an experiment on its own rows, one thread.

    Weights are fresh ones: they decide what comes out, not how long it takes.

    Args:
        plan: With a prepared sample.
    """
    experiment, sample = plan.experiment, plan.sample(SEARCH_SEED)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    timings: list[Timing] = []
    try:
        with torch.inference_mode():
            for name in experiment.inference:
                for batch in _BATCHES:
                    timings += _timings(ARMS[name], plan, sample, batch)
    finally:
        torch.set_num_threads(threads)
    return InferenceFigures(
        dataset=experiment.name,
        llm=experiment.run.llm.name,
        timings=tuple(timings),
        cpu=_cpu(),
        code_version=code_version(),
    )


def inference_markdown(figures: InferenceFigures, title: str) -> str:
    """Table 5 as text.

    Args:
        figures: Measured.
        title: Of the data set.
    """
    lines = [
        f"# {title}: inference times",
        "",
        f"Median milliseconds on one thread of {figures.cpu}, base LLM {figures.llm}. M-LLM and gain network read the text of "
        "user and item; students read ids, and with vectors two looked-up ones (the look-up itself is not in these figures).",
        "",
        "| what | engine | rows at once | ms | ms a row |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {timing.what} | {timing.engine} | {timing.batch} | {timing.p50_ms:.3f} | {timing.sample_ms:.4f} |"
        for timing in figures.timings
    ]
    return "\n".join([*lines, "", f"Code {figures.code_version}.", ""])


def _timings(arm: Arm, plan: Plan, sample: Sample, batch: int) -> list[Timing]:
    run = plan.experiment.run
    if arm.network in {"mllm", "gain"}:
        return [_with_llm(arm, plan, sample, batch)]
    encoded, knowledge = sample.features, None
    if arm.student != "vanilla":
        knowledge = sample.knowledge(run, "text")
        encoded = knowledge if arm.student == "semantic_ids" else encoded
    vectors = np.load(knowledge / "rows" / "test.npy", allow_pickle=False) if knowledge and arm.student == "vectors" else None
    fields = FeatureEncoder.load(encoded / "vocabulary").fields
    rows = load_rows(encoded / "encoded" / "test.parquet", None, vectors)
    network = vanilla_network(fields, run.model, vectors.shape[2] if vectors is not None else 0).eval()
    one: Batch = next(iter(rows.in_order(batch)))
    what, _ = STUDENTS[arm.student]
    return [
        _timed(what, "torch", batch, lambda: network(one.slots_BS, one.vectors_B2V)),
        _timed(what, "ONNX Runtime", batch, _onnx(network, one)),
    ]


def _with_llm(arm: Arm, plan: Plan, sample: Sample, batch: int) -> Timing:
    """Texts to a score: tokens, LLM, M-LLM's layers and, for the gain network, the network behind them."""
    run = plan.experiment.run
    encoder = Encoder.load(run.llm, device="cpu")
    roles, _, numbers = read_texts(sample.texts(run.text) / "rows" / "test.parquet")
    texts = pq.read_table(sample.texts(run.text) / "texts.parquet", columns=["text"])["text"].take(numbers[:batch].reshape(-1))
    read = texts.to_pylist()
    mllm = MLLM(encoder.size, len(roles), run.adapt.layers).eval()
    rows = load_rows(sample.features / "encoded" / "test.parquet")
    gain = gain_network(FeatureEncoder.load(sample.features / "vocabulary").fields, run.model, mllm.representation_size).eval()
    slots = rows.slots_NS[:batch]

    def score() -> Any:
        vectors = torch.from_numpy(encoder.encode(read)).view(batch, len(roles), -1)
        logit, representation = mllm(vectors)
        return logit if arm.network == "mllm" else gain(slots, representation)

    what = "M-LLM: text to score" if arm.network == "mllm" else "gain network: text and fields to score"
    return _timed(what, "torch", batch, score, seconds=_LLM_SECONDS, least=_LLM_LEAST)


def _onnx(network: torch.nn.Module, batch: Batch) -> Callable[[], Any]:
    import onnxruntime

    from elec.export.bundle import Probability
    from elec.export.onnx_file import export_onnx

    slots = batch.slots_BS.numpy()
    vectors = batch.vectors_B2V.numpy() if batch.vectors_B2V is not None else None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode(mode=False):
        path = Path(folder, "model.onnx")
        export_onnx(Probability(network).eval(), {"slots": slots} | ({} if vectors is None else {"vectors": vectors}), path)
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    given = {part.name: array for part, array in zip(session.get_inputs(), (slots, vectors), strict=False)}
    return lambda: session.run(None, given)


def _timed(
    what: str, engine: str, batch: int, call: Callable[[], Any], *, seconds: float = _SECONDS, least: int = _LEAST
) -> Timing:
    call()
    taken: list[float] = []
    until = time.perf_counter() + seconds
    while len(taken) < least or time.perf_counter() < until:
        started = time.perf_counter()
        call()
        taken.append(time.perf_counter() - started)
    median = float(np.median(taken)) * 1000
    return Timing(what=what, engine=engine, batch=batch, p50_ms=round(median, 4), sample_ms=round(median / batch, 5))


def _cpu() -> str:
    """The processor's name, as Linux tells it."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return "an unknown processor"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "an unknown processor")
