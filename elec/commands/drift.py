"""`elec drift`: is what the champion scores still like what it was trained on?"""

from pathlib import Path
from typing import Annotated

import typer


def drift(
    log: Annotated[Path, typer.Option("--log", help="The folder of `elec serve --prediction-log`.")],
    workspace: Annotated[str, typer.Option(help="Where the champion stands. A folder or s3://bucket/prefix.")] = "runs",
    spec: Annotated[str, typer.Option(help="A spec whose limits count; the default limits, if left out.")] = "",
    page: Annotated[Path | None, typer.Option(help="An HTML page to write, too.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of lines.")] = False,
) -> None:
    """Compare the logged predictions of the champion with the window that it was trained on, before any label is there.

    The exit code is 1 if the verdict is `retrain` or `block`.
    """
    from elec.deploy.published import published
    from elec.drift import check_predictions, drift_page, read_reference
    from elec.errors import InputError
    from elec.runs.workspace import Workspace
    from elec.spec import load_spec
    from elec.spec.run import DriftSpec

    settings = load_spec(spec).run.drift if spec else DriftSpec()
    space = Workspace(workspace)
    champion = space.champion()
    if champion is None:
        raise InputError(f"{workspace}: no model is in service there yet; run `elec run` first, or give another --workspace")
    reference = read_reference(space.reference(champion.bundle_id))
    if reference is None:
        raise InputError(f"{space.reference(champion.bundle_id)}: no reference of the champion; train it anew to have one")
    verdict = check_predictions(log, published(space, champion.bundle_id), reference, settings)
    if page is not None:
        page.write_text(drift_page(verdict), encoding="utf-8")
    typer.echo(verdict.model_dump_json(indent=2) if as_json else "\n".join([f"{verdict.verdict}:", *verdict.reasons]))
    if verdict.verdict in {"retrain", "block"}:
        raise typer.Exit(1)
