"""The real Kubernetes client against an API server on loopback, which plays KServe's controller, too."""

import copy
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlparse

import httpx
import pytest
from kubernetes.client import ApiClient, Configuration

from elec.deploy import LocalDeployment
from elec.deploy.apply import rendered, restore, roll_out
from elec.deploy.canary import CanaryRolledBackError
from elec.deploy.cluster import Cluster
from elec.deploy.kserve import Version, manifests
from elec.errors import BlockedError, InputError, RunFailedError
from elec.runs.workspace import Workspace
from elec.serving.bundle import Bundle, open_bundle
from elec.serving.golden import Golden
from elec.serving.http.protocol import infer_request
from elec.serving.publish import publish_bundle
from elec.spec import Spec
from tests.deploy.test_kserve import cluster_spec
from tests.serving.made import variant

SPEC = cluster_spec()


class Api:
    """Objects by path, as a cluster keeps them."""

    def __init__(self, address: str) -> None:
        # Where a bundle is served that no other server is told of.
        self.address = address
        # Addresses of servers by the bundle's URI, each of them a pod.
        self.servers: dict[str, str] = {}
        self.objects: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, str]] = []
        # All that the InferenceService ever was.
        self.services: list[dict[str, Any]] = []
        self.looks = 0
        self.looks_until_ready = 2
        self.refuse = ""
        self.failure = ""

    def handle(self, method: str, path: str, query: dict[str, list[str]], body: Any, kind: str) -> tuple[int, Any]:
        self.calls.append((method, path))
        if self.refuse and self.refuse in path and method == "PATCH":
            return 403, {"kind": "Status", "message": f"{self.refuse} is forbidden"}
        if method == "PATCH":
            assert kind == "application/apply-patch+yaml"
            assert query == {"fieldManager": ["elec"], "force": ["true"]}
            assert path.endswith(
                f"/namespaces/{body['metadata']['namespace']}/{plural(body['kind'])}/{body['metadata']['name']}"
            )
            generation = self.objects.get(path, {}).get("metadata", {}).get("generation", 0) + 1
            self.objects[path] = copy.deepcopy(body)
            self.objects[path]["metadata"]["generation"] = generation
            self.looks = 0
            if body["kind"] == "InferenceService":
                self.services.append(copy.deepcopy(body))
            return 200, self.objects[path]
        if "labelSelector" in query:
            wanted = dict(part.split("=") for part in query["labelSelector"][0].split(","))
            found = (
                self.pods() if path.endswith("/pods") else [self.objects[key] for key in self.objects if key.startswith(path)]
            )
            return 200, {"items": [one for one in found if wanted.items() <= one["metadata"]["labels"].items()]}
        if path not in self.objects:
            return 404, {"kind": "Status", "message": "not found"}
        if method == "DELETE":
            return 200, self.objects.pop(path)
        self.looks += 1
        return 200, self.objects[path] | {"status": self.status(self.objects[path])}

    def pods(self) -> list[dict[str, Any]]:
        """One for every predictor whose server is known."""
        service = self.applied("inferenceservices")
        assert service is not None
        predictors = [service["spec"]["predictor"], *(canary["predictor"] for canary in service["spec"].get("canary", ()))]
        found = []
        for predictor in predictors:
            server = urlparse(self.servers.get(predictor["model"]["storageUri"], ""))
            if server.port:
                found.append(
                    {
                        "metadata": {"name": "pod", "uid": str(server.port), "labels": predictor["labels"]},
                        "spec": {"containers": [{"name": "kserve-container", "ports": [{"containerPort": server.port}]}]},
                        "status": {"podIP": server.hostname, "containerStatuses": [{"restartCount": 0}]},
                    }
                )
        return found

    def status(self, service: dict[str, Any]) -> dict[str, Any]:
        generation = service["metadata"]["generation"]
        if self.failure:
            conditions = [
                {"type": "PredictorReady", "status": "False", "message": self.failure},
                {"type": "Ready", "status": "False"},
            ]
            return {"conditions": conditions, "observedGeneration": generation}
        # At first the conditions are still those of the generation before.
        seen = generation if self.looks > self.looks_until_ready else generation - 1
        return {
            "url": self.servers.get(service["spec"]["predictor"]["model"]["storageUri"], self.address),
            "conditions": [{"type": "Ready", "status": "True"}],
            "observedGeneration": seen,
            "canaryStatuses": [
                {"name": canary["predictor"]["name"], "ready": self.looks > self.looks_until_ready}
                for canary in service["spec"].get("canary", ())
            ],
        }

    def applied(self, kind: str) -> dict[str, Any] | None:
        return next((found for path, found in self.objects.items() if f"/{kind}/" in path), None)


def plural(kind: str) -> str:
    return f"{kind.lower().removesuffix('y')}ies" if kind.endswith("y") else f"{kind.lower()}s"


@contextmanager
def serving(api: Api) -> Iterator[Cluster]:
    class Handler(BaseHTTPRequestHandler):
        def answer(self) -> None:
            parsed = urlparse(self.path)
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            kind = self.headers.get("Content-Type", "")
            status, content = api.handle(self.command, parsed.path, parse_qs(parsed.query), body, kind)
            data = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_PATCH = do_DELETE = answer

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    configuration = Configuration()
    configuration.host = f"http://127.0.0.1:{server.server_address[1]}"
    configuration.retries = False
    try:
        yield Cluster(ApiClient(configuration), poll=0.01)
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def address(made: Path) -> Iterator[str]:
    with LocalDeployment(str(made / "bundle")) as server:
        yield server.url


@pytest.fixture
def api(address: str) -> Api:
    return Api(address)


@pytest.fixture
def cluster(api: Api) -> Iterator[Cluster]:
    with serving(api) as found:
        yield found


@pytest.fixture
def workspace(bucket: str) -> Workspace:
    return Workspace(bucket)


@pytest.fixture
def bundle(made: Path, workspace: Workspace, tmp_path: Path) -> Bundle:
    """The challenger, as it was published."""
    return open_bundle(publish_bundle(made / "bundle", workspace), tmp_path / "cache")


def test_applied_waited_for_questioned(cluster: Cluster, api: Api, bundle: Bundle, workspace: Workspace, address: str) -> None:
    found = roll_out(cluster, SPEC, bundle, None, workspace, "s3://elec/feast", deadline=20)
    assert found.address == address
    assert found.smoke.golden == 64
    assert found.canary is None
    assert api.looks > api.looks_until_ready, "Ready of the generation before does not count"
    assert [path.split("/")[-2] for method, path in api.calls if method == "PATCH"] == [
        "serviceaccounts",
        "servingruntimes",
        "poddisruptionbudgets",
        "networkpolicies",
        "inferenceservices",
    ]
    service = api.applied("inferenceservices")
    assert service is not None
    assert service["spec"]["predictor"]["model"]["storageUri"] == bundle.uri


def test_applying_again_changes_what_is_there(cluster: Cluster, api: Api, bundle: Bundle, workspace: Workspace) -> None:
    for _ in range(2):
        roll_out(cluster, SPEC, bundle, None, workspace, "s3://elec/feast", deadline=20)
    assert len(api.objects) == 5
    service = api.applied("inferenceservices")
    assert service is not None
    assert service["metadata"]["generation"] == 2


def test_a_first_service_that_fails_is_taken_away(cluster: Cluster, api: Api, bundle: Bundle, workspace: Workspace) -> None:
    api.failure = "0/3 nodes have a GPU"
    with pytest.raises(BlockedError, match=r"not ready after 0\.2 seconds: PredictorReady: 0/3 nodes have a GPU"):
        roll_out(cluster, SPEC, bundle, None, workspace, "s3://elec/feast", deadline=0.2)
    assert [path.split("/")[-2] for path in api.objects] == ["serviceaccounts"]


@pytest.fixture
def champion(cluster: Cluster, made: Path, tmp_path: Path, workspace: Workspace) -> str:
    """The URI of a champion in service, built by older code."""
    older = variant(made / "bundle", tmp_path / "champion", as_of=datetime(2024, 4, 1, tzinfo=UTC), code_version="older")
    uri = publish_bundle(tmp_path / "champion", workspace)
    workspace.promote(older.bundle_id, "run-0")
    for document in rendered(SPEC, Version(uri, older.bundle_id, "older"), "s3://elec/feast"):
        cluster.apply(document)
    return uri


def in_service(api: Api) -> tuple[str, str]:
    service, runtime = api.applied("inferenceservices"), api.applied("servingruntimes")
    assert service is not None
    assert runtime is not None
    assert runtime["metadata"]["name"] == service["spec"]["predictor"]["model"]["runtime"]
    assert sum("/servingruntimes/" in path for path in api.objects) == 1, "what nobody names is taken away"
    return service["spec"]["predictor"]["model"]["storageUri"], runtime["spec"]["containers"][0]["image"].rpartition(":")[2]


def test_a_service_that_does_not_get_ready_gives_way_to_the_champion(
    cluster: Cluster, api: Api, bundle: Bundle, workspace: Workspace, champion: str
) -> None:
    api.failure = "image not found"
    with pytest.raises(BlockedError, match="image not found"):
        roll_out(cluster, SPEC, bundle, None, workspace, "s3://elec/feast", deadline=0.2)
    assert in_service(api) == (champion, "older")


def test_a_service_that_answers_wrongly_gives_way_to_the_champion(
    cluster: Cluster, api: Api, made: Path, tmp_path: Path, workspace: Workspace, champion: str
) -> None:
    variant(made / "bundle", tmp_path / "other", as_of=datetime(2024, 6, 1, tzinfo=UTC))
    challenger = open_bundle(publish_bundle(tmp_path / "other", workspace), tmp_path / "cache")
    with pytest.raises(BlockedError, match=r"does not serve toy-20240601.* in time \(it answers: \['toy-20240501"):
        roll_out(cluster, SPEC, challenger, None, workspace, "s3://elec/feast", deadline=0.5)
    assert in_service(api) == (champion, "older")


def test_what_the_cluster_refuses_is_said_and_undone(
    cluster: Cluster, api: Api, bundle: Bundle, workspace: Workspace, champion: str
) -> None:
    apply = cluster.apply
    refusals = iter([True])

    def once(document: dict[str, Any]) -> None:
        api.refuse = "inferenceservices" if document["kind"] == "InferenceService" and next(refusals, False) else ""
        apply(document)

    cluster.apply = once  # type: ignore[method-assign]
    with pytest.raises(RunFailedError, match=r"refused to apply InferenceService elec \(403 inferenceservices is forbidden\)"):
        roll_out(cluster, SPEC, bundle, None, workspace, "s3://elec/feast", deadline=5)
    assert in_service(api) == (champion, "older")


def test_manifests_that_would_not_work_are_not_applied(
    cluster: Cluster, api: Api, bundle: Bundle, workspace: Workspace
) -> None:
    spec = cluster_spec(node_selector={"pool": "not a label!"})
    with pytest.raises(InputError, match=r"the manifests would not work: .*nodeSelector pool"):
        roll_out(cluster, spec, bundle, None, workspace, "s3://elec/feast", deadline=5)
    assert api.calls == []


def canary_spec(**canary: float) -> Spec:
    # The pods and their clients share what cores there are.
    settings = {"share": 20, "seconds": 4, "requests": 10, "max_latency_ratio": 10} | canary
    return cluster_spec(canary=settings, scaling={"least": 1, "most": 2})


@pytest.fixture
def side_by_side(api: Api, champion: str, bundle: Bundle, address: str, tmp_path: Path) -> Iterator[None]:
    """The champion's pod beside the challenger's."""
    with LocalDeployment(str(tmp_path / "champion")) as server:
        api.servers = {champion: server.url, bundle.uri: address}
        yield


@contextmanager
def traffic(api: Api, bundle: Bundle) -> Iterator[Counter[str]]:
    """Clients behind KServe's gateway: as long as there is a share for the challenger it is asked, too."""
    golden = Golden.load(bundle.golden, bundle.manifest.fields)
    body = infer_request(golden.records, bundle.manifest.fields)
    asked: Counter[str] = Counter()
    stopped = threading.Event()

    def ask() -> None:
        while not stopped.wait(0.02):
            service = api.applied("inferenceservices")
            shared = service["spec"].get("canary", ()) if service is not None else ()
            for uri, url in api.servers.items():
                if not any(uri == one["predictor"]["model"]["storageUri"] and not one["trafficPercent"] for one in shared):
                    httpx.post(f"{url}/v2/models/elec/infer", json=body, trust_env=False).raise_for_status()
                    asked[uri] += 1

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    try:
        yield asked
    finally:
        stopped.set()
        thread.join()


def shares(api: Api) -> list[list[int]]:
    """What the canaries of the InferenceService were given, one apply after the other."""
    return [[canary["trafficPercent"] for canary in body["spec"].get("canary", ())] for body in api.services]


@pytest.mark.usefixtures("side_by_side")
def test_a_canary_that_is_promoted(cluster: Cluster, api: Api, bundle: Bundle, workspace: Workspace, champion: str) -> None:
    del api.services[:]
    with traffic(api, bundle):
        found = roll_out(cluster, canary_spec(), bundle, None, workspace, "s3://elec/feast", deadline=30)
    assert found.canary is not None
    assert (found.canary.state, found.canary.traffic) == ("promoted", "live")
    assert found.canary.challenger.requests >= 10
    assert found.canary.challenger.scores == 64 * found.canary.challenger.requests
    assert found.canary.score_psi is not None
    assert found.canary.score_psi < 0.05
    assert found.address == api.servers[bundle.uri]
    assert shares(api) == [[0], [20], []], "started without traffic, given its share, given all"
    predictor = api.services[-1]["spec"]["predictor"]
    assert (predictor["name"], predictor["model"]["storageUri"]) == ("green", bundle.uri)
    assert [path.rpartition("/")[2] for path in api.objects if "/horizontalpodautoscalers/" in path] == ["elec-green-predictor"]
    assert in_service(api)[0] == bundle.uri
    # The next one takes the other slot; going back keeps the one that serves.
    restore(cluster, canary_spec(), workspace, workspace_champion(workspace), "s3://elec/feast", deadline=30)
    predictor = api.services[-1]["spec"]["predictor"]
    assert (predictor["name"], predictor["model"]["storageUri"]) == ("green", champion)


def workspace_champion(workspace: Workspace) -> str:
    found = workspace.champion()
    assert found is not None
    return found.bundle_id


@pytest.mark.usefixtures("side_by_side")
def test_a_canary_that_nobody_asks_is_rolled_back(
    cluster: Cluster, api: Api, bundle: Bundle, workspace: Workspace, champion: str
) -> None:
    del api.services[:]
    with pytest.raises(CanaryRolledBackError, match="was asked 0 times in 1 seconds") as caught:
        roll_out(cluster, canary_spec(seconds=1), bundle, None, workspace, "s3://elec/feast", deadline=30)
    assert caught.value.report.state == "rolled_back"
    assert shares(api) == [[0], [20], [0], []], "the traffic goes first, and then the challenger"
    assert "name" not in api.services[-1]["spec"]["predictor"]
    assert in_service(api) == (champion, "older")
    assert [path.rpartition("/")[2] for path in api.objects if "/horizontalpodautoscalers/" in path] == ["elec-predictor"]


@pytest.mark.usefixtures("side_by_side")
def test_a_challenger_that_answers_wrongly_gets_no_traffic(
    cluster: Cluster, api: Api, bundle: Bundle, workspace: Workspace, champion: str
) -> None:
    del api.services[:]
    api.servers[bundle.uri] = api.servers[champion]
    with pytest.raises(BlockedError, match=r"smoke test: .* serves"):
        roll_out(cluster, canary_spec(), bundle, None, workspace, "s3://elec/feast", deadline=30)
    assert shares(api) == [[0], []]
    assert in_service(api) == (champion, "older")


def test_no_cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from kubernetes.config import kube_config

    monkeypatch.setattr(kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    with pytest.raises(InputError, match="there is no cluster to reach"):
        Cluster.connect()
    configuration = Configuration()
    configuration.host, configuration.retries = "http://127.0.0.1:9", False
    with pytest.raises(RunFailedError, match="the cluster does not answer"):
        Cluster(ApiClient(configuration)).get(manifests(SPEC, Version("s3://e/b", "toy"), feast_folder="s3://f")[0])
