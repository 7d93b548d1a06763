"""A step's work on data in Ray's workers: the manifest, and its life on an API server that plays KubeRay's operator.

The operator here runs the manifest's own entrypoint once, in a process of its own, on a made S3 and with Ray on this machine.
"""

import copy
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from benchmarks.data.made_log import made_spec, write_log
from elec import storage
from elec.cluster import jobs
from elec.cluster.data import work_on_nodes
from elec.cluster.rayjob import problems, ray_job, ray_job_name
from elec.deploy.check import pod_specs
from elec.deploy.cluster import Cluster
from elec.engine.__main__ import main as driver
from elec.errors import BlockedError, InputError, RunFailedError
from elec.ingest import SPLITS, ingest
from elec.spec import Spec, load_spec
from elec.spec.run import RunSpec
from elec.steps.data import work_on_data
from elec.steps.job import Job
from elec.version import image_tag
from tests.deploy.test_apply import Api, serving
from tests.deploy.test_surroundings import KUBERNETES, SCHEMAS
from tests.serving.made import s3_bucket

pytest.importorskip("ray")

AS_OF = datetime(2026, 1, 1, tzinfo=UTC)


def manifest(step: str = "build_features", **settings: Any) -> dict[str, Any]:
    run = RunSpec.model_validate({"data": {"engine": "ray", "workers": 3}, "cluster": settings})
    return ray_job(run, run_id="elec-x7", step=step, namespace="kubeflow", place="s3://e/d/x7", inputs=["ingested"])


def test_the_manifest_asks_for_what_the_tasks_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KFP_POD_NAME", "build-1")
    monkeypatch.setenv("KFP_POD_UID", "0-1-2")
    document = manifest(
        cpu="8",
        memory="32Gi",
        registry="images.example/team",
        s3_secret="s3",
        s3_endpoint="http://s3:9000",
        secrets={"REDIS_PASSWORD": "redis/password"},
    )
    assert problems(document) == []
    assert document["metadata"]["ownerReferences"] == [{"apiVersion": "v1", "kind": "Pod", "name": "build-1", "uid": "0-1-2"}]
    entrypoint = shlex.split(document["spec"]["entrypoint"])
    assert entrypoint[:4] == ["python", "-m", "elec.engine", "build_features"]
    assert "--ingested=s3://e/d/x7/ingested" in entrypoint
    ray = document["spec"]["rayClusterSpec"]
    (workers,) = ray["workerGroupSpecs"]
    assert workers["replicas"] == workers["minReplicas"] == workers["maxReplicas"] == 3
    assert (ray["headGroupSpec"]["rayStartParams"]["num-cpus"], workers["rayStartParams"]["num-cpus"]) == ("0", "8")
    pods = list(pod_specs([document]))
    assert len(pods) == 2
    for _, _, pod in pods:
        (container,) = pod["containers"]
        assert container["image"] == f"images.example/team/elec-training:{image_tag()}"
        assert container["resources"]["limits"] == {"cpu": "8", "memory": "32Gi"}
        variables = {entry["name"]: entry for entry in container["env"]}
        assert variables["AWS_SECRET_ACCESS_KEY"]["valueFrom"]["secretKeyRef"] == {"name": "s3", "key": "AWS_SECRET_ACCESS_KEY"}
        assert variables["REDIS_PASSWORD"]["valueFrom"]["secretKeyRef"] == {"name": "redis", "key": "password"}
        assert variables["AWS_ENDPOINT_URL"]["value"] == "http://s3:9000"


@pytest.mark.parametrize("step", ["ingest", "build_features"])
def test_the_manifest_fits_its_schema(step: str) -> None:
    document = next(yaml.safe_load_all(yaml.safe_dump(manifest(step, s3_secret="s3"))))
    schema = SCHEMAS["RayJob"]
    assert document["apiVersion"] == f"{schema['group']}/{schema['version']}"
    jsonschema.Draft202012Validator(schema["schema"]).validate(document)
    for _, labels, pod in pod_specs([document]):
        made = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "elec", "labels": dict(labels)}, "spec": pod}
        for version in KUBERNETES:
            kubernetes_validate.validate(made, version, strict=True)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("rayCluster",), {}, "spec.rayCluster: RayJob has no such field"),
        (("rayClusterSpec", "workerGroupSpecs", 0, "replicas"), "3", "replicas is '3', not int"),
        (("rayClusterSpec", "workerGroupSpecs", 0, "replicas"), 0, "has 0 replicas; give 1 or more"),
        (("rayClusterSpec", "headGroupSpec", "rayStartParams", "num-cpus"), 0, "num-cpus is 0; KubeRay takes text only"),
        (("entrypoint",), ["python"], "spec.entrypoint is ['python'], not str"),
        (("submissionMode",), "K8sJobMode", "submissionMode is K8sJobMode"),
    ],
)
def test_manifests_that_would_not_work(path: tuple[Any, ...], value: object, words: str) -> None:
    document = copy.deepcopy(manifest())
    place = document["spec"]
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    assert any(words in problem for problem in problems(document)), problems(document)


def test_a_pod_that_may_do_anything() -> None:
    document = copy.deepcopy(manifest())
    template = document["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["template"]
    template["spec"]["containers"][0].pop("securityContext")
    assert "set allowPrivilegeEscalation to false" in " ".join(problems(document))


def test_a_step_of_a_run_has_one_name() -> None:
    names = {ray_job_name(run, step) for run in ("a", "x" * 300) for step in ("ingest", "build_features")}
    assert len(names) == 4
    assert all(name.islower() and len(name) <= 47 for name in names)


class Operator(Api):
    """KubeRay's operator: it runs the entrypoint of a RayJob that is applied, once, and says how it ended."""

    def __init__(self) -> None:
        super().__init__("")
        self.state: dict[str, str] = {}
        self.run: Any = self.in_a_process

    def handle(self, method: str, path: str, query: dict[str, list[str]], body: Any, kind: str) -> tuple[int, Any]:
        assert path.startswith("/apis/ray.io/v1/namespaces/ml/rayjobs/elec-")
        status, content = super().handle(method, path, query, body, kind)
        if method == "PATCH" and status == 200:
            jsonschema.Draft202012Validator(SCHEMAS["RayJob"]["schema"]).validate(body)
            self.state = {"jobDeploymentStatus": "Running"}
            threading.Thread(target=self.work, args=(shlex.split(body["spec"]["entrypoint"]),), daemon=True).start()
        return status, content

    def work(self, entrypoint: list[str]) -> None:
        failed = self.run(entrypoint)
        done = {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"}
        self.state = {"jobDeploymentStatus": "Failed", "jobStatus": "FAILED", "message": "driver failed"} if failed else done

    def in_a_process(self, entrypoint: list[str]) -> int:
        return subprocess.run([sys.executable, *entrypoint[1:]], check=False).returncode

    def here(self, entrypoint: list[str]) -> int:
        try:
            return driver(entrypoint[3:])
        except Exception:  # A driver's process ends with a traceback.
            return 1

    def status(self, service: dict[str, Any]) -> dict[str, Any]:
        return self.state

    def methods(self) -> list[str]:
        return [method for method, _ in self.calls if method != "GET"]


@pytest.fixture
def operator() -> Operator:
    return Operator()


@pytest.fixture
def cluster(operator: Operator) -> Iterator[Cluster]:
    with serving(operator) as found:
        yield found


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    folder = tmp_path_factory.mktemp("log")
    write_log(folder, 3_000, 3, "parquet")
    with pytest.MonkeyPatch.context() as patch, s3_bucket(patch) as uri:
        for path in sorted(folder.iterdir()):
            storage.write_bytes(f"{uri}/log/{path.name}", path.read_bytes())
        content = made_spec(folder, "parquet").model_dump() | {"source": {"path": f"{uri}/log/*.parquet"}}
        run = {"data": {"engine": "ray", "workers": 2}, "feast": {"online_store": "redis", "redis": "localhost:1"}}
        spec = Spec.model_validate({"dataset": content, "run": run})
        yield Job(spec=spec, workspace=f"{uri}/ws", run_id="one", as_of=AS_OF)


def test_a_run_of_ray_from_s3_to_s3(cluster: Cluster, operator: Operator, job: Job, tmp_path: Path) -> None:
    facts = work_on_nodes(job, "ingest", {}, tmp_path / "ingested", cluster, namespace="ml")
    expected = ingest(job.spec.dataset, tmp_path / "here", as_of=AS_OF)
    assert facts == expected.model_dump(mode="json")
    for split in SPLITS:
        assert pq.read_table(tmp_path / "ingested" / f"{split}.parquet").equals(
            pq.read_table(tmp_path / "here" / f"{split}.parquet")
        )
    assert operator.methods() == ["PATCH", "DELETE"]
    assert storage.list_files(job.space.data_job("one", "ingest")) == [], "what was staged and exchanged is gone"


def test_what_the_driver_says_is_what_the_user_reads(cluster: Cluster, operator: Operator, job: Job, tmp_path: Path) -> None:
    operator.run = operator.here
    source = {"path": job.spec.dataset.source.path.replace("*.parquet", "none*.parquet")}
    dataset = job.spec.dataset.model_copy(update={"source": job.spec.dataset.source.model_copy(update=source)})
    wrong = job.model_copy(update={"run_id": "wrong", "spec": job.spec.model_copy(update={"dataset": dataset})})
    with pytest.raises(InputError, match="the pattern matches no object"):
        work_on_nodes(wrong, "ingest", {}, tmp_path / "ingested", cluster, namespace="ml")
    assert operator.objects == {}
    assert not (tmp_path / "ingested").exists()


def test_data_that_must_not_be_used_blocks(cluster: Cluster, operator: Operator, job: Job, tmp_path: Path) -> None:
    operator.run = operator.here
    log = job.spec.dataset.source.path
    rows = pq.read_table(pa.BufferReader(storage.read_bytes(log.replace("*", "day0000"))))
    labels = pa.array([number % 2 * 7 for number in range(len(rows))])
    sink = pa.BufferOutputStream()
    pq.write_table(rows.set_column(rows.column_names.index("clicked"), "clicked", labels), sink)
    path = log.replace("log/*", "bad/day")
    storage.write_bytes(path, sink.getvalue().to_pybytes())
    source = job.spec.dataset.source.model_copy(update={"path": path})
    dataset = job.spec.dataset.model_copy(update={"source": source})
    bad = job.model_copy(update={"run_id": "bad", "spec": job.spec.model_copy(update={"dataset": dataset})})
    with pytest.raises(BlockedError, match=r"500 of 1,000 rows \(50\.0%\) are refused"):
        work_on_nodes(bad, "ingest", {}, tmp_path / "ingested", cluster, namespace="ml")


def test_a_failure_without_words_is_the_clusters(cluster: Cluster, operator: Operator, job: Job, tmp_path: Path) -> None:
    operator.run = lambda entrypoint: 1
    lost = job.model_copy(update={"run_id": "lost"})
    with pytest.raises(RunFailedError, match=r"RayJob elec-[0-9a-f]{16} failed: driver failed; a worker may have been lost"):
        work_on_nodes(lost, "ingest", {}, tmp_path / "ingested", cluster, namespace="ml")
    assert operator.methods() == ["PATCH", "DELETE"]


def test_a_task_that_is_tried_again_only_fetches(cluster: Cluster, operator: Operator, job: Job, tmp_path: Path) -> None:
    place = job.space.data_job("again", "ingest")
    storage.write_bytes(storage.join(place, "output", "report.json"), b"{}")
    storage.write_bytes(storage.join(place, "report.json"), orjson.dumps({"facts": {"rows_read": 1}}))
    again = job.model_copy(update={"run_id": "again"})
    assert work_on_nodes(again, "ingest", {}, tmp_path / "ingested", cluster, namespace="ml") == {"rows_read": 1}
    assert operator.calls == []
    assert (tmp_path / "ingested" / "report.json").exists()


def test_a_pods_step_asks_the_cluster(job: Job, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "namespace").write_text("ml\n")
    monkeypatch.setattr(jobs, "_NAMESPACE", tmp_path / "namespace")
    place = job.space.data_job("pod", "ingest")
    storage.write_bytes(storage.join(place, "output", "report.json"), b"{}")
    storage.write_bytes(storage.join(place, "report.json"), orjson.dumps({"facts": {"rows_read": 2}}))
    pod = job.model_copy(update={"run_id": "pod"})
    assert work_on_data(pod, "ingest", {}, tmp_path / "ingested") == {"rows_read": 2}


def test_what_pods_do_not_see(job: Job, tmp_path: Path) -> None:
    for update, words in (
        ({"workspace": str(tmp_path)}, "the workspace is /"),
        ({"spec": load_spec("movielens-100k")}, r"source\.path is "),
    ):
        with pytest.raises(InputError, match=rf"run\.data\.engine is ray, but {words}.*which other pods do not see"):
            work_on_nodes(job.model_copy(update=update), "ingest", {}, tmp_path / "out")


def test_the_task_that_only_waits_is_small(tmp_path: Path) -> None:
    from pipelines.compiled import compile_pipeline
    from pipelines.retraining import retraining_pipeline

    spec = load_spec("movielens-100k")
    found = {}
    for engine in ("local", "ray"):
        data = spec.run.data.model_copy(update={"engine": engine})
        made = spec.model_copy(update={"run": spec.run.model_copy(update={"data": data})})
        path = compile_pipeline(retraining_pipeline(made, workspace="s3://elec"), tmp_path / f"{engine}.yaml")
        executors = next(yaml.safe_load_all(path.read_text()))["deploymentSpec"]["executors"]
        found[engine] = executors["exec-build-features"]["container"]["resources"]["resourceMemoryLimit"]
    assert found == {"local": "16G", "ray": "2G"}
