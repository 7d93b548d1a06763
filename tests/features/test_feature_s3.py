"""A workspace on S3: definitions and rows there, values in Redis, nothing downloaded to join."""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ingested_folder import DATASET, moment, write_ingested

from elec import s3, storage
from elec.errors import InputError
from elec.features.build import build_features
from elec.features.definitions import project_name
from elec.features.online import OnlineFeatures
from elec.features.repository import FeatureRepository
from elec.features.store_config import feature_store_settings, open_store
from elec.features.stored_vectors import StoredVectors
from elec.features.vectors import VectorViews, published_vectors
from elec.spec import Entity, Spec
from elec.spec.run import FeastSpec, RunSpec


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    s3.client().create_bucket(Bucket="shop")
    yield "shop"
    server.stop()


@pytest.fixture
def redis_settings(redis_address: str) -> FeastSpec:
    return FeastSpec(online_store="redis", redis=redis_address)


def test_text_vectors_of_a_workspace_on_s3(tmp_path: Path, bucket: str, redis_settings: FeastSpec) -> None:
    folder = f"s3://{bucket}/with-vectors/feast"
    views = VectorViews(version="0123456789ab", size=2)
    rows = {}
    for entity, key in ((Entity.USER, "user_id"), (Entity.ITEM, "item_id")):
        rows[entity] = tmp_path / f"{entity}.parquet"
        pq.write_table(pa.table({key: ["known"], "vector": [[1.0, -2.0]]}), rows[entity])
    repository = FeatureRepository(DATASET, folder, redis_settings)
    assert set(repository.publish_vectors(views, rows, moment(100)).values()) == {"all"}
    assert published_vectors(f"{folder}/data/small_shop") == [views]
    keys = {"dataset": DATASET.name, "user": "user_id", "item": "item_id", "feast_folder": folder}
    online = OnlineFeatures(**keys, fields=(), feature_service="", settings=redis_settings, vectors=views)
    for source in (online, StoredVectors(**keys, views=views)):
        assert source.vectors(["known", "nobody"], ["known", "known"]).tolist() == [[[1, -2], [1, -2]], [[0, 0], [1, -2]]]


def test_a_workspace_on_s3(tmp_path: Path, bucket: str, redis_settings: FeastSpec) -> None:
    spec = Spec(dataset=DATASET, run=RunSpec(feast=redis_settings))
    ingested = write_ingested(tmp_path / "ingested")
    folder = f"s3://{bucket}/workspace/feast"
    report = build_features(spec, ingested, tmp_path / "one", feast_folder=folder, as_of=moment(100))
    assert report.online == {"users": "all", "items": "all"}
    assert storage.list_files(folder) == [
        "data/small_shop/items.parquet",
        "data/small_shop/online.json",
        "data/small_shop/users.parquet",
        "feature_store.yaml",
        "registry.db",
    ]
    features = OnlineFeatures.of_dataset(DATASET, folder, redis_settings)
    assert features.user("u1")["city"] == "Köln"
    # The registry tells others where the rows are, not where this run had its copy.
    view = open_store(feature_store_settings(project_name(DATASET.name), folder, redis_settings)).get_feature_view("users")
    assert view.batch_source.path == f"{folder}/data/small_shop/users.parquet"
    again = build_features(spec, ingested, tmp_path / "two", feast_folder=folder, as_of=moment(100))
    assert again.online == {"users": "none", "items": "none"}
    with pytest.raises(InputError, match="no feature service"):
        OnlineFeatures.of_dataset(DATASET, f"s3://{bucket}/elsewhere", redis_settings)
