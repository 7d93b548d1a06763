"""`elec deploy`: a bundle goes into service, or what a cluster would be asked for is printed."""

import signal
import socket
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from elec import storage
from elec.errors import InputError
from elec.runs.workspace import Workspace
from elec.spec import Spec, load_spec

if TYPE_CHECKING:
    from elec.deploy import CanaryReport
    from elec.deploy.deployment import Decided


def deploy(
    spec: Annotated[str, typer.Option("--spec", help="A YAML file, or the name of a spec that comes with elec.")] = (
        "movielens-100k"
    ),
    workspace: Annotated[
        str, typer.Option(help="Where bundles are published and the champion stands. A folder or s3://bucket/prefix.")
    ] = "runs",
    bundle: Annotated[
        str, typer.Option(help="A bundle's folder, its URI or its id in the workspace. The champion, if left out.")
    ] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what a cluster would be asked for, as YAML, and stop.")] = (
        False
    ),
    host: Annotated[
        str, typer.Option(help="With --port: 127.0.0.1 answers this machine only, 0.0.0.0 everyone.")
    ] = "127.0.0.1",
    port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65535,
            help="Of a canary on this machine: clients ask here, and after it the winner serves here until Ctrl-C. "
            "Left out, the canary replays golden records.",
        ),
    ] = None,
) -> None:
    """Put a bundle in service: on this machine or on a cluster, as run.deploy of the spec says.

    It is questioned first. With run.deploy.canary.share above 0 it then answers that share of the requests beside the champion,
    and is promoted, or rolled back, by its errors, its latency and its scores.
    """
    loaded, space = load_spec(spec), Workspace(workspace)
    if dry_run:
        _print_manifests(loaded, space, bundle)
        return
    from elec.deploy import put_in_service
    from elec.serving.http.server import bind

    uri, run_id = _published(bundle, space)
    listener = bind(host, port) if port is not None else None
    if listener is not None:
        _check_canary(loaded, space, uri)
    report = put_in_service(loaded, uri, space, run_id, listener=listener, decided=_serve_on(listener))
    typer.echo(f"{report.bundle_id} is in service" + (f" at {report.endpoint}" if report.endpoint else ""))
    typer.echo(
        f"smoke test: {report.smoke.golden} golden records, scores within {report.smoke.difference:.2g}, "
        f"{report.smoke.ranked} candidates ranked"
    )
    if report.canary is not None and listener is None:
        tell(report.canary)
    typer.echo(f"before: {report.previous or 'nothing'}")


def tell(report: "CanaryReport") -> None:
    """Prints how a canary ended."""
    verdict = "promoted" if report.state == "promoted" else "rolled back"
    typer.echo(f"canary: {verdict} after {report.seconds:.0f} seconds with {report.share}% of the {report.traffic} traffic: it")
    for reason in report.reasons:
        typer.echo(f"  {reason}")
    for name, version in (("champion", report.champion), ("challenger", report.challenger)):
        times = f"p50 {version.p50_ms:.3g} ms, p99 {version.p99_ms:.3g} ms" if version.p99_ms is not None else "no answer"
        typer.echo(f"  {name:10} {version.bundle_id}: {version.requests:,} requests, {version.errors:,} errors, {times}")
    if report.score_psi is not None:
        typer.echo(f"  PSI between their scores: {report.score_psi:.3g}")


def _serve_on(listener: socket.socket | None) -> "Decided | None":
    if listener is None:
        return None

    def decided(report: "CanaryReport", url: str) -> None:
        tell(report)
        winner = report.challenger if report.state == "promoted" else report.champion
        typer.echo(f"{winner.bundle_id} on {url} (Ctrl-C stops it)", err=True)
        with suppress(KeyboardInterrupt):
            signal.pause()

    return decided


def _check_canary(spec: Spec, space: Workspace, uri: str) -> None:
    if spec.run.deploy.target != "local":
        raise InputError("--port is for a canary on this machine, and run.deploy.target is kserve; leave it out")
    if not spec.run.deploy.canary.share:
        raise InputError("--port is for a canary, and run.deploy.canary.share is 0; set it, or use `elec serve`")
    champion = space.champion()
    if champion is None or space.bundle(champion.bundle_id) == uri:
        raise InputError(f"{space.uri}: there is no other champion to compare {uri} with; leave --port out")


def _published(bundle: str, space: Workspace) -> tuple[str, str]:
    """The published bundle's URI, and the run that made it."""
    from elec.deploy.published import published
    from elec.serving.manifest import MANIFEST
    from elec.serving.publish import publish_bundle

    if not bundle:
        champion = space.champion()
        if champion is None:
            raise InputError(f"{space.uri}: no model is in service there yet; run `elec run` first, or give --bundle")
        uri = space.bundle(champion.bundle_id)
    elif "/" not in bundle and storage.exists(storage.join(space.bundle(bundle), MANIFEST)):
        uri = space.bundle(bundle)
    elif bundle.rstrip("/").startswith(space.bundle("")):
        uri = bundle.rstrip("/")
    elif storage.is_s3(bundle):
        raise InputError(f"{bundle}: is not published in {space.uri}; copy it to a folder, and give that one")
    else:
        uri = publish_bundle(storage.local_path(bundle), space)
    return uri, published(space, uri.rpartition("/")[2]).run_id


def _print_manifests(spec: Spec, space: Workspace, bundle: str) -> None:
    from elec.deploy.apply import published_version, rendered
    from elec.deploy.kserve import Version, to_yaml
    from elec.serving.manifest import read_manifest

    champion = space.champion()
    if not bundle and champion is None:
        raise InputError(f"{space.uri}: no model is in service there yet; run `elec run` first, or give --bundle")
    if not bundle:
        assert champion is not None
        asked = published_version(space, champion.bundle_id)
    elif not storage.is_s3(bundle) and Path(storage.local_path(bundle), "manifest.json").exists():
        # A folder's bundle would be published first; nothing is, yet.
        found = read_manifest(storage.local_path(bundle))
        asked = Version(space.bundle(found.bundle_id), found.bundle_id, found.code_version)
    else:
        asked = published_version(space, bundle.rstrip("/").rpartition("/")[2])
    settings = spec.run.deploy.canary
    if settings.share and champion is not None and champion.bundle_id != asked.bundle_id:
        stable = published_version(space, champion.bundle_id)
        # As it would be for a champion that no canary brought there; only the cluster knows.
        beside = replace(asked, slot="green" if spec.run.deploy.mode == "Standard" else "")
        documents = rendered(spec, stable, space.feast, canary=beside, share=settings.share)
    else:
        documents = rendered(spec, asked, space.feast)
    typer.echo(to_yaml(documents), nl=False)
