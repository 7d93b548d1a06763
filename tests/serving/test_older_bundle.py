"""A bundle serves on while runs with other fields publish into the same workspace."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elec.features.repository import FeatureRepository
from elec.serving.bundle import open_bundle
from elec.serving.manifest import read_manifest
from elec.serving.predictor import Predictor
from elec.serving.ranker import Ranker
from elec.serving.start import open_features
from elec.spec import DatasetSpec
from elec.spec.run import FeastSpec
from elec.spec.serving import ServingSpec
from tests.serving.made import AS_OF, SPEC, items_table, shared_bundle, users_table, variant
from tests.serving.redis_process import RedisProcess

ITEMS = [f"i{number}" for number in range(12)]


def with_fields(**changes: dict[str, Any] | None) -> DatasetSpec:
    listed = {field.name: field.model_dump() for field in SPEC.dataset.fields}
    listed |= {name: {"name": name, **content} for name, content in changes.items() if content is not None}
    kept = [content for name, content in listed.items() if changes.get(name, {}) is not None]
    return DatasetSpec.model_validate(SPEC.dataset.model_dump() | {"fields": kept})


def publish(dataset: DatasetSpec, users: pa.Table, root: Path, settings: FeastSpec) -> str | None:
    pq.write_table(users, root / "users.parquet")
    pq.write_table(items_table(), root / "items.parquet")
    with FeatureRepository(dataset, root / "feast", settings).published(root, AS_OF) as published:
        return published.service


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_a_bundle_serves_what_it_was_trained_on_whatever_later_specs_say(kind: str, tmp_path: Path) -> None:
    if kind == "redis":
        with RedisProcess(tmp_path) as redis:
            check(tmp_path, FeastSpec(online_store="redis", redis=redis.address))
    else:
        check(tmp_path, FeastSpec())


def check(root: Path, settings: FeastSpec) -> None:
    users = users_table()
    assert publish(SPEC.dataset, users, root, settings) == "toy_v1"
    variant(shared_bundle() / "bundle", root / "bundle", feast=settings.model_dump())
    assert read_manifest(root / "bundle").feature_service == "toy_v1"

    def scores() -> np.ndarray:
        """Of a server that starts now."""
        opened = open_bundle(str(root / "bundle"))
        features = open_features(opened.manifest, str(root / "feast"))
        ranked = Ranker(Predictor(opened), features, ServingSpec()).rank("u3", ITEMS)
        assert not ranked.degraded
        assert not ranked.unknown_user
        return ranked.scores_N

    before = scores()
    # A field more, which this bundle does not know.
    more = with_fields(land={"of": "user"})
    assert publish(more, users.append_column("land", pa.array(["x"] * len(users))), root, settings) == "toy_v2"
    np.testing.assert_array_equal(scores(), before)
    # A field of another kind: its values of before stay this bundle's.
    other = with_fields(land={"of": "user"}, city={"of": "user", "kind": "multivalued"})
    cities = pa.array([["c1", "c2"]] * len(users), pa.list_(pa.string()))
    listed = users.set_column(users.column_names.index("city"), "city", cities)
    assert publish(other, listed.append_column("land", pa.array(["x"] * len(users))), root, settings) == "toy_v3"
    np.testing.assert_array_equal(scores(), before)
    # A field less.
    assert publish(with_fields(city=None), users.drop_columns(["city"]), root, settings) == "toy_v4"
    np.testing.assert_array_equal(scores(), before)
    # What the specs have in common is new for this bundle too.
    older = users.set_column(users.column_names.index("age"), "age", pa.array([80.0] * len(users)))
    assert publish(with_fields(city=None), older.drop_columns(["city"]), root, settings) == "toy_v4"
    assert (scores() != before).any()
