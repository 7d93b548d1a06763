"""Look-ups answer as `get_online_features` of Feast does; SQLite and a real Redis."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ingested_folder import moment

from elec.errors import InputError
from elec.features.definitions import VIEWS, project_name
from elec.features.feast_registry import read_registry
from elec.features.online import OnlineFeatures
from elec.features.repository import FeatureRepository
from elec.features.store_config import OnlineStoreError, feature_store_settings, open_store
from elec.features.vectors import VECTOR, VectorViews
from elec.spec import DatasetSpec, Entity, FieldSpec, Kind
from elec.spec.run import FeastSpec

DATASET = DatasetSpec.model_validate(
    {
        "name": "every-kind",
        "source": {"path": "/nowhere/x.csv"},
        "label": {"column": "click"},
        "timestamp": {"column": "time"},
        "user": "user_id",
        "item": "item_id",
        "fields": [
            {"name": "age", "of": "user", "kind": "numeric"},
            {"name": "visited", "of": "user", "kind": "multivalued"},
            {"name": "city", "of": "user"},
            {"name": "title", "of": "item", "kind": "text"},
            {"name": "tags", "of": "item", "kind": "multivalued"},
            {"name": "price", "of": "item", "kind": "numeric"},
            {"name": "Brand", "of": "item"},
            {"name": "hour"},
        ],
    }
)
VIEWS_OF_VECTORS = VectorViews(version="0123456789ab", size=5)
ROWS = 700


def drawn(field: FieldSpec, rows: int, draw: np.random.Generator) -> pa.Array:
    """Values of every length that a stored size takes another byte for, and nulls."""
    texts = ["", "a", "Köln", "x" * 127, "x" * 128, "y" * 20_000]
    null = draw.random(rows) < 0.2
    if field.kind is Kind.NUMERIC:
        return pa.array(draw.normal(size=rows), mask=null)
    if field.kind is Kind.MULTIVALUED:
        lists = [[texts[draw.integers(5)] for _ in range(draw.integers(0, 6))] for _ in range(rows)]
        return pa.array([None if nothing else some for some, nothing in zip(lists, null, strict=True)], pa.list_(pa.string()))
    return pa.array([texts[choice] for choice in draw.choice(6, rows, p=[0.2, 0.2, 0.2, 0.2, 0.19, 0.01])], mask=null)


def write(folder: Path) -> Path:
    folder.mkdir()
    draw = np.random.default_rng(11)
    times = pa.array([moment(0)] * ROWS, pa.timestamp("us", tz="UTC"))
    for entity, view in VIEWS.items():
        keys = pa.array([f"{entity}-{number}" for number in range(ROWS)])
        columns = {DATASET.key_of(entity): keys, "event_timestamp": times}
        columns |= {field.name: drawn(field, ROWS, draw) for field in DATASET.fields_of(entity)}
        pq.write_table(pa.table(columns), folder / f"{view}.parquet")
        vectors = pa.array([row.tolist() for row in draw.normal(size=(ROWS, 5))], pa.list_(pa.float32()))
        some = slice(0, ROWS - 100)
        described = {DATASET.key_of(entity): keys[some], "event_timestamp": times[some], VECTOR: vectors[some]}
        pq.write_table(pa.table(described), folder / f"{view}-vectors.parquet")
    return folder


@pytest.fixture(scope="module", params=["sqlite", "redis"])
def published(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FeastSpec]:
    """A Feast folder with rows of every kind, and where they are online."""
    settings = FeastSpec()
    if request.param == "redis":
        settings = FeastSpec(online_store="redis", redis=f"{request.getfixturevalue('redis_address')},db=3")
    root = tmp_path_factory.mktemp("published")
    rows = write(root / "rows")
    repository = FeatureRepository(DATASET, root / "feast", settings)
    with repository.published(rows, moment(10)):
        pass
    repository.publish_vectors(
        VIEWS_OF_VECTORS, {entity: rows / f"{view}-vectors.parquet" for entity, view in VIEWS.items()}, moment(10)
    )
    return root / "feast", settings


def online(folder: Path, settings: FeastSpec, **changes: Any) -> OnlineFeatures:
    return OnlineFeatures(
        **{
            "dataset": DATASET.name,
            "user": "user_id",
            "item": "item_id",
            "fields": DATASET.all_fields,
            "feature_service": f"{project_name(DATASET.name)}_v1",
            "feast_folder": folder,
            "settings": settings,
            "vectors": VIEWS_OF_VECTORS,
        }
        | changes
    )


def test_answers_are_those_of_feast(published: tuple[Path, FeastSpec]) -> None:
    folder, settings = published
    features = online(folder, settings)
    store = open_store(feature_store_settings(project_name(DATASET.name), folder, settings))
    draw = np.random.default_rng(2)
    for entity in VIEWS:
        names = [field.name for field in DATASET.fields_of(entity)]
        asked = [f"{VIEWS[entity]}:{name}" for name in names] + [f"{VIEWS_OF_VECTORS.name(entity)}:{VECTOR}"]
        for count in (1, 2, 100, 900):
            keys = [f"{entity}-{number}" for number in draw.integers(0, ROWS + 100, count)]
            by_feast = store.get_online_features(
                features=asked, entity_rows=[{DATASET.key_of(entity): key} for key in keys], full_feature_names=True
            ).to_dict()
            found = (
                features.items(keys) if entity is Entity.ITEM else pa.Table.from_pylist([features.user(key) for key in keys])
            )
            assert found.column(DATASET.key_of(entity)).to_pylist() == keys
            for name in names:
                assert found.column(name).to_pylist() == by_feast[f"{VIEWS[entity]}__{name}"], (entity, name)
            view = VIEWS_OF_VECTORS.name(entity)
            assert found.column(view).to_pylist() == by_feast[f"{view}__{VECTOR}"], entity


def test_user_and_items_at_once(published: tuple[Path, FeastSpec]) -> None:
    features = online(*published)
    for keys in ([], ["item-1"], [f"item-{number}" for number in range(0, 2 * ROWS, 7)]):
        for user in ("user-3", "nobody", None):
            of_user, items = features.user_and_items(user, keys)
            assert of_user == features.user(user)
            assert items.equals(features.items(keys))


def test_more_keys_than_one_exchange_takes(published: tuple[Path, FeastSpec], monkeypatch: pytest.MonkeyPatch) -> None:
    features = online(*published)
    keys = [f"item-{number}" for number in range(ROWS)]
    at_once = features.items(keys)
    monkeypatch.setattr("elec.features.online._KEYS_A_LOOK_UP", 97)
    assert features.items(keys).equals(at_once)
    assert features.user_and_items("user-3", keys) == (features.user("user-3"), at_once)


def test_a_field_that_has_changed_its_kind_is_refused(published: tuple[Path, FeastSpec]) -> None:
    folder, settings = published
    changed = [
        field.model_copy(update={"kind": Kind.CATEGORICAL}) if field.name == "age" else field for field in DATASET.all_fields
    ]
    with pytest.raises(InputError, match="feature 'age' of view 'users' is no string; a later spec has changed the field"):
        online(folder, settings, fields=changed)


def test_what_is_stored_as_something_else_is_no_answer(
    published: tuple[Path, FeastSpec], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, settings = published
    features = online(folder, settings)
    # As after a later run has written the field anew, as text.
    monkeypatch.setitem(features._types, ("items", "price"), pa.string())
    with pytest.raises(OnlineStoreError, match="as feature 'price' of view 'items', what is no string"):
        features.items(["item-1", "item-2", "item-3", "item-4"])


def test_the_registry_is_read_as_feast_reads_it(published: tuple[Path, FeastSpec], tmp_path: Path) -> None:
    folder, settings = published
    project = project_name(DATASET.name)
    store = open_store(feature_store_settings(project, folder, settings))
    registry = read_registry(str(folder / "registry.db"), project)
    assert registry.views == {
        view.name: {feature.name: feature.dtype.to_value_type().value for feature in view.features}
        for view in store.list_feature_views()
    }
    assert registry.services == {
        service.name: {
            (projection.name, feature.name): feature.dtype.to_value_type().value
            for projection in service.feature_view_projections
            for feature in projection.features
        }
        for service in store.list_feature_services()
    }
    assert registry.entities == {view.name: tuple(view.entities) for view in store.list_feature_views()}
    assert registry.disabled == frozenset()
    assert read_registry(str(folder / "registry.db"), "another").views == {}
    view = store.get_feature_view("users")
    view.enabled = False
    store.registry.apply_feature_view(view, project, commit=False)
    (tmp_path / "registry.db").write_bytes(store.registry.proto().SerializeToString())
    assert read_registry(str(tmp_path / "registry.db"), project).disabled == {"users"}


def test_a_damaged_registry_is_refused(published: tuple[Path, FeastSpec], tmp_path: Path) -> None:
    whole = (published[0] / "registry.db").read_bytes()
    project = project_name(DATASET.name)
    (tmp_path / "registry.db").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InputError, match="no Feast registry"):
        read_registry(str(tmp_path / "registry.db"), project)
    (tmp_path / "registry.db").write_bytes(whole + b"\x1a\x019")
    with pytest.raises(InputError, match="registry_schema_version is '9', this code knows '1'"):
        read_registry(str(tmp_path / "registry.db"), project)
