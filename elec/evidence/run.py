"""The command: prepares, computes, reports."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from pydantic import BaseModel

from elec import storage
from elec.errors import InputError
from elec.evidence.benchmark import Benchmark, Say
from elec.evidence.cell import Cells
from elec.evidence.experiment import TABLES, Experiment, changed, load_experiments
from elec.evidence.plan import Plan
from elec.evidence.prepared import evidence_folder


@dataclass(frozen=True)
class Options:
    """What the command line asked for.

    Attributes:
        tables: Which.
        datasets: Experiments by name; all that have one of the tables when empty.
        seeds: Instead of the experiment's.
        trials: Instead of the experiment's.
        workers: Processes; 0 for none but this one.
        quick: Two seeds, no search, one epoch.
        plan_only: Only say what would be done.
        report_only: Compute nothing.
    """

    tables: tuple[int, ...]
    datasets: tuple[str, ...] = ()
    seeds: int | None = None
    trials: int | None = None
    workers: int = 2
    quick: bool = False
    plan_only: bool = False
    report_only: bool = False


def run_benchmark(options: Options, experiments: Path, output: Path | None, say: Say) -> int:
    """Computes tables and writes their results.

    Args:
        options: What to do.
        experiments: Folder of the experiments.
        output: Where results go; the experiments' folder when left out, and the cache for a quick run.
        say: Where lines go.

    Returns:
        The exit code: 1 if a cell failed.

    Raises:
        InputError: If an experiment is wrong, or none has a table that was asked for.
    """
    chosen = [
        experiment
        for experiment in (_as_asked(found, options) for found in load_experiments(experiments, list(options.datasets)))
        if any(getattr(experiment, TABLES[table]) for table in options.tables)
    ]
    if not chosen:
        raise InputError(f"--table {options.tables[0]}: no experiment has it; add `{TABLES[options.tables[0]]}` to its YAML")
    root = evidence_folder()
    plans = [Plan(experiment, Cells(root / "cells" / experiment.name)) for experiment in chosen]
    benchmark = Benchmark(plans, options.tables, options.workers, say)
    target = output or (root / "quick" if options.quick else experiments)
    cells, seconds = benchmark.missing_seconds()
    say(f"{', '.join(plan.experiment.name for plan in plans)}: {cells:,} cells to compute, about {seconds / 60:.0f} min")
    if options.plan_only:
        return 0
    if not options.report_only:
        benchmark.prepare()
        benchmark.compute()
    for plan in plans:
        for table in options.tables:
            if getattr(plan.experiment, TABLES[table]):
                _report(plan, table, target / plan.experiment.name, say, measure=not options.report_only)
    for line in benchmark.failures:
        say(f"failed: {line}")
    return 1 if benchmark.failures else 0


def _report(plan: Plan, table: int, folder: Path, say: Say, *, measure: bool) -> None:
    from elec.evidence.figures import table_figures
    from elec.evidence.inference import InferenceFigures, inference_markdown, measure_inference
    from elec.evidence.markdown import table_markdown
    from elec.evidence.plots import plots_of

    experiment = plan.experiment
    found: BaseModel
    if table == 5:
        path = folder / "table-5.json"
        if measure:
            found = measure_inference(plan)
        elif path.exists():
            found = InferenceFigures.model_validate_json(path.read_bytes())
        else:
            return
        text = inference_markdown(found, experiment.title)
    else:
        found = table_figures(plan, table)
        text = table_markdown(found, experiment.title, experiment.about, plots_of(found, experiment.title, folder))
    content = orjson.dumps(found.model_dump(mode="json"), option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)
    storage.write_bytes(folder / f"table-{table}.json", content + b"\n")
    storage.write_bytes(folder / f"table-{table}.md", text.encode())
    say(f"{folder / f'table-{table}.md'}")


def _as_asked(experiment: Experiment, options: Options) -> Experiment:
    changes: dict[str, Any] = {}
    if options.seeds is not None:
        changes["seeds"] = options.seeds
    if options.trials is not None:
        changes["trials"] = options.trials
    if options.quick:
        changes |= {"trials": 1, "seeds": options.seeds or 2, "resamples": 100}
        changes["run"] = changed(experiment.run, {"distill.epochs": 1, "adapt.epochs": 1})
    return experiment.model_copy(update=changes)
