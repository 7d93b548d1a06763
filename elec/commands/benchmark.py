"""`elec benchmark`: the evidence, regenerated."""

from pathlib import Path
from typing import Annotated

import typer


def benchmark(
    table: Annotated[
        list[int],
        typer.Option(min=2, max=5, help="2: comparison, 3: ablation, 4: base LLMs, 5: inference times; may be repeated."),
    ],
    dataset: Annotated[
        list[str] | None, typer.Option(help="An experiment by name; may be repeated. All that have the table, if left out.")
    ] = None,
    seeds: Annotated[int | None, typer.Option(min=1, help="Final trainings an arm, instead of the experiment's.")] = None,
    trials: Annotated[int | None, typer.Option(min=1, help="Settings tried an arm, instead of the experiment's.")] = None,
    workers: Annotated[int, typer.Option(min=0, help="Processes, of one thread each; 0 for none but this one.")] = 2,
    quick: Annotated[
        bool, typer.Option("--quick", help="Two seeds, no search, one epoch: does it run? Results go to the cache.")
    ] = False,
    plan: Annotated[bool, typer.Option("--plan", help="Only say what would be computed, and about how long it takes.")] = False,
    report: Annotated[
        bool, typer.Option("--report", help="Compute nothing: tables and plots of the cells that are there.")
    ] = False,
    experiments: Annotated[Path, typer.Option(help="The folder of the experiments.")] = Path("benchmarks/evidence"),
    output: Annotated[Path | None, typer.Option(help="Where results go; the experiments' folder, if left out.")] = None,
) -> None:
    """Regenerate tables of the evidence.

    Every cell (data set, arm, seed, settings) is computed once and kept in the cache, so a run that was stopped goes on where
    it was. Settings are chosen on validation rows; the test rows are scored by the final cells only.
    """
    from elec.evidence.run import Options, run_benchmark

    options = Options(
        tables=tuple(dict.fromkeys(table)),
        datasets=tuple(dataset or ()),
        seeds=seeds,
        trials=trials,
        workers=workers,
        quick=quick,
        plan_only=plan,
        report_only=report,
    )
    raise typer.Exit(run_benchmark(options, experiments, output, typer.echo))
