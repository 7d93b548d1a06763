"""`elec serve`: the champion, or any bundle, behind HTTP on this machine."""

from enum import StrEnum
from typing import Annotated

import typer


class Device(StrEnum):
    """Where the network runs."""

    AUTO = "auto"
    CPU = "cpu"
    CUDA = "cuda"


def serve(
    bundle: Annotated[
        str, typer.Option(help="The bundle's folder or s3:// URI. Left out, the workspace's champion, and each new one.")
    ] = "",
    host: Annotated[str, typer.Option(help="127.0.0.1 answers this machine only; 0.0.0.0 answers everyone.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes any that is free.")] = 8080,
    workspace: Annotated[
        str, typer.Option(help="Where the champion stands, and Feast's state for /rank. A folder or s3://bucket/prefix.")
    ] = "runs",
    device: Annotated[Device, typer.Option(help="auto takes a GPU if ONNX Runtime has one.")] = Device.AUTO,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="A setting of run.serving: queue=32, say. Repeatable."),
    ] = None,
    prediction_log: Annotated[
        str, typer.Option(metavar="FOLDER", help="Where a share of the predictions (log_share) is kept as Parquet.")
    ] = "",
    access_log: Annotated[float, typer.Option(min=0, max=1, help="Share of the requests that have a line in the log.")] = 0.0,
) -> None:
    """Serve a bundle until Ctrl-C.

    It answers POST /v2/models/elec/infer (Open Inference Protocol, raw fields in, scores out) and POST /rank (a user and
    items in, ordered scores out; features are looked up in Feast). GET /metrics has figures for Prometheus.
    """
    from elec.serving.champion import feast_of
    from elec.serving.http.server import bind
    from elec.serving.launch import Launch, launch
    from elec.serving.settings import read_settings

    chosen = read_settings([f"device={device.value}", *(settings or [])])
    if not feast_of(workspace):
        typer.echo(f"elec: {workspace} has no Feast registry, so /rank will not answer; /infer will", err=True)
    asked = Launch(bundle=bundle, workspace=workspace, settings=chosen, prediction_log=prediction_log, access_log=access_log)
    with bind(host, port) as listener:
        launch(asked, listener)
