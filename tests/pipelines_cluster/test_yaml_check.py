"""A healthy pipeline passes; each kind of damage that Kubeflow's parser lets through is found."""

import copy

import pytest
import yaml
from kfp import compiler, dsl
from kfp.dsl import Collected, Dataset, Input, Output, PipelineTaskFinalStatus

from elec.spec.run import ClusterSpec
from pipelines.platform import place
from pipelines.yaml_check import check_compiled

IMAGE = "elec-training:abc123"
CLUSTER = ClusterSpec(registry="registry.example:5000/team", s3_secret="s3")


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def read(source: str, rows: Output[Dataset]) -> list[int]:
    return [0]


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def encode(shard: int, rows: Input[Dataset], limit: int = 3) -> int:
    return shard


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def decide(encoded: list[int]) -> str:
    return "promote"


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def publish(verdict: str) -> str:
    return verdict


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def report(source: str, status: PipelineTaskFinalStatus) -> None:
    pass


@dsl.pipeline(name="healthy")
def healthy(source: str = "s3://bucket/log") -> None:
    page = place(report(source=source), CLUSTER)
    with dsl.ExitHandler(page, name="body"):
        log = place(read(source=source), CLUSTER)
        with dsl.ParallelFor(log.outputs["Output"], name="shards") as shard:
            vectors = place(encode(shard=shard, rows=log.outputs["rows"]), CLUSTER, gpu=True)
        verdict = place(decide(encoded=Collected(vectors.output)), CLUSTER)
        with dsl.If(verdict.output == "promote", name="promote") as branch:
            yes = place(publish(verdict=verdict.output), CLUSTER)
        with dsl.Else(name="keep"):
            no = place(publish(verdict="keep"), CLUSTER)
        place(publish(verdict=dsl.OneOf(yes.output, no.output)), CLUSTER)
    assert branch


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    path = tmp_path_factory.mktemp("compiled") / "healthy.yaml"
    compiler.Compiler().compile(healthy, str(path))
    assert check_compiled(path) == []
    return path.read_text()


@pytest.fixture
def documents(text):
    return copy.deepcopy(list(yaml.safe_load_all(text)))


def found(documents, **settings):
    return check_compiled(yaml.safe_dump_all(documents), **settings)


def test_a_healthy_pipeline_has_no_problems(documents):
    assert found(documents, tag="abc123") == []


def tasks(pipeline, component):
    dag = pipeline["root"] if component == "root" else pipeline["components"][component]
    return dag["dag"]["tasks"]


def body(pipeline):
    return tasks(pipeline, "comp-exit-handler-1")


def loop(pipeline):
    return tasks(pipeline, "comp-for-loop-2")["encode"]


def executor(pipeline, name="exec-read"):
    return pipeline["deploymentSpec"]["executors"][name]


def given(task, name, kind="parameters"):
    return task["inputs"][kind][name]


def renamed(mapping, old, new):
    mapping[new] = mapping.pop(old)


DAMAGE = {
    "component gone": (lambda p: p["components"].pop("comp-decide"), "componentRef 'comp-decide' is no component"),
    "component unused": (lambda p: p["components"].update(extra=p["components"]["comp-read"]), "extra is called by no task"),
    "executor gone": (lambda p: p["deploymentSpec"]["executors"].pop("exec-read"), "executorLabel 'exec-read' is no executor"),
    "executor unused": (lambda p: p["deploymentSpec"]["executors"].update(extra=executor(p)), "executor extra belongs to no"),
    "neither": (lambda p: p["components"]["comp-read"].pop("executorLabel"), "neither a dag nor an executorLabel"),
    "dependent task": (
        lambda p: body(p)["decide"].update(dependentTasks=["nobody", "for-loop-2"]),
        "'nobody' is no other task",
    ),
    "waits for itself": (lambda p: body(p)["read"].update(dependentTasks=["read"]), "'read' is no other task"),
    "cycle": (
        lambda p: body(p)["read"].update(dependentTasks=["decide"]),
        "the tasks decide, for-loop-2, read wait for one another",
    ),
    "does not wait": (lambda p: body(p)["decide"].pop("dependentTasks"), "reads what 'for-loop-2' gives, but does not wait"),
    "producer of a parameter": (
        lambda p: given(body(p)["decide"], "encoded")["taskOutputParameter"].update(producerTask="ghost"),
        "producerTask 'ghost' is no task of comp-exit-handler-1",
    ),
    "output parameter": (
        lambda p: given(body(p)["decide"], "encoded")["taskOutputParameter"].update(outputParameterKey="Outptu"),
        "'for-loop-2' has no output 'Outptu' among its parameters",
    ),
    "output artifact": (
        lambda p: given(body(p)["for-loop-2"], "pipelinechannel--read-rows", "artifacts")["taskOutputArtifact"].update(
            outputArtifactKey="columns"
        ),
        "'read' has no output 'columns' among its artifacts",
    ),
    "input parameter": (
        lambda p: given(loop(p), "shard").update(componentInputParameter="nothing"),
        "comp-for-loop-2 has no input 'nothing' among its parameters",
    ),
    "input artifact": (
        lambda p: given(loop(p), "rows", "artifacts").update(componentInputArtifact="nothing"),
        "comp-for-loop-2 has no input 'nothing' among its artifacts",
    ),
    "input of the component": (lambda p: renamed(loop(p)["inputs"]["parameters"], "shard", "shrad"), "no input 'shrad'"),
    "input not given": (lambda p: loop(p)["inputs"]["parameters"].pop("shard"), "input 'shard' is not given"),
    "value from nowhere": (lambda p: loop(p)["inputs"]["parameters"].update(shard={}), "comes from nowhere"),
    "final status": (
        lambda p: given(tasks(p, "root")["report"], "status")["taskFinalStatus"].update(producerTask="ghost"),
        "producerTask 'ghost' is no task of root",
    ),
    "iterated input": (
        lambda p: body(p)["for-loop-2"]["parameterIterator"]["items"].update(inputParameter="ghost"),
        "iterates over 'ghost'",
    ),
    "iterated item": (
        lambda p: body(p)["for-loop-2"]["parameterIterator"].update(itemInput="ghost"),
        "no input 'ghost' for the item",
    ),
    "condition": (
        lambda p: tasks(p, "comp-condition-branches-3")["condition-4"]["triggerPolicy"].update(
            condition="inputs.parameter_values['ghost'] == 'promote'"
        ),
        "condition asks for 'ghost'",
    ),
    "output of a loop": (
        lambda p: p["components"]["comp-for-loop-2"]["dag"]["outputs"]["parameters"]["pipelinechannel--encode-Output"][
            "valueFromParameter"
        ].update(producerSubtask="ghost"),
        "producerTask 'ghost' is no task of comp-for-loop-2",
    ),
    "output of a branch": (
        lambda p: next(iter(p["components"]["comp-condition-branches-3"]["dag"]["outputs"]["parameters"].values()))[
            "valueFromOneof"
        ]["parameterSelectors"][0].update(producerSubtask="ghost"),
        "producerTask 'ghost' is no task of comp-condition-branches-3",
    ),
    "output undefined": (
        lambda p: p["components"]["comp-for-loop-2"].pop("outputDefinitions"),
        "not among the parameters that comp-for-loop-2 defines",
    ),
    "empty DAG": (lambda p: p["components"]["comp-for-loop-2"]["dag"].update(tasks={}), "a DAG without tasks"),
    "boolean name": (
        lambda p: renamed(p["root"]["inputDefinitions"]["parameters"], "source", "y"),
        "takes the name 'y' in inputDefinitions for a boolean",
    ),
    "no image": (lambda p: executor(p)["container"].pop("image"), "exec-read names no image"),
    "no tag": (lambda p: executor(p)["container"].update(image="registry.example:5000/team/elec"), "has no tag"),
    "latest": (lambda p: executor(p)["container"].update(image="elec-training:latest"), "is not fixed"),
    "schema": (lambda p: p.update(schemaVersion="1.0"), "schemaVersion is '1.0'"),
    "pipeline name": (lambda p: p["pipelineInfo"].pop("name"), "pipelineInfo has no name"),
    "root": (lambda p: p.pop("root"), "no 'root'"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_to_the_pipeline(documents, damage):
    change, problem = DAMAGE[damage]
    change(documents[0])
    assert any(problem in sentence for sentence in found(documents)), found(documents)


def platform_executors(document):
    return document["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


PLATFORM_DAMAGE = {
    "executor": (lambda d: renamed(platform_executors(d), "exec-read", "exec-raed"), "exec-raed is no executor"),
    "field": (lambda d: platform_executors(d)["exec-read"].update(nodeSelecter={}), "nodeSelecter"),
    "platform": (lambda d: renamed(d["platforms"], "kubernetes", "kubernets"), "platform 'kubernets' is unknown"),
    "document": (lambda d: renamed(d, "platforms", "platform"), "no 'platforms'"),
    "operator": (
        lambda d: platform_executors(d)["exec-encode"]["tolerations"][0].update(operator="Exist"),
        "Kubernetes knows no such toleration",
    ),
    "effect": (
        lambda d: platform_executors(d)["exec-encode"]["tolerations"][0].update(effect="NoScheduling"),
        "Kubernetes knows no such toleration",
    ),
    "value": (lambda d: platform_executors(d)["exec-encode"]["tolerations"][0].update(value="x"), "takes no value"),
    "secret": (
        lambda d: platform_executors(d)["exec-read"].update(secretAsEnv=[{"keyToEnv": []}]),
        "a secret has no name",
    ),
}


@pytest.mark.parametrize("damage", PLATFORM_DAMAGE)
def test_damage_to_the_platform(documents, damage):
    change, problem = PLATFORM_DAMAGE[damage]
    change(documents[1])
    assert any(problem in sentence for sentence in found(documents)), found(documents)


@pytest.mark.parametrize(("plain", "seen"), [("n", "'n'"), ("no", "False")])
def test_a_plain_boolean_key_is_noticed_whatever_this_reader_makes_of_it(text, plain, seen):
    damaged = text.replace("\n      source:\n        defaultValue", f"\n      {plain}:\n        defaultValue")
    assert damaged != text
    assert any(f"takes the name {seen}" in sentence for sentence in check_compiled(damaged))


def test_every_image_is_of_this_codes_version(documents):
    problems = found(documents, tag="def456")
    assert len(problems) == len(documents[0]["deploymentSpec"]["executors"])
    assert all("is not of this code's version, 'def456'" in problem for problem in problems)


def test_a_digest_is_as_good_as_a_tag(documents):
    executor(documents[0])["container"]["image"] = f"registry.example/elec-training@sha256:{'0' * 64}"
    assert found(documents) == []


def test_documents_that_are_no_pipeline(documents, tmp_path):
    assert check_compiled("a: [1\n") != []
    assert check_compiled("- 1\n- 2\n") == ["not a compiled pipeline: it holds no YAML mapping"]
    assert check_compiled("\n") == ["not a compiled pipeline: it holds no YAML mapping"]
    assert any("at most two" in problem for problem in found([*documents, documents[1]]))
    empty = tmp_path / "empty.yaml"
    empty.touch()
    assert check_compiled(empty) == ["not a compiled pipeline: it holds no YAML mapping"]
