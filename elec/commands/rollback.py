"""`elec rollback`: the model that was in service before is in service again."""

from typing import Annotated

import typer

from elec.runs.workspace import Workspace
from elec.spec import load_spec


def rollback(
    spec: Annotated[str, typer.Option("--spec", help="A YAML file, or the name of a spec that comes with elec.")] = (
        "movielens-100k"
    ),
    workspace: Annotated[str, typer.Option(help="Where the champion stands. A folder or s3://bucket/prefix.")] = "runs",
) -> None:
    """Go back to the champion before this one.

    On a cluster (run.deploy.target: kserve) the service is changed first, and the record of the champion when it answers. On
    this machine a running `elec serve` of the workspace changes over by itself. A second rollback goes forward again.
    """
    from elec.deploy.published import published

    loaded, space = load_spec(spec), Workspace(workspace)
    now = space.champion()
    if now is not None and now.previous is not None:
        run_id = published(space, now.previous).run_id
        if loaded.run.deploy.target == "kserve":
            from elec.deploy.apply import restore
            from elec.deploy.cluster import Cluster

            address = restore(Cluster.connect(), loaded, space, now.previous, space.feast)
            typer.echo(f"{address} serves {now.previous}")
    else:
        run_id = ""
    champion = space.rollback(run_id, now)
    typer.echo(f"{champion.bundle_id} is the champion again, in place of {champion.previous}")
    if loaded.run.deploy.target == "local":
        typer.echo(
            "a running `elec serve` of this workspace changes over by itself; `elec rollback` once more goes forward again"
        )
