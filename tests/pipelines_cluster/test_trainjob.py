"""Training on several nodes: the manifest, and its life on an API server on loopback that plays Kubeflow Trainer's controller.

The controller here runs the manifest's own command once, in this process, on a made S3.
"""

import copy
import os
import signal
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml

from elec import storage
from elec.cluster.jobs import stage
from elec.cluster.launch import LAST, train_on_nodes
from elec.cluster.trainjob import problems, train_job, train_job_name
from elec.deploy.cluster import Cluster
from elec.errors import InputError, RunFailedError
from elec.spec import load_spec
from elec.spec.run import ClusterSpec
from elec.steps.job import Job
from elec.training.__main__ import main as worker
from elec.version import image_tag
from tests.deploy.test_apply import Api, serving
from tests.serving.made import s3_bucket
from tests.training.prepared import prepare

INPUTS = ("features", "texts", "mllm")


def manifest(**settings: Any) -> dict[str, Any]:
    cluster = ClusterSpec.model_validate({"nodes": 3} | settings)
    return train_job(cluster, run_id="elec-retraining-x7", namespace="kubeflow", place="s3://e/t/x7", inputs=INPUTS)


def pod_of(document: dict[str, Any]) -> dict[str, Any]:
    (patch,) = document["spec"]["runtimePatches"]
    (job,) = patch["trainingRuntimeSpec"]["template"]["spec"]["replicatedJobs"]
    assert job["name"] == "node"
    return job["template"]["spec"]["template"]["spec"]


def test_the_manifest_asks_for_what_the_tasks_ask_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KFP_POD_NAME", "distill-1")
    monkeypatch.setenv("KFP_POD_UID", "0-1-2")
    document = manifest(
        gpus=2,
        node_selector={"pool": "a100"},
        toleration="gpu-only",
        cpu="8",
        memory="32Gi",
        registry="images.example/team",
        s3_secret="s3",
        s3_endpoint="http://s3:9000",
        secrets={"REDIS_PASSWORD": "redis/password"},
    )
    assert problems(document, taint="gpu-only") == []
    assert (document["apiVersion"], document["kind"]) == ("trainer.kubeflow.org/v1alpha1", "TrainJob")
    assert document["spec"]["runtimeRef"]["name"] == "torch-distributed"
    assert document["metadata"]["ownerReferences"] == [{"apiVersion": "v1", "kind": "Pod", "name": "distill-1", "uid": "0-1-2"}]
    trainer = document["spec"]["trainer"]
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (3, 2)
    assert trainer["image"] == f"images.example/team/elec-training:{image_tag()}"
    amounts = {"cpu": "8", "memory": "32Gi", "nvidia.com/gpu": 2}
    assert trainer["resourcesPerNode"] == {"requests": amounts, "limits": amounts}
    assert [*trainer["command"], *trainer["args"][:2]] == ["torchrun", "-m", "elec.training"]
    assert "--features=s3://e/t/x7/features" in trainer["args"]
    variables = {entry["name"]: entry for entry in trainer["env"]}
    assert variables["AWS_SECRET_ACCESS_KEY"]["valueFrom"]["secretKeyRef"] == {"name": "s3", "key": "AWS_SECRET_ACCESS_KEY"}
    assert variables["REDIS_PASSWORD"]["valueFrom"]["secretKeyRef"] == {"name": "redis", "key": "password"}
    assert variables["AWS_ENDPOINT_URL"]["value"] == "http://s3:9000"
    pod = pod_of(document)
    assert pod["nodeSelector"] == {"pool": "a100"}
    assert pod["tolerations"] == [{"key": "gpu-only", "operator": "Exists", "effect": "NoSchedule"}]


def test_cpu_nodes_ask_for_no_gpu() -> None:
    document = manifest(gpus=0)
    assert problems(document) == []
    assert "nvidia" not in yaml.safe_dump(document)
    assert document["spec"]["trainer"]["numProcPerNode"] == 1


def test_a_run_has_one_name_that_the_cluster_takes() -> None:
    names = {train_job_name(run) for run in ("20260101T000000-a-1", "x" * 300, "Run_ÄÖ")}
    assert len(names) == 3
    assert all(name.islower() and len(name) < 64 for name in names)


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (("podTemplateOverrides",), [], "spec.podTemplateOverrides: TrainJob has no such field"),
        (("trainer", "numNodes"), "3", "spec.trainer.numNodes is '3', not int"),
        (("trainer", "numNodes"), 0, "numNodes is 0; give 1 or more"),
        (("trainer", "args"), "-m elec.training", "spec.trainer.args is '-m elec.training', not a list"),
        (("trainer", "env"), [{"name": "PET_NNODES", "value": "2"}], "PET_NNODES is the runtime's to set"),
        (("trainer", "resourcesPerNode", "limits"), {"cpu": "1", "memory": "1G", "nvidia.com/gpu": 1.5}, "GPUs come whole"),
        (("runtimePatches", 0, "manager"), "elec", "not of the form domain/name"),
    ],
)
def test_manifests_that_would_not_work(path: tuple[Any, ...], value: object, words: str) -> None:
    document = copy.deepcopy(manifest())
    place = document["spec"]
    for part in path[:-1]:
        place = place[part]
    place[path[-1]] = value
    assert any(words in problem for problem in problems(document)), problems(document)


def test_a_pod_that_nobody_lets_in_or_that_may_do_anything() -> None:
    document = copy.deepcopy(manifest())
    del pod_of(document)["tolerations"]
    pod_of(document)["containers"][0].pop("securityContext")
    found = " ".join(problems(document))
    assert "does not tolerate the taint" in found
    assert "set allowPrivilegeEscalation to false" in found


class Trainer(Api):
    """The controller: it runs the command of a TrainJob that is applied, once, and says how it ended."""

    def __init__(self, work: bool = True) -> None:
        super().__init__("")
        self.work = work
        self.conditions: list[dict[str, str]] = []
        self.broken_looks = 0
        self.active = 1

    def handle(self, method: str, path: str, query: dict[str, list[str]], body: Any, kind: str) -> tuple[int, Any]:
        assert path.startswith("/apis/trainer.kubeflow.org/v1alpha1/namespaces/ml/trainjobs/elec-")
        if method == "GET" and self.broken_looks and path in self.objects:
            self.broken_looks -= 1
            return 503, {"kind": "Status", "message": "restarting"}
        if method == "DELETE":
            self.conditions = []
        status, content = super().handle(method, path, query, body, kind)
        if method == "PATCH" and status == 200:
            assert problems(body) == []
            self.conditions = []
            if self.work:
                threading.Thread(target=self.run, args=(body["spec"]["trainer"]["args"],), daemon=True).start()
        return status, content

    def run(self, arguments: list[str]) -> None:
        try:
            failed = worker(arguments[2:])
        except Exception:  # A worker's process ends with a traceback.
            failed = 1
        self.conditions = [{"type": "Failed" if failed else "Complete", "status": "True", "message": "jobset failed"}]

    def status(self, generation: int) -> dict[str, Any]:
        return {"conditions": self.conditions, "jobsStatus": [{"name": "node", "active": self.active}]}

    def methods(self) -> list[str]:
        return [method for method, _ in self.calls if method != "GET"]


@pytest.fixture
def trainer() -> Trainer:
    return Trainer()


@pytest.fixture
def cluster(trainer: Trainer) -> Iterator[Cluster]:
    with serving(trainer) as found:
        yield found


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Job]]:
    folder = tmp_path_factory.mktemp("prepared")
    with pytest.MonkeyPatch.context() as patch, s3_bucket(patch) as uri:
        yield folder, prepare(folder, uri, run={"cluster": {"nodes": 2}, "distill": {"epochs": 1}})


def inputs(folder: Path) -> dict[str, Path]:
    return {name: folder / name for name in INPUTS}


def test_staged_trained_fetched_and_removed(
    cluster: Cluster, trainer: Trainer, prepared: tuple[Path, Job], tmp_path: Path
) -> None:
    folder, job = prepared
    trainer.broken_looks = 2
    facts = train_on_nodes(job, inputs(folder), tmp_path / "model", cluster, namespace="ml")
    assert set(facts["best_epochs"]) == {"vanilla", "gain", "plain"}
    assert facts["curves"]["vanilla"][0]["epoch"] == 1
    assert (tmp_path / "model" / "vanilla.safetensors").stat().st_size > 0
    assert (tmp_path / "model" / "predictions" / "test.parquet").exists()
    assert trainer.methods() == ["PATCH", "DELETE"]
    assert trainer.objects == {}
    assert storage.list_files(job.space.train_job(job.run_id)) == [], "what was staged is gone"
    assert storage.list_files(storage.join(job.workspace, "snapshots")) == []


def test_what_a_worker_says_is_what_the_user_reads(
    cluster: Cluster, trainer: Trainer, prepared: tuple[Path, Job], tmp_path: Path
) -> None:
    folder, job = prepared
    job = job.model_copy(update={"run_id": "broken"})
    place = job.space.train_job("broken")
    stage(job, inputs(folder), place, LAST)
    storage.write_bytes(storage.join(place, "features", "encoded", "valid.parquet"), b"not Parquet")
    with pytest.raises(RunFailedError, match=r"a worker failed: .*Parquet"):
        train_on_nodes(job, inputs(folder), tmp_path / "model", cluster, namespace="ml")
    assert trainer.objects == {}
    assert not (tmp_path / "model").exists()


def test_a_failure_without_words_is_the_clusters(
    cluster: Cluster, trainer: Trainer, prepared: tuple[Path, Job], tmp_path: Path
) -> None:
    folder, job = prepared
    trainer.run = lambda _: trainer.conditions.append(  # type: ignore[method-assign]
        {"type": "Failed", "status": "True", "message": "jobset failed due to job failures"}
    )
    with pytest.raises(RunFailedError, match=r"TrainJob elec-[0-9a-f]{16} failed: jobset failed due to job failures; a worker"):
        train_on_nodes(job.model_copy(update={"run_id": "lost"}), inputs(folder), tmp_path / "model", cluster, namespace="ml")
    assert trainer.methods() == ["PATCH", "DELETE"]


def test_workers_that_never_start(
    cluster: Cluster, trainer: Trainer, prepared: tuple[Path, Job], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from elec.cluster import jobs

    folder, job = prepared
    monkeypatch.setattr(jobs, "_SECONDS_TO_START", 0.1)
    trainer.work, trainer.active = False, 0
    with pytest.raises(RunFailedError, match=r"has no node after 0\.1 seconds"):
        train_on_nodes(job.model_copy(update={"run_id": "queue"}), inputs(folder), tmp_path / "model", cluster, namespace="ml")
    assert trainer.objects == {}


def finished(job: Job, place: str, trainer: Trainer) -> None:
    """What the workers leave when they are done."""
    storage.write_bytes(storage.join(place, "model", "model.json"), b"{}")
    storage.write_bytes(storage.join(place, "report.json"), orjson.dumps({"facts": {"best_epochs": {"vanilla": 1}}}))
    trainer.conditions = [{"type": "Complete", "status": "True"}]


def test_a_task_that_is_tried_again_waits_for_the_workers_of_the_one_before(
    cluster: Cluster, trainer: Trainer, prepared: tuple[Path, Job], tmp_path: Path
) -> None:
    folder, job = prepared
    job, trainer.work = job.model_copy(update={"run_id": "again"}), False
    place = job.space.train_job("again")
    cluster.apply(train_job(job.spec.run.cluster, run_id="again", namespace="ml", place=place, inputs=INPUTS))
    threading.Timer(0.2, finished, args=(job, place, trainer)).start()
    assert train_on_nodes(job, inputs(folder), tmp_path / "model", cluster, namespace="ml")["best_epochs"] == {"vanilla": 1}
    assert trainer.methods() == ["PATCH", "DELETE"], "the PATCH is the first task's"

    # And where the workers are done and even the TrainJob is gone, only the model is fetched.
    finished(job, place, trainer)
    trainer.calls.clear()
    train_on_nodes(job, inputs(folder), tmp_path / "model-2", cluster, namespace="ml")
    assert trainer.calls == []


def test_one_that_failed_before_is_replaced(
    cluster: Cluster, trainer: Trainer, prepared: tuple[Path, Job], tmp_path: Path
) -> None:
    folder, job = prepared
    job, trainer.work = job.model_copy(update={"run_id": "replaced"}), False
    place = job.space.train_job("replaced")
    cluster.apply(train_job(job.spec.run.cluster, run_id="replaced", namespace="ml", place=place, inputs=INPUTS))
    trainer.conditions = [{"type": "Failed", "status": "True"}]
    storage.write_bytes(storage.join(place, "report.json"), orjson.dumps({"error": {"message": "old", "input": True}}))
    trainer.work = True
    train_on_nodes(job, inputs(folder), tmp_path / "model", cluster, namespace="ml")
    assert trainer.methods() == ["PATCH", "DELETE", "PATCH", "DELETE"]


def test_a_run_that_is_stopped_takes_its_workers_along(
    cluster: Cluster, trainer: Trainer, prepared: tuple[Path, Job], tmp_path: Path
) -> None:
    folder, job = prepared
    before = signal.getsignal(signal.SIGTERM)
    trainer.run = lambda _: os.kill(os.getpid(), signal.SIGTERM)  # type: ignore[method-assign]
    with pytest.raises(SystemExit):
        train_on_nodes(job.model_copy(update={"run_id": "stop"}), inputs(folder), tmp_path / "model", cluster, namespace="ml")
    assert trainer.methods() == ["PATCH", "DELETE"]
    assert signal.getsignal(signal.SIGTERM) == before


def test_a_workspace_that_nodes_do_not_share(prepared: tuple[Path, Job], tmp_path: Path) -> None:
    folder, job = prepared
    local = job.model_copy(update={"workspace": str(tmp_path)})
    with pytest.raises(InputError, match=r"run\.cluster\.nodes is 2, but the workspace .* is a folder"):
        train_on_nodes(local, inputs(folder), tmp_path / "model")


def test_the_task_that_only_waits_asks_for_no_gpu(tmp_path: Path) -> None:
    from pipelines.compiled import compile_pipeline
    from pipelines.retraining import retraining_pipeline

    spec = load_spec("movielens-100k")
    cluster = spec.run.cluster.model_copy(update={"gpus": 2, "nodes": 2})
    spec = spec.model_copy(update={"run": spec.run.model_copy(update={"cluster": cluster})})
    path = compile_pipeline(retraining_pipeline(spec, workspace="s3://elec"), tmp_path / "retraining.yaml")
    executors = next(yaml.safe_load_all(path.read_text()))["deploymentSpec"]["executors"]
    on_gpu = {label for label, executor in executors.items() if "accelerator" in executor["container"]["resources"]}
    assert on_gpu == {"exec-encode-text", "exec-adapt-llm"}
