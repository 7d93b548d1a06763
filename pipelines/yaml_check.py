"""Checks a compiled pipeline before a cluster sees it.

The parser of Kubeflow Pipelines accepts a task whose component, producer or executor does not exist, and a platform executor
that belongs to nothing; the run then fails on the cluster, after the steps before. So every reference is resolved here, the
way the backend will: a component by its name, a producer among the tasks of the same DAG, an input among the inputs of the
component that is called, and an image by the tag of this code's version.

A compiled pipeline is one YAML document, or two: the pipeline, and what only Kubernetes understands.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

SCHEMA_VERSION = "2.1.0"
#: YAML 1.1 readers take these plain keys for booleans.
BOOLEAN_NAMES = frozenset({"n", "no", "off", "on", "y", "yes", "true", "false"})
_OPERATORS = {"Exists", "Equal", ""}
_EFFECTS = {"NoSchedule", "PreferNoSchedule", "NoExecute", ""}

_CONDITION_INPUT = re.compile(r"inputs\.parameter_values\['([^']+)'\]")

Tree = dict[str, Any]


def check_compiled(source: Path | str, *, tag: str = "") -> list[str]:
    """Finds what would fail on a cluster.

    Args:
        source: The file, or its text (a text has more than one line).
        tag: The tag that each image has to have; empty: any that is fixed.

    Returns:
        One sentence for each problem; none for a healthy pipeline.
    """
    text = source if isinstance(source, str) and "\n" in source else Path(source).read_text(encoding="utf-8")
    try:
        documents = [document for document in yaml.safe_load_all(text) if document is not None]
    except yaml.YAMLError as error:
        return [f"not YAML: {' '.join(str(error).split())}"]
    if not documents or not all(isinstance(document, dict) for document in documents):
        return ["not a compiled pipeline: it holds no YAML mapping"]
    pipeline, *platform = documents
    problems = [f"no '{key}'" for key in ("pipelineInfo", "root", "components", "deploymentSpec") if key not in pipeline]
    if problems:
        return problems
    return list(_problems(pipeline, platform, tag))


def _problems(pipeline: Tree, platform: list[Tree], tag: str) -> Iterator[str]:
    if pipeline.get("schemaVersion") != SCHEMA_VERSION:
        yield f"schemaVersion is {pipeline.get('schemaVersion')!r}, not {SCHEMA_VERSION!r}"
    if not pipeline["pipelineInfo"].get("name"):
        yield "pipelineInfo has no name"
    components = pipeline["components"]
    executors = pipeline["deploymentSpec"].get("executors", {})
    dags = [_Dag("root", pipeline["root"], components)]
    used_components: set[str] = set()
    used_executors: set[str] = set()
    for name, component in components.items():
        yield from _parameter_names(name, component)
        if "dag" in component:
            dags.append(_Dag(name, component, components))
            continue
        label = component.get("executorLabel")
        if label is None:
            yield f"component {name} has neither a dag nor an executorLabel"
        elif label not in executors:
            yield f"component {name}: executorLabel {label!r} is no executor"
        else:
            used_executors.add(label)
    yield from _parameter_names("root", pipeline["root"])
    for dag in dags:
        yield from dag.problems()
        used_components.update(dag.called())
    for name in sorted(set(components) - used_components):
        yield f"component {name} is called by no task"
    for label in sorted(set(executors) - used_executors):
        yield f"executor {label} belongs to no component"
    for label, executor in executors.items():
        yield from _executor(label, executor, tag)
    yield from _platform(platform, executors)


def _parameter_names(component: str, definition: Tree) -> Iterator[str]:
    for side in ("inputDefinitions", "outputDefinitions"):
        for kind in ("parameters", "artifacts"):
            for name in definition.get(side, {}).get(kind, {}):
                # A reader of YAML 1.1 has already made a boolean of a plain `n:`; the compiler quotes it, others may not.
                if not isinstance(name, str) or name.lower() in BOOLEAN_NAMES:
                    yield f"component {component}: a YAML reader takes the name {name!r} in {side} for a boolean; rename it"


def _executor(label: str, executor: Tree, tag: str) -> Iterator[str]:
    if "importer" in executor:
        return
    image = executor.get("container", {}).get("image", "")
    if not image:
        yield f"executor {label} names no image"
        return
    if "@sha256:" in image:
        return
    # A colon before the last slash is a registry's port.
    _, _, found = image.rpartition("/")[2].partition(":")
    if not found:
        yield f"executor {label}: the image {image!r} has no tag"
    elif found == "latest":
        yield f"executor {label}: the image {image!r} is not fixed; give it the code's version"
    elif tag and found != tag:
        yield f"executor {label}: the image {image!r} is not of this code's version, {tag!r}"


def _platform(documents: list[Tree], executors: Tree) -> Iterator[str]:
    if len(documents) > 1:
        yield f"{len(documents) + 1} YAML documents: at most two belong to a pipeline"
    for document in documents:
        platforms = document.get("platforms")
        if not isinstance(platforms, dict):
            yield "the second document has no 'platforms'"
            continue
        for platform, settings in platforms.items():
            if platform != "kubernetes":
                yield f"platform {platform!r} is unknown; only 'kubernetes' is"
            for label, executor in (settings or {}).get("deploymentSpec", {}).get("executors", {}).items():
                if label not in executors:
                    yield f"platform executor {label} is no executor of the pipeline"
                yield from _kubernetes(label, executor)


def _kubernetes(label: str, executor: Tree) -> Iterator[str]:
    from google.protobuf import json_format
    from kfp.kubernetes import kubernetes_executor_config_pb2

    try:
        json_format.ParseDict(executor, kubernetes_executor_config_pb2.KubernetesExecutorConfig())
    except json_format.ParseError as error:
        yield f"platform executor {label}: {' '.join(str(error).split())}"
        return
    for toleration in executor.get("tolerations", ()):
        if toleration.get("operator", "") not in _OPERATORS or toleration.get("effect", "") not in _EFFECTS:
            yield f"platform executor {label}: Kubernetes knows no such toleration: {toleration}"
        elif toleration.get("operator") == "Exists" and toleration.get("value"):
            yield f"platform executor {label}: a toleration with the operator 'Exists' takes no value: {toleration}"
    for secret in executor.get("secretAsEnv", ()):
        if not (secret.get("secretName") or secret.get("secretNameParameter")):
            yield f"platform executor {label}: a secret has no name"


@dataclass(frozen=True)
class _Dag:
    """The tasks of the root, or of a component that is a DAG, and what they may refer to."""

    name: str
    definition: Tree
    components: Tree

    @property
    def tasks(self) -> Tree:
        tasks: Tree = self.definition.get("dag", {}).get("tasks", {})
        return tasks

    def called(self) -> set[str]:
        """The components that the tasks name."""
        return {task.get("componentRef", {}).get("name", "") for task in self.tasks.values()}

    def problems(self) -> Iterator[str]:
        if not self.tasks:
            yield f"{self.name}: a DAG without tasks"
        for name, task in self.tasks.items():
            where = f"{self.name}, task {name}"
            called = task.get("componentRef", {}).get("name")
            if called not in self.components:
                yield f"{where}: componentRef {called!r} is no component"
            for other in task.get("dependentTasks", ()):
                if other not in self.tasks or other == name:
                    yield f"{where}: dependentTask {other!r} is no other task of {self.name}"
            yield from self._inputs(where, task)
            yield from self._iterator(where, task)
            yield from self._order(where, task)
        yield from self._outputs()
        if cycle := self._cycle():
            yield f"{self.name}: the tasks {', '.join(cycle)} wait for one another"

    def _inputs(self, where: str, task: Tree) -> Iterator[str]:
        called = self.components.get(task.get("componentRef", {}).get("name"))
        for kind in ("parameters", "artifacts"):
            given = task.get("inputs", {}).get(kind, {})
            for name, value in given.items():
                if called is not None and name not in _definitions(called, "input", kind):
                    yield f"{where}: the component has no input {name!r} among its {kind}"
                yield from self._value(f"{where}, input {name}", kind, value)
            if called is None:
                continue
            items = _iterated(task, kind)
            for name, definition in _definitions(called, "input", kind).items():
                if not definition.get("isOptional") and "defaultValue" not in definition and name not in {*given, *items}:
                    yield f"{where}: the component's input {name!r} is not given"

    def _value(self, where: str, kind: str, value: Tree) -> Iterator[str]:
        word = "Parameter" if kind == "parameters" else "Artifact"
        if (own := value.get(f"componentInput{word}")) is not None:
            if own not in _definitions(self.definition, "input", kind):
                yield f"{where}: {self.name} has no input {own!r} among its {kind}"
        elif (output := value.get(f"taskOutput{word}")) is not None:
            yield from self._output(where, kind, output.get("producerTask"), output.get(f"output{word}Key"))
        elif (status := value.get("taskFinalStatus")) is not None:
            if status.get("producerTask") not in self.tasks:
                yield f"{where}: producerTask {status.get('producerTask')!r} is no task of {self.name}"
        elif "runtimeValue" not in value:
            yield f"{where}: its value comes from nowhere ({value})"

    def _output(self, where: str, kind: str, producer: str | None, key: str | None) -> Iterator[str]:
        if producer not in self.tasks:
            yield f"{where}: producerTask {producer!r} is no task of {self.name}"
            return
        component = self.components.get(self.tasks[producer].get("componentRef", {}).get("name"))
        if component is not None and key not in _definitions(component, "output", kind):
            yield f"{where}: the task {producer!r} has no output {key!r} among its {kind}"

    def _iterator(self, where: str, task: Tree) -> Iterator[str]:
        called = self.components.get(task.get("componentRef", {}).get("name"), {})
        for kind, word in (("parameters", "parameterIterator"), ("artifacts", "artifactIterator")):
            if (iterator := task.get(word)) is None:
                continue
            source = iterator.get("items", {}).get("inputParameter" if kind == "parameters" else "inputArtifact")
            if source is not None and source not in task.get("inputs", {}).get(kind, {}):
                yield f"{where}: it iterates over {source!r}, which is none of its inputs"
            if iterator.get("itemInput") not in _definitions(called, "input", kind):
                yield f"{where}: the component has no input {iterator.get('itemInput')!r} for the item"

    def _order(self, where: str, task: Tree) -> Iterator[str]:
        """The backend orders tasks by `dependentTasks` alone; a value that is read does not make a task wait."""
        values = [value for kind in ("parameters", "artifacts") for value in task.get("inputs", {}).get(kind, {}).values()]
        producers = {source["producerTask"] for value in values for source in value.values() if _has(source, "producerTask")}
        for producer in sorted(producers & set(self.tasks) - {*task.get("dependentTasks", ())}):
            yield f"{where}: it reads what {producer!r} gives, but does not wait for it"
        for name in _CONDITION_INPUT.findall(task.get("triggerPolicy", {}).get("condition", "")):
            if name not in task.get("inputs", {}).get("parameters", {}):
                yield f"{where}: its condition asks for {name!r}, which is none of its inputs"

    def _outputs(self) -> Iterator[str]:
        outputs = self.definition.get("dag", {}).get("outputs", {})
        for kind, word in (("parameters", "Parameter"), ("artifacts", "Artifact")):
            for name, value in outputs.get(kind, {}).items():
                where = f"{self.name}, output {name}"
                if name not in _definitions(self.definition, "output", kind):
                    yield f"{where}: it is not among the {kind} that {self.name} defines"
                for source in _selectors(value, word):
                    yield from self._output(where, kind, source.get("producerSubtask"), source.get(f"output{word}Key"))

    def _cycle(self) -> list[str]:
        """The tasks that could never start, because they wait for one another."""
        waits = {name: {*task.get("dependentTasks", ())} & set(self.tasks) for name, task in self.tasks.items()}
        while True:
            # Neither a task that waits for none of these, nor one that none of these waits for, is part of a cycle.
            awaited = set().union(*waits.values())
            inside = {name for name, others in waits.items() if others and name in awaited}
            if inside == set(waits):
                return sorted(inside)
            waits = {name: waits[name] & inside for name in inside}


def _definitions(component: Tree, side: str, kind: str) -> Tree:
    definitions: Tree = component.get(f"{side}Definitions", {}).get(kind, {})
    return definitions


def _iterated(task: Tree, kind: str) -> set[str]:
    """The input that the loop around the component gives."""
    iterator = task.get("parameterIterator" if kind == "parameters" else "artifactIterator", {})
    return {iterator["itemInput"]} if "itemInput" in iterator else set()


def _has(value: object, key: str) -> bool:
    return isinstance(value, dict) and key in value


def _selectors(value: Tree, word: str) -> list[Tree]:
    if word == "Artifact":
        return list(value.get("artifactSelectors", ()))
    if "valueFromParameter" in value:
        return [value["valueFromParameter"]]
    return list(value.get("valueFromOneof", {}).get("parameterSelectors", ()))
