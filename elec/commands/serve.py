"""`elec serve`: the champion, or any bundle, behind HTTP on this machine."""

from typing import Annotated

import typer


def serve(
    bundle: Annotated[str, typer.Option(help="The bundle's folder or s3:// URI. The workspace's champion, if left out.")] = "",
    host: Annotated[str, typer.Option(help="127.0.0.1 answers this machine only; 0.0.0.0 answers everyone.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 8080,
    workspace: Annotated[
        str, typer.Option(help="Where the champion stands, and Feast's state for /rank. A folder or s3://bucket/prefix.")
    ] = "runs",
) -> None:
    """Serve a bundle until Ctrl-C.

    It answers POST /v2/models/elec/infer (Open Inference Protocol, raw fields in, scores out) and POST /rank (a user and
    items in, ordered scores out; features are looked up in Feast).
    """
    from elec.commands.bundles import bundle_of, feast_of
    from elec.serving.server import bind
    from elec.serving.start import serve_bundle

    uri = bundle_of(bundle, workspace)
    feast = feast_of(workspace)
    if not feast:
        typer.echo(f"elec: {workspace} has no Feast registry, so /rank will not answer; /infer will", err=True)
    with bind(host, port) as listener:
        serve_bundle(uri, listener, feast)
