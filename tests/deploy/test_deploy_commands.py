"""`elec deploy`, `elec rollback`, `elec status`: what they print, and what they change."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from kubernetes.client import ApiClient, Configuration
from typer.testing import CliRunner

from elec.deploy import LocalDeployment
from elec.deploy.check import problems
from elec.deploy.cluster import Cluster
from elec.errors import ElecError
from elec.runs.workspace import Workspace
from elec.serving.http.server import bind
from elec.serving.publish import publish_bundle
from elec.spec import Spec
from pipelines.cli import app
from tests.deploy.test_apply import Api, serving
from tests.deploy.test_kserve import cluster_spec
from tests.serving.made import SPEC, variant


def run(*arguments: str) -> str:
    """What a command prints; what a user can cause is raised as `elec` would print it."""
    result = CliRunner().invoke(app, list(arguments))
    if isinstance(result.exception, ElecError):
        raise result.exception
    assert result.exception is None, result.exception
    return result.stdout


def spec_file(folder: Path, spec: Spec) -> str:
    path = folder / "spec.yaml"
    content = spec.model_dump(mode="json", exclude_none=True)
    path.write_text(yaml.safe_dump(content["dataset"] | {"run": content["run"]}))
    return str(path)


@pytest.fixture
def local_spec(tmp_path: Path) -> str:
    return spec_file(tmp_path, SPEC)


def promoted(workspace: Workspace, made: Path, folder: Path, month: int) -> str:
    """A champion's id, published and recorded."""
    bundle = variant(made / "bundle", folder / f"bundle-{month}", as_of=datetime(2024, month, 1, tzinfo=UTC))
    publish_bundle(folder / f"bundle-{month}", workspace)
    workspace.promote(bundle.bundle_id, f"run-{month}")
    return bundle.bundle_id


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return Workspace(str(tmp_path / "runs"))


@pytest.fixture
def with_feast(workspace: Workspace, feast_folder: Path) -> None:
    Path(workspace.uri).mkdir(exist_ok=True)
    Path(workspace.feast).symlink_to(feast_folder)


def test_a_dry_run_prints_the_champions_manifests(bucket: str, made: Path, tmp_path: Path) -> None:
    spec, workspace = spec_file(tmp_path, cluster_spec(monitoring="prometheus")), Workspace(bucket)
    with pytest.raises(ElecError, match="no model is in service there yet"):
        run("deploy", "--dry-run", "--spec", spec, "--workspace", bucket)
    bundle_id = promoted(workspace, made, tmp_path, 4)
    documents = list(yaml.safe_load_all(run("deploy", "--dry-run", "--spec", spec, "--workspace", bucket)))
    assert problems(documents) == []
    assert [document["kind"] for document in documents] == [
        "ServiceAccount",
        "ServingRuntime",
        "PodDisruptionBudget",
        "NetworkPolicy",
        "ServiceMonitor",
        "InferenceService",
    ]
    assert documents[-1]["spec"]["predictor"]["model"]["storageUri"] == workspace.bundle(bundle_id)


def test_a_dry_run_of_a_challenger_prints_the_canary(bucket: str, made: Path, tmp_path: Path) -> None:
    spec, workspace = spec_file(tmp_path, cluster_spec(canary={"share": 10})), Workspace(bucket)
    champion = promoted(workspace, made, tmp_path, 4)
    asked = ("--spec", spec, "--workspace", bucket, "--bundle", str(made / "bundle"))
    *_, service = yaml.safe_load_all(run("deploy", "--dry-run", *asked))
    (canary,) = service["spec"]["canary"]
    assert canary["trafficPercent"] == 10
    assert service["spec"]["predictor"]["model"]["storageUri"] == workspace.bundle(champion)
    assert canary["predictor"]["model"]["storageUri"].startswith(workspace.bundle("toy-20240501"))
    with pytest.raises(ElecError, match="there is no such bundle"):
        run("deploy", "--dry-run", "--spec", spec, "--workspace", bucket, "--bundle", "toy-0")


def test_a_dry_run_says_what_a_cluster_cannot_reach(workspace: Workspace, made: Path, tmp_path: Path) -> None:
    promoted(workspace, made, tmp_path, 4)
    with pytest.raises(ElecError, match="a cluster cannot read this bundle"):
        run("deploy", "--dry-run", "--spec", spec_file(tmp_path, cluster_spec()), "--workspace", workspace.uri)


@pytest.mark.usefixtures("with_feast")
def test_a_bundle_is_deployed_here(workspace: Workspace, made: Path, tmp_path: Path, local_spec: str) -> None:
    before = promoted(workspace, made, tmp_path, 4)
    said = run("deploy", "--spec", local_spec, "--workspace", workspace.uri, "--bundle", str(made / "bundle"))
    champion = workspace.champion()
    assert champion is not None
    assert champion.previous == before
    assert f"{champion.bundle_id} is in service\n" in said
    assert "smoke test: 64 golden records" in said
    assert f"before: {before}" in said


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "no model is in service there yet"),
        (("--bundle", "s3://elsewhere/bundle"), "is not published in"),
        (("--bundle", "no-such-folder"), "no-such-folder"),
    ],
)
def test_what_cannot_be_deployed(workspace: Workspace, local_spec: str, arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(ElecError, match=message):
        run("deploy", "--spec", local_spec, "--workspace", workspace.uri, *arguments)


def test_a_port_is_for_a_canary(workspace: Workspace, made: Path, tmp_path: Path, local_spec: str) -> None:
    promoted(workspace, made, tmp_path, 4)
    asked = ("--workspace", workspace.uri, "--port", "0")
    with pytest.raises(ElecError, match=r"canary\.share is 0; set it, or use `elec serve`"):
        run("deploy", "--spec", local_spec, *asked)
    with pytest.raises(ElecError, match=r"run\.deploy\.target is kserve; leave it out"):
        run("deploy", "--spec", spec_file(tmp_path, cluster_spec()), *asked)
    content = SPEC.model_dump()
    content["run"]["deploy"]["canary"]["share"] = 10
    with pytest.raises(ElecError, match="there is no other champion to compare"):
        run("deploy", "--spec", spec_file(tmp_path, Spec.model_validate(content)), *asked)


@pytest.fixture
def follower(workspace: Workspace, made: Path, tmp_path: Path) -> Iterator[str]:
    """A server that follows the champion of the workspace, a second one by now."""
    for month in (4, 6):
        promoted(workspace, made, tmp_path, month)
    with bind("127.0.0.1", 0) as listener:
        command = [sys.executable, "-m", "elec.serving", "--workspace", workspace.uri, "--set", "watch_seconds=0.2"]
        process = subprocess.Popen(
            [*command, "--fd", str(listener.fileno()), "--parent", str(os.getpid())], pass_fds=[listener.fileno()]
        )
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        yield url
    finally:
        process.terminate()
        process.wait(30)


def serves(url: str, bundle_id: str) -> bool:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            found: Any = httpx.get(f"{url}/v2/models/elec", trust_env=False, timeout=5).json()["versions"]
            if found[0] == bundle_id:
                return True
        except (httpx.HTTPError, ValueError, KeyError):
            pass
        time.sleep(0.1)
    return False


def test_a_rollback_reaches_a_running_server(workspace: Workspace, local_spec: str, follower: str) -> None:
    now = workspace.champion()
    assert now is not None
    assert now.previous is not None
    assert serves(follower, now.bundle_id)
    asked = ("--spec", local_spec, "--workspace", workspace.uri)
    said = run("rollback", *asked)
    assert said.startswith(f"{now.previous} is the champion again, in place of {now.bundle_id}\n")
    back = workspace.champion()
    assert back is not None
    assert (back.bundle_id, back.run_id, back.previous) == (now.previous, "run-1", now.bundle_id)
    assert serves(follower, now.previous)
    told = run("status", *asked, "--url", follower)
    assert f"champion  {now.previous}, by run-1\n" in told
    assert f"before    {now.bundle_id}\n" in told
    assert f"server    {follower} serves {now.previous}" in told
    assert "which is not the champion" not in told
    run("rollback", *asked)
    assert serves(follower, now.bundle_id)


def test_there_may_be_nothing_to_go_back_to(workspace: Workspace, made: Path, tmp_path: Path, local_spec: str) -> None:
    asked = ("rollback", "--spec", local_spec, "--workspace", workspace.uri)
    with pytest.raises(ElecError, match="nothing to roll back"):
        run(*asked)
    promoted(workspace, made, tmp_path, 4)
    with pytest.raises(ElecError, match="the first model in service there"):
        run(*asked)
    workspace.promote("toy-gone", "run-2")
    workspace.promote("toy-next", "run-3")
    with pytest.raises(ElecError, match="toy-gone: there is no such bundle"):
        run(*asked)
    champion = workspace.champion()
    assert champion is not None
    assert champion.bundle_id == "toy-next", "nothing has changed"


def test_status_without_anything(workspace: Workspace, local_spec: str) -> None:
    asked = ("status", "--spec", local_spec, "--workspace", workspace.uri, "--url", "http://127.0.0.1:9")
    told = run(*asked)
    assert "champion  none" in told
    assert "http://127.0.0.1:9 does not answer" in told
    found = json.loads(run(*asked, "--json"))
    assert found["champion"] is None
    assert "problem" in found["server"]


@pytest.fixture(scope="module")
def server(made: Path) -> Iterator[str]:
    with LocalDeployment(str(made / "bundle")) as running:
        yield running.url


def test_status_and_rollback_on_a_cluster(
    server: str, bucket: str, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec, workspace = cluster_spec(scaling={"least": 1, "most": 2}), Workspace(bucket)
    asked = ("--spec", spec_file(tmp_path, spec), "--workspace", bucket)
    uri = publish_bundle(made / "bundle", workspace)
    bundle_id = uri.rpartition("/")[2]
    workspace.promote(bundle_id, "run-1")
    worse = promoted(workspace, made, tmp_path, 6)
    api = Api(server)
    api.servers = {uri: server}
    with serving(api) as cluster:
        monkeypatch.setattr(Cluster, "connect", classmethod(lambda _: cluster))
        assert "there is no InferenceService elec in elec" in run("status", *asked, "--url", server)
        said = run("rollback", *asked)
        assert f"{server} serves {bundle_id}\n{bundle_id} is the champion again, in place of {worse}\n" in said
        told = run("status", *asked, "--url", server)
        assert f"cluster   elec/elec is ready at {server}, for {bundle_id}" in told
        assert f"pod     pod: {bundle_id}" in told
        found = json.loads(run("status", *asked, "--url", server, "--json"))
        assert found["cluster"]["pods"][0]["version"] == bundle_id
        assert found["server"]["serves"][0] == bundle_id
        assert found["server"]["figures"]["errors"] == 0


def test_a_rollback_that_the_cluster_refuses_changes_nothing(
    bucket: str, made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = Workspace(bucket)
    promoted(workspace, made, tmp_path, 4)
    champion = promoted(workspace, made, tmp_path, 6)
    configuration = Configuration()
    configuration.host, configuration.retries = "http://127.0.0.1:9", False
    nobody = Cluster(ApiClient(configuration))
    monkeypatch.setattr(Cluster, "connect", classmethod(lambda _: nobody))
    with pytest.raises(ElecError, match="the cluster does not answer"):
        run("rollback", "--spec", spec_file(tmp_path, cluster_spec()), "--workspace", bucket)
    now = workspace.champion()
    assert now is not None
    assert now.bundle_id == champion
