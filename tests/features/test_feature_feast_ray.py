"""Feast's own store of type `ray`, and what it gives otherwise than Feast's DuckDB store: why it is not used.

Each case is expected to fail. One that passes says that Feast has mended it: `elec.features.ray_store` and
docs/distributed.md then want another look.
"""

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ingested_folder import MOMENT, moment

from elec.engine import started
from elec.features.library import feast, quiet
from elec.features.store_config import feature_store_settings, open_store
from elec.spec.run import DataEngineSpec, FeastSpec

pytest.importorskip("ray")

LONG = "x" * 100_000

#: What is said of it, the view's rows (user, hour, city), the log's (user, hour), the view's time to live, more settings.
CASES: dict[str, tuple[list[tuple[str, float, str]], list[tuple[str | None, float]], timedelta, dict[str, Any]]] = {
    "one of two rows of the same key and moment": ([("a", 0, "x")], [("a", 1), ("a", 1)], timedelta(0), {}),
    "a row without a key": ([("a", 0, "x")], [("a", 1), (None, 1)], timedelta(0), {}),
    "the end of a value's time to live": ([("a", 0, "x"), ("b", -1, "y")], [("a", 1), ("a", 3)], timedelta(hours=2), {}),
    "values of a view that is not small": (
        [(f"{number}", 0, LONG) for number in range(30)],
        [("1", 0.5), ("2", 3)],
        timedelta(0),
        {"broadcast_join_threshold_mb": 1},
    ),
}


@pytest.fixture(scope="module")
def workers() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("RAY_ADDRESS", raising=False)
        with started(DataEngineSpec(engine="ray", workers=2)):
            yield


@pytest.mark.slow
@pytest.mark.xfail(strict=True, raises=AssertionError, reason="Feast 0.67's Ray store loses it")
@pytest.mark.parametrize("lost", CASES)
def test_feast_ray_store_keeps(workers: None, tmp_path: Path, lost: str) -> None:
    rows, log, ttl, more = CASES[lost]
    users, hours, cities = zip(*rows, strict=True)
    moments = pa.array([moment(at) for at in hours], MOMENT)
    pq.write_table(pa.table({"user": users, "event_timestamp": moments, "city": cities}), tmp_path / "users.parquet")
    asked = pd.DataFrame({"row": range(len(log)), "user": [user for user, _ in log]})
    asked["event_timestamp"] = pd.to_datetime([moment(at) for _, at in log], utc=True).astype("datetime64[us, UTC]")
    settings = {"type": "ray", "storage_path": str(tmp_path / "ray"), **more}
    one, other = (found_by(store, tmp_path, ttl, asked) for store in ({"type": "duckdb"}, settings))
    assert other == one


def found_by(offline_store: dict[str, Any], folder: Path, ttl: timedelta, asked: pd.DataFrame) -> list[Any]:
    """The city of each row that comes back."""
    library = feast()
    from feast.types import String

    key = library.Entity(name="user", join_keys=["user"], value_type=library.ValueType.STRING)
    source = library.FileSource(name="rows", path=str(folder / "users.parquet"), timestamp_field="event_timestamp")
    fields = [library.Field(name=name, dtype=String) for name in ("user", "city")]
    view = library.FeatureView(name="users", entities=[key], ttl=ttl, schema=fields, source=source)
    settings = feature_store_settings("p", folder, FeastSpec(), registry=str(folder / f"{offline_store['type']}.db"))
    store = open_store(settings | {"offline_store": offline_store})
    with quiet():
        store.apply([key, view])
        found = store.get_historical_features(entity_df=asked.copy(), features=["users:city"]).to_arrow()
    return [(row["row"], row["city"]) for row in found.sort_by("row").to_pylist()]
