"""`elec status`: which model is in service, since when, and what runs."""

import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import orjson
import typer

from elec.errors import ElecError, InputError
from elec.runs.workspace import Champion, Workspace
from elec.spec import Spec, load_spec

if TYPE_CHECKING:
    from elec.deploy.figures import Figures

_SECONDS_FOR_AN_ANSWER = 3.0
_SECONDS = (("days", 86_400), ("hours", 3_600), ("minutes", 60), ("seconds", 1))


def status(
    spec: Annotated[str, typer.Option("--spec", help="A YAML file, or the name of a spec that comes with elec.")] = (
        "movielens-100k"
    ),
    workspace: Annotated[str, typer.Option(help="Where the champion stands. A folder or s3://bucket/prefix.")] = "runs",
    url: Annotated[
        str, typer.Option(help="Of a server to ask; on a cluster the service and its pods are asked, too.")
    ] = "http://127.0.0.1:8080",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object instead of lines.")] = False,
) -> None:
    """Tell the champion, the one before, since when, and what the servers say they serve."""
    loaded, space = load_spec(spec), Workspace(workspace)
    champion = space.champion()
    found: dict[str, Any] = {"workspace": workspace, "champion": _champion(space, champion), "server": _server(loaded, url)}
    if loaded.run.deploy.target == "kserve":
        found["cluster"] = _cluster(loaded)
    typer.echo(orjson.dumps(found, option=orjson.OPT_INDENT_2).decode() if as_json else "\n".join(_lines(found)))


def _champion(space: Workspace, champion: Champion | None) -> dict[str, Any] | None:
    from elec.deploy.published import published

    if champion is None:
        return None
    told = champion.model_dump(mode="json")
    try:
        manifest = published(space, champion.bundle_id)
    except InputError as error:
        return told | {"problem": str(error)}
    return told | {"as_of": manifest.as_of.isoformat(), "code_version": manifest.code_version, "metrics": manifest.metrics}


def _server(spec: Spec, url: str) -> dict[str, Any]:
    import httpx

    from elec.deploy.arguments import request_headers
    from elec.deploy.scrape import parse_metrics
    from elec.serving.http.protocol import MODEL_NAME

    headers = request_headers(spec.run.serving)
    told: dict[str, Any] = {"url": url}
    try:
        with httpx.Client(base_url=url.rstrip("/"), headers=headers, timeout=_SECONDS_FOR_AN_ANSWER, trust_env=False) as client:
            model = client.get(f"/v2/models/{MODEL_NAME}").raise_for_status().json()
            told["serves"] = list(model.get("versions") or [])
            metrics = client.get("/metrics")
            if metrics.is_success:
                served = told["serves"][0] if told["serves"] else ""
                told["figures"] = _figures(parse_metrics(metrics.text, served))
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, AttributeError) as error:
        told["problem"] = str(error) or type(error).__name__
    return told


def _figures(figures: "Figures") -> dict[str, Any]:
    milliseconds = {f"p{q * 100:g}_ms": figures.latency.quantile(q) * 1000 for q in (0.5, 0.99)}
    return {"requests": figures.requests, "errors": figures.errors, "refused": figures.refused} | {
        name: None if math.isnan(value) else round(value, 3) for name, value in milliseconds.items()
    }


def _cluster(spec: Spec) -> dict[str, Any]:
    from elec.deploy.cluster import Cluster, condition
    from elec.deploy.kserve import SERVING_GROUP, VERSION_LABEL, selector

    deploy = spec.run.deploy
    service = {
        "apiVersion": f"{SERVING_GROUP}/v1beta1",
        "kind": "InferenceService",
        "metadata": {"name": deploy.name, "namespace": deploy.namespace},
    }
    told: dict[str, Any] = {"name": deploy.name, "namespace": deploy.namespace}
    try:
        cluster = Cluster.connect()
        found = cluster.get(service)
        if found is None:
            return told | {"problem": f"there is no InferenceService {deploy.name} in {deploy.namespace}"}
        state, annotations = found.get("status", {}), found["metadata"].get("annotations", {})
        ready = condition(state, "Ready")
        told |= {
            "ready": ready.get("status") == "True",
            "reason": ready.get("message") or ready.get("reason"),
            "address": (state.get("address") or {}).get("url") or state.get("url"),
            "champion": annotations.get("elec/bundle"),
            "challenger": annotations.get("elec/challenger"),
            "canaries": state.get("canaryStatuses") or [],
        }
        pods = cluster.pods(deploy.namespace, selector(spec))
    except ElecError as error:
        return told | {"problem": str(error)}
    told["pods"] = [
        {
            "name": pod["metadata"]["name"],
            "version": pod["metadata"].get("labels", {}).get(VERSION_LABEL),
            "ready": condition(pod.get("status", {}), "Ready").get("status") == "True",
        }
        for pod in pods
    ]
    return told


def _lines(found: dict[str, Any]) -> list[str]:
    champion, server, cluster = found["champion"], found["server"], found.get("cluster")
    if champion is None:
        lines = [f"champion  none in {found['workspace']}; `elec run` makes the first"]
    else:
        since = datetime.fromisoformat(champion["promoted_at"])
        lines = [
            f"champion  {champion['bundle_id']}, by {champion['run_id']}",
            f"  since   {since:%Y-%m-%d %H:%M:%S} UTC, {_ago(since)}",
        ]
        numbers = [f"{name} {value:.4f}" for name, value in (champion.get("metrics") or {}).items() if isinstance(value, float)]
        lines += [f"  test    {', '.join(numbers)}"] if numbers else []
        lines += [f"  problem {champion['problem']}"] if "problem" in champion else []
        lines.append(f"before    {champion['previous'] or 'none'}")
    if "serves" in server:
        serves = ", ".join(server["serves"])
        stale = champion is not None and champion["bundle_id"] not in server["serves"]
        lines.append(f"server    {server['url']} serves {serves}" + (", which is not the champion" if stale else ""))
    else:
        lines.append(f"server    {server['url']} does not answer ({server['problem']})")
    if "figures" in server:
        figures = server["figures"]
        times = f", p50 {figures['p50_ms']:.3g} ms, p99 {figures['p99_ms']:.3g} ms" if figures["p99_ms"] is not None else ""
        lines.append(f"  figures {figures['requests']:,} requests, {figures['errors']:,} errors{times}")
    return lines + (_cluster_lines(cluster) if cluster is not None else [])


def _cluster_lines(cluster: dict[str, Any]) -> list[str]:
    where = f"cluster   {cluster['namespace']}/{cluster['name']}"
    if "problem" in cluster:
        return [f"{where}: {cluster['problem']}"]
    lines = [f"{where} is {'ready' if cluster['ready'] else 'not ready'} at {cluster['address']}, for {cluster['champion']}"]
    if cluster["challenger"]:
        shares = ", ".join(f"{canary.get('trafficPercent')}% ({canary.get('name')})" for canary in cluster["canaries"])
        lines.append(f"  canary  {cluster['challenger']}: {shares or 'by revision'}")
    lines += [f"  pod     {pod['name']}: {pod['version']}{'' if pod['ready'] else ', not ready'}" for pod in cluster["pods"]]
    return lines


def _ago(since: datetime) -> str:
    seconds = max(0.0, (datetime.now(UTC) - since).total_seconds())
    unit, length = next((unit, length) for unit, length in _SECONDS if seconds >= length or length == 1)
    return f"{seconds / length:.0f} {unit} ago"
