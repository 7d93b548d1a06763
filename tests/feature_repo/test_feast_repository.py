"""Feast's own commands work on what elec leaves."""

import os
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elec.errors import InputError
from elec.features.definitions import definitions
from elec.features.repository import FeatureRepository
from elec.features.vectors import VectorViews
from elec.spec import DatasetSpec, Entity, load_spec

VIEWS = VectorViews(version="0123456789ab", size=2)
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


def test_definitions_come_from_the_spec(spec_file: Path) -> None:
    objects = {type(found).__name__: {} for found in definitions(load_spec(spec_file).dataset, "/data")}
    for found in definitions(load_spec(spec_file).dataset, "/data"):
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
    assert [type(found).__name__ for found in definitions(items_only, "/data")] == [
        "Entity",
        "Entity",
        "FileSource",
        "FeatureView",
        "FeatureService",
    ]
    assert [type(found).__name__ for found in definitions(dataset.model_copy(update={"fields": ()}), "/d")] == ["Entity"] * 2


@pytest.mark.parametrize("name", ["rn", "pay_y", "entity_row_id", "User"])
def test_a_name_that_the_join_would_lose_is_refused(spec_file: Path, name: str) -> None:
    dataset = load_spec(spec_file).dataset
    field = dataset.fields[0].model_copy(update={"name": name})
    with pytest.raises(InputError, match=name):
        definitions(dataset.model_copy(update={"fields": (field,)}), "/data")


def publish(dataset: DatasetSpec, folder: Path) -> None:
    import datetime

    at = pa.array([datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC)], pa.timestamp("us", tz="UTC"))
    folder.mkdir()
    pq.write_table(pa.table({"user": ["u"], "event_timestamp": at, "age": [1.0]}), folder / "users.parquet")
    pq.write_table(pa.table({"item": ["i"], "event_timestamp": at, "tags": [["a"]], "title": ["t"]}), folder / "items.parquet")
    repository = FeatureRepository(dataset, folder.parent / "feast", load_spec("movielens-100k").run.feast)
    with repository.published(folder, datetime.datetime(2024, 2, 1, tzinfo=datetime.UTC)):
        pass


def publish_vectors(dataset: DatasetSpec, workspace: Path) -> None:
    import datetime

    rows = {}
    for entity in (Entity.USER, Entity.ITEM):
        rows[entity] = workspace / f"{entity}.parquet"
        pq.write_table(pa.table({str(entity): ["a"], "vector": [[1.0, 2.0]]}), rows[entity])
    repository = FeatureRepository(dataset, workspace / "feast", load_spec("movielens-100k").run.feast)
    repository.publish_vectors(VIEWS, rows, datetime.datetime(2024, 2, 1, tzinfo=datetime.UTC))


def feast(*command: str, spec_file: Path, workspace: Path) -> str:
    environment = os.environ | {
        "ELEC_SPEC": str(spec_file),
        "FEAST_FS_YAML_FILE_PATH": str(workspace / "feast" / "feature_store.yaml"),
        "FEAST_USAGE": "False",
    }
    program = [str(Path(sys.executable).with_name("feast")), "-c", str(REPOSITORY), *command]
    done = subprocess.run(program, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_feast_finds_in_the_repository_what_the_run_applied(spec_file: Path, tmp_path: Path) -> None:
    publish(load_spec(spec_file).dataset, tmp_path / "ingested")
    publish_vectors(load_spec(spec_file).dataset, tmp_path)
    plan = feast("plan", spec_file=spec_file, workspace=tmp_path)
    # Feast always finds its own time stamps on file sources changed; nothing else is.
    objects = [line.strip() for line in plan.splitlines() if line.startswith(("Created ", "Updated ", "Deleted "))]
    assert sorted(line for line in objects if "sqlite table" not in line) == [
        f"Updated feature view {VIEWS.name(Entity.ITEM)}",
        "Updated feature view items",
        f"Updated feature view {VIEWS.name(Entity.USER)}",
        "Updated feature view users",
    ]
    assert "schema" not in plan


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
