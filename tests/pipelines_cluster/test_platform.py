"""What `place` leaves in the compiled pipeline, and in a run on a laptop."""

import pytest
import yaml
from kfp import compiler, dsl, local

from elec.spec.run import ClusterSpec
from pipelines.platform import place


@dsl.component(base_image="elec-training:1", install_kfp_package=False)
def work(name: str) -> str:
    return name + "!"


def compiled(tmp_path, cluster, **settings):
    @dsl.pipeline(name="placed")
    def placed(name: str = "you") -> None:
        place(work(name=name), cluster, **settings)

    path = tmp_path / "placed.yaml"
    compiler.Compiler().compile(placed, str(path))
    pipeline, *platform = yaml.safe_load_all(path.read_text())
    container = pipeline["deploymentSpec"]["executors"]["exec-work"]["container"]
    kubernetes = platform[0]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-work"]
    return container, kubernetes, pipeline["root"]["dag"]["tasks"]["work"]


def test_a_gpu_task(tmp_path):
    cluster = ClusterSpec(gpus=2, node_selector={"pool": "gpu", "zone": "a"}, toleration="dedicated", cpu="8", memory="32Gi")
    container, kubernetes, _ = compiled(tmp_path, cluster, gpu=True)
    assert container["resources"]["accelerator"]["resourceType"] == "nvidia.com/gpu"
    assert container["resources"]["accelerator"]["resourceCount"] == "2"
    assert container["resources"]["resourceCpuLimit"] == "8"
    assert container["resources"]["resourceMemoryLimit"] == "32Gi"
    assert kubernetes["nodeSelector"]["labels"] == {"pool": "gpu", "zone": "a"}
    assert kubernetes["tolerations"] == [{"key": "dedicated", "operator": "Exists", "effect": "NoSchedule"}]


@pytest.mark.parametrize(("gpus", "gpu"), [(0, True), (1, False)])
def test_a_cpu_task_stays_off_the_gpu_pool(tmp_path, gpus, gpu):
    container, kubernetes, _ = compiled(tmp_path, ClusterSpec(gpus=gpus), gpu=gpu)
    assert "accelerator" not in container["resources"]
    assert "nodeSelector" not in kubernetes
    assert "tolerations" not in kubernetes


def test_credentials_come_from_secrets_by_name(tmp_path):
    cluster = ClusterSpec(s3_secret="s3", s3_endpoint="http://s3:8333", secrets={"REDIS_PASSWORD": "redis/password"})
    container, kubernetes, _ = compiled(tmp_path, cluster)
    assert container["env"] == [{"name": "AWS_ENDPOINT_URL", "value": "http://s3:8333"}]
    found = {
        pair["envVar"]: (secret["secretName"], pair["secretKey"])
        for secret in kubernetes["secretAsEnv"]
        for pair in secret["keyToEnv"]
    }
    assert found == {
        "AWS_ACCESS_KEY_ID": ("s3", "AWS_ACCESS_KEY_ID"),
        "AWS_SECRET_ACCESS_KEY": ("s3", "AWS_SECRET_ACCESS_KEY"),
        "REDIS_PASSWORD": ("redis", "password"),
    }


def test_no_secret_is_asked_for_where_none_is_set(tmp_path):
    container, kubernetes, _ = compiled(tmp_path, ClusterSpec())
    assert "env" not in container
    assert kubernetes == {"securityContext": {"runAsNonRoot": True}}


def test_the_registry_is_put_in_front(tmp_path):
    container, _, _ = compiled(tmp_path, ClusterSpec(registry="registry.example:5000/team/"))
    assert container["image"] == "registry.example:5000/team/elec-training:1"


def test_nothing_is_cached_unless_asked_for(tmp_path):
    assert "enableCache" not in compiled(tmp_path, ClusterSpec())[2]["cachingOptions"]
    assert compiled(tmp_path, ClusterSpec(), cached=True)[2]["cachingOptions"]["enableCache"] is True


def test_retries_wait_longer_each_time(tmp_path):
    task = compiled(tmp_path, ClusterSpec(retries=3))[2]
    assert task["retryPolicy"] == {
        "maxRetryCount": 3,
        "backoffDuration": "30s",
        "backoffFactor": 2.0,
        "backoffMaxDuration": "600s",
    }
    assert "retryPolicy" not in compiled(tmp_path, ClusterSpec(), retry=False)[2]
    assert "retryPolicy" not in compiled(tmp_path, ClusterSpec(retries=0))[2]


def test_a_light_task_asks_for_little(tmp_path):
    container, _, _ = compiled(tmp_path, ClusterSpec(cpu="32", memory="256G"), light=True)
    assert container["resources"]["resourceCpuLimit"] == "1"
    assert container["resources"]["resourceMemoryLimit"] == "2G"


@pytest.mark.parametrize(
    "wrong",
    [
        {"cpu": "four"},
        {"cpu": "0.5m"},
        {"memory": "16 GB"},
        {"memory": "1.5G"},
        {"retries": -1},
        {"secrets": {"REDIS_PASSWORD": "redis"}},
        {"secrets": {"redis-password": "redis/password"}},
        {"secrets": {"REDIS_PASSWORD": "a/b/c"}},
    ],
)
def test_settings_that_the_cluster_would_refuse(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        ClusterSpec(**wrong)


def test_a_laptop_runs_the_same_pipeline(tmp_path, monkeypatch):
    # `local.init` would change what calling a component means for every later test of this process.
    monkeypatch.setattr(local.config.LocalExecutionConfig, "instance", None)
    cluster = ClusterSpec(gpus=8, s3_secret="s3", registry="registry.example", retries=0)

    @dsl.pipeline(name="here")
    def here(name: str) -> str:
        return place(work(name=name), cluster, gpu=True).output

    local.init(runner=local.SubprocessRunner(use_venv=False), pipeline_root=str(tmp_path))
    assert here(name="you").output == "you!"
