"""Text vectors in Feast: what is published is what is looked up, each projection in views of its own."""

import subprocess
import sys
from datetime import datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ingested_folder import DATASET, MOMENT, moment, write_ingested

from elec.errors import InputError
from elec.features.online import OnlineFeatures
from elec.features.repository import FeatureRepository
from elec.features.stored_vectors import StoredVectors
from elec.features.vectors import VectorViews, dense
from elec.spec import DatasetSpec, Entity
from elec.spec.run import FeastSpec

SIZE = 3
VIEWS = VectorViews(version="0123456789ab", size=SIZE)
ITEMS = {"i1": [1 / 3, -2.0, 0.5], "i2": [0.1, 0.2, 1e-3]}
USERS = {"u1": [0.7, 0.0, -1 / 7]}
NOTHING = [0.0] * SIZE


def rows_of(folder: Path, users: dict[str, list[float]], items: dict[str, list[float]], when: datetime) -> dict[Entity, Path]:
    """The files as the knowledge of a run has them: vectors of a fixed size, and a time for users only."""
    kind = pa.list_(pa.float32(), SIZE)
    folder.mkdir(parents=True, exist_ok=True)
    users_table = {"user_id": list(users), "event_timestamp": pa.array([when] * len(users), MOMENT)}
    pq.write_table(pa.table(users_table | {"vector": pa.array(users.values(), kind)}), folder / "users.parquet")
    items_table = {"item_id": list(items), "code_1": ["0"] * len(items), "vector": pa.array(items.values(), kind)}
    pq.write_table(pa.table(items_table), folder / "items.parquet")
    return {Entity.USER: folder / "users.parquet", Entity.ITEM: folder / "items.parquet"}


def online(folder: Path, views: VectorViews = VIEWS, dataset: DatasetSpec = DATASET) -> OnlineFeatures:
    return OnlineFeatures(
        dataset=dataset.name,
        user=dataset.user,
        item=dataset.item,
        fields=dataset.tabular_fields,
        feature_service="small_shop_v1",
        feast_folder=folder / "feast",
        settings=FeastSpec(),
        vectors=views,
    )


def stored(folder: Path, views: VectorViews = VIEWS) -> StoredVectors:
    return StoredVectors(dataset=DATASET.name, user=DATASET.user, item=DATASET.item, views=views, feast_folder=folder / "feast")


def half(*vectors: list[float]) -> np.ndarray:
    """As training reads them."""
    return np.array(vectors, np.float16).astype(np.float32)


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vectors")
    repository = FeatureRepository(DATASET, folder / "feast", FeastSpec())
    with repository.published(write_ingested(folder / "ingested"), moment(100)):
        pass
    written = repository.publish_vectors(VIEWS, rows_of(folder / "first", USERS, ITEMS, moment(50)), moment(100))
    assert set(written.values()) == {"all"}
    return folder


def test_online_and_in_bulk_it_is_what_training_read(shop: Path) -> None:
    users, items = ["u1", "nobody", "u1", None], ["i2", "i1", "unseen", "i1"]
    expected = np.stack(
        [half(USERS["u1"], NOTHING, USERS["u1"], NOTHING), half(ITEMS["i2"], ITEMS["i1"], NOTHING, ITEMS["i1"])]
    )
    for source in (online(shop), stored(shop)):
        found = source.vectors(users, items)
        assert found.dtype == np.float32
        np.testing.assert_array_equal(found, expected.transpose(1, 0, 2))
        chunked = pa.chunked_array([users[:1], users[1:]], pa.string())
        np.testing.assert_array_equal(source.vectors(chunked, pa.array(items)), found)
        assert source.vectors([], []).shape == (0, 2, SIZE)


def test_vectors_come_with_the_features_of_the_same_request(shop: Path) -> None:
    features = online(shop)
    user = features.user("u1")
    assert user["city"] == "Köln"
    np.testing.assert_array_equal(np.float32(user[VIEWS.name(Entity.USER)]), half(USERS["u1"])[0])
    assert features.user("nobody")[VIEWS.name(Entity.USER)] is None
    items = features.items(["unseen", "i2", "i1"])
    assert items["price"].to_pylist() == [None, 99.5, 5.0]
    vectors = dense(items[VIEWS.name(Entity.ITEM)], SIZE)
    np.testing.assert_array_equal(vectors, half(NOTHING, ITEMS["i2"], ITEMS["i1"]))


def test_another_projection_gets_views_of_its_own(shop: Path) -> None:
    repository = FeatureRepository(DATASET, shop / "feast", FeastSpec())
    other = VectorViews(version="ba9876543210", size=SIZE)
    repository.publish_vectors(other, rows_of(shop / "other", {"u1": [9, 9, 9]}, {"i1": [8, 8, 8]}, moment(60)), moment(100))
    # A later run applies its own definitions, and the views of a model in service stay.
    with repository.published(shop / "ingested", moment(101)):
        pass
    np.testing.assert_array_equal(online(shop).vectors(["u1"], ["i1"])[0], half(USERS["u1"], ITEMS["i1"]))
    np.testing.assert_array_equal(online(shop, other).vectors(["u1"], ["i1"])[0], half([9, 9, 9], [8, 8, 8]))
    np.testing.assert_array_equal(stored(shop).vectors(["u1"], ["i1"])[0], half(USERS["u1"], ITEMS["i1"]))


def test_a_later_run_writes_what_changed_and_an_earlier_one_nothing(tmp_path: Path) -> None:
    repository = FeatureRepository(DATASET, tmp_path / "feast", FeastSpec())
    with repository.published(write_ingested(tmp_path / "ingested"), moment(100)):
        pass
    first = rows_of(tmp_path / "first", USERS, ITEMS, moment(50))
    repository.publish_vectors(VIEWS, first, moment(100))
    user, item = VIEWS.name(Entity.USER), VIEWS.name(Entity.ITEM)
    assert repository.publish_vectors(VIEWS, first, moment(100)) == {user: "none", item: "none"}
    clicked = {"u1": [1.0, 2.0, 3.0], "u2": [4.0, 5.0, 6.0]}
    later = rows_of(tmp_path / "later", clicked, ITEMS, moment(120))
    written = repository.publish_vectors(VIEWS, later, moment(130))
    assert written[user] == "all"
    np.testing.assert_array_equal(
        online(tmp_path).vectors(["u1", "u2"], ["i1", "i1"])[:, 0], half(clicked["u1"], clicked["u2"])
    )
    assert repository.publish_vectors(VIEWS, first, moment(90)) == {user: "none", item: "none"}
    np.testing.assert_array_equal(online(tmp_path).vectors(["u1"], ["i1"])[:, 0], half(clicked["u1"]))


def test_a_field_may_be_called_as_the_feature_of_the_vectors(tmp_path: Path) -> None:
    content = DATASET.model_dump() | {"fields": [{"name": "vector", "of": "item", "kind": "numeric"}]}
    dataset = DatasetSpec.model_validate(content)
    ingested = tmp_path / "ingested"
    ingested.mkdir()
    always = pa.array([moment(0)] * 2, MOMENT)
    pq.write_table(pa.table({"user_id": ["u1", "u2"], "event_timestamp": always}), ingested / "users.parquet")
    items = {"item_id": ["i1", "i2"], "event_timestamp": always, "vector": [4.5, None]}
    pq.write_table(pa.table(items), ingested / "items.parquet")
    repository = FeatureRepository(dataset, tmp_path / "feast", FeastSpec())
    with repository.published(ingested, moment(100)):
        pass
    repository.publish_vectors(VIEWS, rows_of(tmp_path / "made", USERS, ITEMS, moment(50)), moment(100))
    found = online(tmp_path, dataset=dataset).items(["i1"])
    assert found["vector"].to_pylist() == [4.5]
    np.testing.assert_array_equal(dense(found[VIEWS.name(Entity.ITEM)], SIZE), half(ITEMS["i1"]))


def test_what_is_not_there_is_named(shop: Path, tmp_path: Path) -> None:
    gone = VectorViews(version="ffffffffffff", size=SIZE)
    with pytest.raises(InputError, match="no feature view 'user_vectors_ffffffffffff' of text vectors there"):
        online(shop, gone)
    with pytest.raises(InputError, match=r"user_vectors_ffffffffffff\.parquet: the model reads text vectors"):
        stored(shop, gone)
    wrong = VectorViews(version="0123456789ab", size=SIZE + 1)
    with pytest.raises(InputError, match=f"has not {SIZE + 1} numbers"):
        online(shop, wrong).vectors(["u1"], ["i1"])
    with pytest.raises(InputError, match=f"has not {SIZE + 1} numbers"):
        stored(shop, wrong)


def test_a_view_is_named_by_what_its_vectors_mean(tmp_path: Path) -> None:
    file = tmp_path / "projection.safetensors"
    file.write_bytes(b"one")
    first = VectorViews.of(file, size=SIZE, history=50)
    assert VectorViews.of(file, size=SIZE, history=50) == first
    assert VectorViews.of(file, size=SIZE, history=5).version != first.version
    file.write_bytes(b"two")
    assert VectorViews.of(file, size=SIZE, history=50).version != first.version
    assert first.name(Entity.USER) == f"user_vectors_{first.version}"


def test_serving_reads_vectors_without_torch_and_duckdb(shop: Path) -> None:
    program = f"""
import sys
from pathlib import Path
from elec.features.online import OnlineFeatures
from elec.features.stored_vectors import StoredVectors
from elec.features.vectors import VectorViews
from elec.spec.run import FeastSpec
same = dict(dataset="small-shop", user="user_id", item="item_id", feast_folder={str(shop / "feast")!r})
views = VectorViews(version="0123456789ab", size=3)
online = OnlineFeatures(**same, fields=[], feature_service="", settings=FeastSpec(), vectors=views)
for source in (online, StoredVectors(**same, views=views)):
    assert source.vectors(["u1"], ["i1"]).any()
assert "torch" not in sys.modules and "duckdb" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True, timeout=120)
