"""Compiling: only what has passed the check is written, and in one step."""

import importlib.util

import pytest
import yaml
from kfp import dsl

from elec.errors import InputError, RunFailedError
from elec.version import image_tag
from pipelines.compiled import compile_pipeline
from pipelines.yaml_check import check_compiled


def pipeline(image):
    @dsl.component(base_image=image, install_kfp_package=False)
    def greet(name: str) -> str:
        return name

    @dsl.pipeline(name="greeting")
    def greeting(name: str = "you") -> None:
        greet(name=name)

    return greeting


def test_the_file_is_a_checked_pipeline(tmp_path):
    path = compile_pipeline(pipeline(f"elec-training:{image_tag()}"), tmp_path / "new" / "greeting.yaml")
    assert path == tmp_path / "new" / "greeting.yaml"
    assert check_compiled(path, tag=image_tag()) == []
    assert next(yaml.safe_load_all(path.read_text()))["pipelineInfo"]["name"] == "greeting"


def test_a_pipeline_that_would_fail_replaces_nothing(tmp_path):
    path = tmp_path / "greeting.yaml"
    path.write_text("before")
    with pytest.raises(RunFailedError, match=r"not written.*not of this code's version"):
        compile_pipeline(pipeline("elec-training:other"), path)
    assert path.read_text() == "before"


@pytest.mark.parametrize("name", ["greeting", "greeting.json"])
def test_another_ending_is_refused(tmp_path, name):
    with pytest.raises(InputError, match=r"\.yaml or \.yml"):
        compile_pipeline(pipeline("elec-training:1"), tmp_path / name)


def test_a_place_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="cannot be written"):
        compile_pipeline(pipeline(f"elec-training:{image_tag()}"), tmp_path / "file" / "greeting.yaml")


@pytest.mark.parametrize("registry", ["", "registry.example:5000/team"])
def test_the_retraining_pipeline_resolves(tmp_path, registry):
    if importlib.util.find_spec("pipelines.retraining") is None:
        pytest.skip("the retraining pipeline is not there")
    from elec.spec import load_spec
    from pipelines.retraining import retraining_pipeline

    spec = load_spec("movielens-100k")
    cluster = spec.run.cluster.model_copy(update={"registry": registry, "s3_secret": "s3", "gpus": 2})
    spec = spec.model_copy(update={"run": spec.run.model_copy(update={"cluster": cluster})})
    path = compile_pipeline(retraining_pipeline(spec, workspace="s3://elec"), tmp_path / "retraining.yaml")

    pipeline, platform = yaml.safe_load_all(path.read_text())
    executors = pipeline["deploymentSpec"]["executors"]
    placed = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(placed) == set(executors)
    prefix = f"{registry}/" if registry else ""
    assert {executor["container"]["image"] for executor in executors.values()} == {f"{prefix}elec-training:{image_tag()}"}
    assert all(settings["securityContext"]["runAsNonRoot"] for settings in placed.values())
    on_gpu = {label for label, executor in executors.items() if "accelerator" in executor["container"]["resources"]}
    assert on_gpu == {"exec-encode-text", "exec-adapt-llm", "exec-distill"}
    assert all(("tolerations" in settings) == (label in on_gpu) for label, settings in placed.items())
    # What has side effects is never answered from a cache.
    dags = [pipeline["root"], *pipeline["components"].values()]
    options = {name: task.get("cachingOptions") for dag in dags for name, task in dag.get("dag", {}).get("tasks", {}).items()}
    assert {name: options[name] for name in ("deploy", "report", "stop")} == {"deploy": {}, "report": {}, "stop": {}}
