"""Feast's own commands work on what elec leaves."""

import contextlib
import datetime
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elec.errors import InputError
from elec.features.definitions import VIEWS, definitions, wanted_views
from elec.features.feast_registry import Registry, read_registry
from elec.features.raw import TYPES
from elec.features.repository import FeatureRepository
from elec.features.vectors import VectorViews
from elec.features.versions import versions
from elec.spec import DatasetSpec, Entity, FieldSpec, load_spec

VECTORS = VectorViews(version="0123456789ab", size=2)
REPOSITORY = Path(__file__).parents[2] / "feature_repo"

SPEC = """
name: tiny
source: {path: log.csv}
label: {column: click}
timestamp: {column: time}
user: user
item: item
fields:
  - {name: age, of: user, kind: numeric}
  - {name: tags, of: item, kind: multivalued}
  - {name: title, of: item, kind: text}
  - {name: device}
"""


@pytest.fixture
def spec_file(tmp_path: Path) -> Path:
    file = tmp_path / "tiny.yaml"
    file.write_text(SPEC)
    return file


def first_definitions(dataset: DatasetSpec) -> list[Any]:
    """Of a data set that no registry knows yet."""
    return definitions(dataset, versions("tiny", wanted_views(dataset), Registry({}, {}, frozenset(), {})), "/data")


def test_definitions_come_from_the_spec(spec_file: Path) -> None:
    made = first_definitions(load_spec(spec_file).dataset)
    objects: dict[str, dict[str, Any]] = {type(found).__name__: {} for found in made}
    for found in made:
        objects[type(found).__name__][found.name] = found
    assert set(objects["Entity"]) == {"user", "item"}
    views = objects["FeatureView"]
    assert {name: {field.name: str(field.dtype) for field in view.features} for name, view in views.items()} == {
        "users": {"age": "Float64"},
        "items": {"tags": "Array(String)", "title": "String"},
    }
    assert all(view.ttl.total_seconds() == 0 for view in views.values())
    assert views["items"].batch_source.path == "/data/items.parquet"
    service = objects["FeatureService"]["tiny_v1"]
    assert [projection.name for projection in service.feature_view_projections] == ["users", "items"]


def test_an_entity_without_fields_has_no_view(spec_file: Path) -> None:
    dataset = load_spec(spec_file).dataset
    items_only = dataset.model_copy(update={"fields": dataset.fields_of(Entity.ITEM)})
    assert [type(found).__name__ for found in first_definitions(items_only)] == [
        "Entity",
        "Entity",
        "FeatureView",
        "FeatureService",
    ]
    assert [type(found).__name__ for found in first_definitions(dataset.model_copy(update={"fields": ()}))] == ["Entity"] * 2


@pytest.mark.parametrize("name", ["rn", "pay_y", "entity_row_id", "User"])
def test_a_name_that_the_join_would_lose_is_refused(spec_file: Path, name: str) -> None:
    dataset = load_spec(spec_file).dataset
    field = dataset.fields[0].model_copy(update={"name": name})
    with pytest.raises(InputError, match=name):
        wanted_views(dataset.model_copy(update={"fields": (field,)}))


def publish(
    dataset: DatasetSpec,
    folder: Path,
    value: Callable[[Entity, FieldSpec | None], Any] = lambda _, field: None if field else "a",
) -> None:
    """A run that knows one user and one item.

    Args:
        dataset: The spec.
        folder: Of the ingested rows; Feast's folder is beside it.
        value: Of an entity's field, or its key.
    """
    at = datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)
    folder.mkdir(parents=True)
    for entity, view in VIEWS.items():
        schema = [(dataset.key_of(entity), pa.string()), ("event_timestamp", pa.timestamp("us", tz="UTC"))]
        schema += [(field.name, TYPES[field.kind]) for field in dataset.fields_of(entity)]
        row = {dataset.key_of(entity): value(entity, None), "event_timestamp": at}
        row |= {field.name: value(entity, field) for field in dataset.fields_of(entity)}
        pq.write_table(pa.Table.from_pylist([row], pa.schema(schema)), folder / f"{view}.parquet")
    repository = FeatureRepository(dataset, folder.parent / "feast", load_spec("movielens-100k").run.feast)
    with repository.published(folder, datetime.datetime(2024, 2, 1, tzinfo=datetime.UTC)):
        pass


def publish_vectors(dataset: DatasetSpec, workspace: Path) -> None:
    rows = {}
    for entity in (Entity.USER, Entity.ITEM):
        rows[entity] = workspace / f"{entity}.parquet"
        pq.write_table(pa.table({str(entity): ["a"], "vector": [[1.0, 2.0]]}), rows[entity])
    repository = FeatureRepository(dataset, workspace / "feast", load_spec("movielens-100k").run.feast)
    repository.publish_vectors(VECTORS, rows, datetime.datetime(2024, 2, 1, tzinfo=datetime.UTC))


def environment(spec_file: Path, workspace: Path) -> dict[str, str]:
    return os.environ | {
        "ELEC_SPEC": str(spec_file),
        "FEAST_FS_YAML_FILE_PATH": str(workspace / "feast" / "feature_store.yaml"),
        "FEAST_USAGE": "False",
    }


def program(*command: str) -> list[str]:
    return [str(Path(sys.executable).with_name("feast")), "-c", str(REPOSITORY), *command]


def feast(*command: str, spec_file: Path, workspace: Path) -> str:
    done = subprocess.run(program(*command), capture_output=True, text=True, env=environment(spec_file, workspace), check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_feast_finds_in_the_repository_what_the_run_applied(spec_file: Path, tmp_path: Path) -> None:
    publish(load_spec(spec_file).dataset, tmp_path / "ingested")
    publish_vectors(load_spec(spec_file).dataset, tmp_path)
    assert changes(feast("plan", spec_file=spec_file, workspace=tmp_path)) == []
    # What an earlier spec has defined stays, whatever the next one drops, adds or means by a name.
    spec_file.write_text(SPEC.replace("age, of: user, kind: numeric", "age, of: user").replace("tags", "labels"))
    publish(load_spec(spec_file).dataset, tmp_path / "next")
    assert changes(feast("plan", spec_file=spec_file, workspace=tmp_path)) == []
    listed = feast("feature-services", "list", spec_file=spec_file, workspace=tmp_path)
    assert "tiny_v1" in listed
    assert "tiny_v2" in listed
    # Nor does Feast's own `apply` find anything to do, or take anything away.
    before = read_registry(str(tmp_path / "feast" / "registry.db"), "tiny")
    feast("apply", spec_file=spec_file, workspace=tmp_path)
    assert read_registry(str(tmp_path / "feast" / "registry.db"), "tiny") == before


def changes(plan: str) -> list[str]:
    """What `feast plan` would do; the tables of SQLite, which it knows of only where it has made them itself, left out."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line) for line in plan.splitlines()]
    assert "No changes to registry" in lines
    return [line for line in lines if line.startswith(("Created ", "Updated ", "Deleted ")) and "sqlite table" not in line]


@pytest.mark.slow
def test_feast_ui_opens_on_the_repository(spec_file: Path, tmp_path: Path) -> None:
    publish(load_spec(spec_file).dataset, tmp_path / "ingested")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started = program("ui", "--host", "127.0.0.1", "--port", str(port))
    with (tmp_path / "ui.log").open("w") as log:
        process = subprocess.Popen(started, env=environment(spec_file, tmp_path), stdout=log, stderr=log)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as client:
            page = None
            while page is None:
                assert process.poll() is None, (tmp_path / "ui.log").read_text()
                with contextlib.suppress(httpx.TransportError):
                    page = client.get("/")
                time.sleep(0.1)
            assert "<title>Feast" in page.text
            assert [project["id"] for project in client.get("/projects-list.json").json()["projects"]] == ["tiny"]
            services = client.get("/api/v1/feature_services", params={"project": "tiny"}).json()["featureServices"]
            assert [service["spec"]["name"] for service in services] == ["tiny_v1"]
            views = client.get("/api/v1/feature_views", params={"project": "tiny"}).json()["featureViews"]
            assert {view["spec"]["name"] for view in views} == {"users", "items"}
    finally:
        process.terminate()
        process.wait(20)


def test_the_look_up_of_the_readme(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its three lines are run as they stand there, on the workspace of a run of that data set."""
    (code,) = re.findall(r"```python\n(from feast import.*?)```", (REPOSITORY.parent / "README.md").read_text(), re.DOTALL)
    lines = code.splitlines()
    assert len(lines) == 3
    dataset = load_spec("movielens-100k").dataset
    ingested = tmp_path / "runs" / "ingested"
    values = {"categorical": "x", "numeric": 3.0, "multivalued": ["a", "b"], "text": "Star Wars"}
    keys = {Entity.USER: "405", Entity.ITEM: "50"}
    publish(dataset, ingested, lambda entity, field: values[field.kind] if field else keys[entity])
    monkeypatch.chdir(tmp_path)
    given: dict[str, Any] = {}
    exec("\n".join(lines[:2]), given)
    answer = eval(lines[2], given)
    assert answer == {
        "user_id": ["405"],
        "item_id": ["50"],
        **{field.name: [values[field.kind]] for entity in VIEWS for field in dataset.fields_of(entity)},
    }


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    environment = {name: value for name, value in os.environ.items() if name not in {"ELEC_SPEC", "FEAST_FS_YAML_FILE_PATH"}}
    done = subprocess.run(
        [sys.executable, "-c", "import feature_repo.definitions"],
        capture_output=True,
        text=True,
        env=environment,
        cwd=REPOSITORY.parent,
        check=False,
    )
    assert "ELEC_SPEC" in done.stderr.splitlines()[-1]
