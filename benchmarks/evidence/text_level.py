"""Entity-level text against sample-level text: what each costs to encode, and what each gives.

    python -m benchmarks.evidence.text_level [--workers 2]

Entity-level: one text of the user (with what was clicked before) and one of the item, each encoded once. Sample-level, as in
the paper: one text of the whole row, so there are as many texts as rows. The same rows of Amazon Office, with one dealt
negative a click instead of four so that a text a row can be paid for; both levels get the same search space, as many trials,
and the same five seeds. The product's own rooms do the work, and keep it: what was computed is not computed again.

Writes `text-level/results.{json,md}` and a plot beside this file.
"""

import argparse
import time
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import numpy as np
import orjson
import pyarrow.parquet as pq
import torch
import typer
from matplotlib import pyplot
from pydantic import BaseModel, ConfigDict
from transformers import AutoTokenizer

from elec import storage
from elec.evaluation.significance import PairedTest, Spread, paired_test, spread
from elec.evidence.arms import ARMS
from elec.evidence.benchmark import Benchmark, cells_of
from elec.evidence.experiment import Experiment, changed, load_experiment
from elec.evidence.plan import SEARCH_SEED, Plan
from elec.evidence.prepared import evidence_folder
from elec.llm.encoder import Encoder
from elec.llm.identity import model_folder
from elec.version import code_version

_HERE = Path(__file__).parent
LEVELS = ("entity", "sample")
_ARMS = ("mllm", "gain", "elec")
#: Texts whose encoding is timed, in turns of this many.
_TIMED, _AT_ONCE = 2048, 256


class Cost(BaseModel):
    """What the texts of a level cost.

    Attributes:
        texts: Distinct ones of all rows.
        tokens: Of all of them, cut at the language model's limit.
        seconds: Of one thread's processor to encode all of them, from the rate of `_TIMED` of them.
    """

    model_config = ConfigDict(frozen=True)

    texts: int
    tokens: int
    seconds: float


class Result(BaseModel):
    """All figures.

    Attributes:
        rows: By split.
        llm: The base LLM.
        cost: By level.
        auc: By network and level, over the seeds.
        baseline: AUC of the tabular baseline over the seeds.
        entity_over_sample: By network, paired over the seeds.
        lift: By network and level, over the baseline, paired over the seeds.
        settings: By level, what was chosen.
        code_version: Of this page; the cells keep their own.
    """

    model_config = ConfigDict(frozen=True)

    rows: dict[str, int]
    llm: str
    cost: dict[str, Cost]
    auc: dict[str, dict[str, Spread]]
    baseline: Spread
    entity_over_sample: dict[str, PairedTest]
    lift: dict[str, dict[str, PairedTest]]
    settings: dict[str, dict[str, Any]]
    code_version: str


def experiment_of(level: str) -> Experiment:
    """Amazon Office with one negative a click, one sample for all seeds, and the text of a level."""
    base = load_experiment(_HERE / "amazon-office.yaml")
    return base.model_copy(
        update={
            "name": f"amazon-office-{level}-text",
            "prepare": (*base.prepare, "--negatives", "1"),
            "resample": False,
            "trials": 2,
            "run": changed(base.run, {"text.per": level}),
            "borrowed": {"gain": "elec"},
            "comparison": ("dcnv2", *_ARMS),
        }
    )


def main() -> None:
    """Computes what is missing and writes the page."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--workers", type=int, default=2)
    options.add_argument("--output", type=Path, default=_HERE / "text-level")
    chosen = options.parse_args()
    experiments = {level: experiment_of(level) for level in LEVELS}
    plans = {level: Plan(found, cells_of(found, evidence_folder())) for level, found in experiments.items()}
    benchmark = Benchmark(list(plans.values()), (2,), chosen.workers, typer.echo)
    benchmark.prepare()
    benchmark.compute()
    if benchmark.failures:
        raise SystemExit("\n".join(benchmark.failures))
    result = _result(plans)
    storage.write_bytes(chosen.output / "results.json", orjson.dumps(result.model_dump(), option=orjson.OPT_INDENT_2) + b"\n")
    storage.write_bytes(chosen.output / "results.md", _markdown(result).encode())
    _plot(result, chosen.output / "results.svg")
    typer.echo(_markdown(result))


def _result(plans: dict[str, Plan]) -> Result:
    found: dict[str, dict[str, list[float]]] = {}
    rows: dict[str, int] = {}
    for level, plan in plans.items():
        for name in ("dcnv2", *_ARMS):
            results = [plan.cells.read(cell) for cell in plan.finals(ARMS[name], plan.experiment.run.llm.name)]
            known = [result for result in results if result is not None]
            rows = next((result.rows for result in known if result.rows), rows)
            found.setdefault(name, {})[level] = [result.test[ARMS[name].network].auc for result in known]
    baseline = found.pop("dcnv2")
    if baseline["entity"] != baseline["sample"]:
        raise AssertionError("the baseline reads no text, but differs between the levels")
    llm = plans["entity"].experiment.run.llm.name
    return Result(
        rows=rows,
        llm=llm,
        cost=_costs(plans),
        auc={name: {level: spread(values) for level, values in levels.items()} for name, levels in found.items()},
        baseline=spread(baseline["entity"]),
        entity_over_sample={name: paired_test(levels["entity"], levels["sample"]) for name, levels in found.items()},
        lift={
            name: {level: paired_test(values, baseline["entity"]) for level, values in levels.items()}
            for name, levels in found.items()
        },
        settings={level: _settings(plan) for level, plan in plans.items()},
        code_version=code_version(),
    )


def _settings(plan: Plan) -> dict[str, Any]:
    run = plan.chosen(ARMS["elec"], plan.experiment.run.llm.name)
    read = {"adapt": ("learning_rate", "dropout", "weight_decay"), "distill": ("learning_rate", "embedding_l2", "alpha")}
    return {f"{part}.{name}": getattr(getattr(run, part), name) for part, names in read.items() for name in names}


def _costs(plans: dict[str, Plan]) -> dict[str, Cost]:
    """Texts and tokens counted, seconds from the rate of some texts of each level, encoded turn about on one thread."""
    spec = plans["entity"].experiment.run.llm
    tokenizer = AutoTokenizer.from_pretrained(model_folder(spec.name), local_files_only=True)
    texts = {level: _texts(plan) for level, plan in plans.items()}
    tokens = {
        level: sum(map(len, tokenizer(read, truncation=True, max_length=spec.max_tokens)["input_ids"]))
        for level, read in texts.items()
    }
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    encoder = Encoder.load(spec, device="cpu")
    draw = np.random.default_rng(1)
    timed = {level: [read[place] for place in draw.permutation(len(read))[:_TIMED]] for level, read in texts.items()}
    seconds = dict.fromkeys(LEVELS, 0.0)
    encoder.encode(timed["entity"][:_AT_ONCE])
    for start in range(0, _TIMED, _AT_ONCE):
        for level in LEVELS:
            started = time.process_time()
            encoder.encode(timed[level][start : start + _AT_ONCE])
            seconds[level] += time.process_time() - started
    torch.set_num_threads(threads)
    return {
        level: Cost(texts=len(read), tokens=tokens[level], seconds=round(seconds[level] * len(read) / len(timed[level]), 1))
        for level, read in texts.items()
    }


def _texts(plan: Plan) -> list[str]:
    table = pq.read_table(plan.sample(SEARCH_SEED).texts(plan.experiment.run.text) / "texts.parquet", columns=["text"])
    found: list[str] = table["text"].to_pylist()
    return found


_TITLES = {"mllm": "M-LLM alone", "gain": "gain network", "elec": "vanilla, joint distillation"}


def _markdown(result: Result) -> str:
    entity, sample = (result.cost[level] for level in LEVELS)
    lines = [
        "# Entity-level or sample-level text",
        "",
        f"Amazon Office with one dealt negative a click: {sum(result.rows.values()):,} rows, {result.rows['train']:,} of them "
        f"to train on; base LLM {result.llm}; one sample of the log, {result.baseline.n} seeds of everything that is trained.",
        "",
        "| cost | texts | tokens | processor seconds to encode, one thread |",
        "|---|---|---|---|",
        *(
            f"| {level} | {cost.texts:,} | {cost.tokens:,} | {cost.seconds:,.0f} |"
            for level, cost in zip(LEVELS, (entity, sample), strict=True)
        ),
        f"| sample over entity | {sample.texts / entity.texts:.1f} x | {sample.tokens / entity.tokens:.1f} x "
        f"| {sample.seconds / entity.seconds:.1f} x |",
        "",
        f"Test AUC; DCNv2 without text {_spread(result.baseline)}.",
        "",
        "| network | entity | sample | entity over sample | p |",
        "|---|---|---|---|---|",
    ]
    for name, levels in result.auc.items():
        test = result.entity_over_sample[name]
        both = " | ".join(_spread(levels[level]) for level in LEVELS)
        lines.append(f"| {_TITLES[name]} | {both} | {test.difference:+.4f} | {_p(test)} |")
    lines += ["", "Over DCNv2, paired over seeds (p in brackets):", "", "| network | entity | sample |", "|---|---|---|"]
    lines += [
        f"| {_TITLES[name]} | "
        + " | ".join(f"{levels[level].difference:+.4f} ({_p(levels[level])})" for level in LEVELS)
        + " |"
        for name, levels in result.lift.items()
    ]
    chosen = "; ".join(
        f"{level}: " + ", ".join(f"{name} {value:g}" for name, value in settings.items())
        for level, settings in result.settings.items()
    )
    lines += [
        "",
        "![Cost and AUC of both levels](results.svg)",
        "",
        f"Chosen on validation: {chosen}. Code {result.code_version}.",
        "",
    ]
    return "\n".join(lines)


def _spread(found: Spread) -> str:
    return f"{found.mean:.4f} ± {found.sd or 0:.4f}"


def _p(test: PairedTest) -> str:
    return "" if test.p is None else "< .0001" if test.p < 1e-4 else f"{test.p:.4f}".lstrip("0")


def _plot(result: Result, path: Path) -> None:
    matplotlib.rcParams.update({"svg.hashsalt": "elec", "font.size": 9.5})
    figure, (cost, gain) = pyplot.subplots(1, 2, figsize=(8.5, 3.2), layout="constrained")
    colours = {"entity": "#2f6fde", "sample": "#c2570c"}
    for place, level in enumerate(LEVELS):
        cost.barh(place, result.cost[level].seconds, color=colours[level], height=0.55)
        cost.text(result.cost[level].seconds, place, f" {result.cost[level].texts:,} texts", va="center")
        for line, (_, levels) in enumerate(result.auc.items()):
            found = levels[level]
            where = line + (place - 0.5) * 0.22
            gain.errorbar(found.mean, where, xerr=found.sd, fmt="o", color=colours[level], label=level if not line else None)
    cost.set_yticks(range(len(LEVELS)), LEVELS)
    cost.set_xlabel("processor seconds to encode, one thread")
    cost.margins(x=0.35)
    gain.axvline(result.baseline.mean, color="#1b1f24", linewidth=1, linestyle="--", label="DCNv2")
    gain.set_yticks(range(len(result.auc)), [_TITLES[name] for name in result.auc])
    gain.set_xlabel("test AUC, mean and sd over seeds")
    gain.legend(frameon=False, fontsize=8)
    for axes in (cost, gain):
        axes.spines[["top", "right"]].set_visible(False)
        axes.invert_yaxis()
    figure.savefig(path, metadata={"Date": None, "Creator": None})
    pyplot.close(figure)


if __name__ == "__main__":
    main()
