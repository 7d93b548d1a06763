"""Feast's configuration from the spec."""

from pathlib import Path

import pytest
import yaml
from ingested_folder import DATASET

from elec.errors import InputError
from elec.features.repository import write_feature_store
from elec.features.store_config import feature_store_settings, open_store
from elec.spec.run import DataEngineSpec, FeastSpec


def test_sqlite_lies_beside_the_registry(tmp_path: Path) -> None:
    file = write_feature_store(DATASET, tmp_path / "feast", FeastSpec())
    content = yaml.safe_load(Path(file).read_text())
    assert content["project"] == "small_shop"
    assert content["registry"]["path"] == str(tmp_path / "feast" / "registry.db")
    assert content["online_store"] == {"type": "sqlite", "path": str(tmp_path / "feast" / "online_store.db")}
    assert content["offline_store"] == {"type": "duckdb"}
    assert content["entity_key_serialization_version"] == 3


def test_the_offline_store_follows_the_engine(tmp_path: Path) -> None:
    file = write_feature_store(DATASET, tmp_path / "feast", FeastSpec(), DataEngineSpec(engine="ray", workers=5))
    content = yaml.safe_load(Path(file).read_text())
    assert content["offline_store"] == {
        "type": "elec.features.ray_store.RayTasksOfflineStore",
        "workers": 5,
        "exchange": str(tmp_path / "feast" / "exchange"),
    }
    store = open_store(content)
    assert store.config.offline_store.model_dump(exclude_none=True) == content["offline_store"]
    assert type(store._get_provider().offline_store).__name__ == "RayTasksOfflineStore"


def test_a_secret_stays_a_variable_on_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SHOP_REDIS", "s3cret")
    settings = FeastSpec(online_store="redis", redis="redis.internal:6379,ssl=true,password=${SHOP_REDIS}")
    text = Path(write_feature_store(DATASET, tmp_path, settings)).read_text()
    assert "s3cret" not in text
    assert "${SHOP_REDIS}" in text
    store = open_store(feature_store_settings("p", tmp_path, settings))
    assert "password=s3cret" in store.config.online_store.connection_string
    # A Redis that hangs must not hang a request.
    assert "socket_timeout=2" in store.config.online_store.connection_string


@pytest.mark.parametrize(
    ("folder", "settings", "said"),
    [
        ("s3://bucket/feast", FeastSpec(), "set run.feast.online_store to redis"),
        ("/x", FeastSpec(online_store="redis"), "set it to host:port"),
        ("/x", FeastSpec(redis="localhost:1"), "set online_store: redis"),
    ],
)
def test_settings_that_do_not_fit_are_refused(folder: str, settings: FeastSpec, said: str) -> None:
    with pytest.raises(InputError, match=said):
        feature_store_settings("p", folder, settings)


def test_a_variable_that_is_not_set_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SHOP_REDIS", raising=False)
    settings = FeastSpec(online_store="redis", redis="h:1,password=${SHOP_REDIS}")
    with pytest.raises(InputError, match="SHOP_REDIS"):
        open_store(feature_store_settings("p", tmp_path, settings))
