"""The command line, `elec`."""

import os
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from elec.commands.benchmark import benchmark
from elec.commands.data import app as data_app
from elec.commands.deploy import deploy
from elec.commands.drift import drift
from elec.commands.rollback import rollback
from elec.commands.score import score
from elec.commands.serve import serve
from elec.commands.status import status
from elec.errors import ElecError, InputError
from elec.spec import load_spec
from pipelines.backfill import backfill

app = typer.Typer(
    name="elec",
    help="Retrain a small click-through-rate model that a large language model teaches, and put it in service.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data_app, name="data")
app.command()(serve)
app.command()(deploy)
app.command()(rollback)
app.command()(status)
app.command()(drift)
app.command()(score)
app.command()(backfill)
app.command()(benchmark)

#: Of lines in a log, where there is no terminal to ask.
_LOG_WIDTH = 128

SpecOption = Annotated[str, typer.Option("--spec", help="A YAML file, or the name of a spec that comes with elec.")]
HostOption = Annotated[str, typer.Option("--host", help="The Kubeflow Pipelines server, such as http://localhost:8888.")]
WorkspaceOption = Annotated[
    str, typer.Option("--workspace", help="What outlives a run on the cluster: bundles, vectors, Feast; s3://bucket/prefix.")
]


@app.command()
def run(
    spec: SpecOption = "movielens-100k",
    as_of: Annotated[
        str, typer.Option(help="The moment the run stands at; nothing later is visible to it. Now, if left out.")
    ] = "",
    output: Annotated[
        str, typer.Option(help="The workspace: runs, bundles, vectors. A folder or s3://bucket/prefix.")
    ] = "runs",
    force: Annotated[bool, typer.Option("--force", help="Train whatever the drift check says.")] = False,
) -> None:
    """Run the retraining pipeline here, from raw log to a model in service.

    The pipeline is the one that a cluster runs. The folder of the run holds summary.json and index.html; a later run with the
    same --output meets this one's model as champion, and encodes no text again.
    """
    from pipelines.display import Display
    from pipelines.local import run_locally

    console = Console(width=None if sys.stdout.isatty() else _LOG_WIDTH)
    raise typer.Exit(run_locally(load_spec(spec), output=output, as_of=as_of, force=force, display=Display(console)))


@app.command(name="compile")
def compile_(
    spec: SpecOption = "movielens-100k",
    output: Annotated[Path, typer.Option(help="The file to write.")] = Path("elec-retraining.yaml"),
    workspace: WorkspaceOption = "s3://elec",
) -> None:
    """Write the pipeline as the YAML that Kubeflow Pipelines takes."""
    _compile(spec, workspace, output)
    typer.echo(output)


@app.command()
def submit(host: HostOption, spec: SpecOption = "movielens-100k", workspace: WorkspaceOption = "s3://elec") -> None:
    """Upload the pipeline to a Kubeflow Pipelines server and start a run of it."""
    from pipelines.server import submit as start

    _warn_of_what_pods_cannot_reach(spec, workspace)
    with tempfile.TemporaryDirectory() as scratch:
        typer.echo(start(host, _compile(spec, workspace, Path(scratch, "elec-retraining.yaml"))))


@app.command()
def schedule(
    host: HostOption,
    cron: Annotated[
        str, typer.Option(help="Six fields in UTC, seconds first: '0 0 3 * * *' is 03:00 every day.")
    ] = "0 0 3 * * *",
    spec: SpecOption = "movielens-100k",
    workspace: WorkspaceOption = "s3://elec",
) -> None:
    """Upload the pipeline and let it run again and again: one run at a time, no catch-up, a pinned version."""
    from pipelines.server import schedule as plan

    _warn_of_what_pods_cannot_reach(spec, workspace)
    name = f"elec-retraining-{load_spec(spec).dataset.name}"
    with tempfile.TemporaryDirectory() as scratch:
        typer.echo(plan(host, _compile(spec, workspace, Path(scratch, "elec-retraining.yaml")), cron=cron, name=name))


def _warn_of_what_pods_cannot_reach(spec: str, workspace: str) -> None:
    """A warning, not an error: the pods may share a volume that this machine cannot know of."""
    from pipelines.reach import check_reach

    try:
        check_reach(load_spec(spec), workspace)
    except InputError as error:
        typer.echo(f"elec: warning: {error}", err=True)


def _compile(spec: str, workspace: str, output: Path) -> Path:
    from pipelines.compiled import compile_pipeline
    from pipelines.retraining import retraining_pipeline

    return compile_pipeline(retraining_pipeline(load_spec(spec), workspace=workspace), output)


def main() -> None:
    """Runs a command; what a user can cause ends in one sentence."""
    os.environ.setdefault("DO_NOT_TRACK", "1")
    os.environ.setdefault("FEAST_USAGE", "False")
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        app()
    except ElecError as error:
        print(f"elec: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("elec: stopped", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
