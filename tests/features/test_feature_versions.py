"""A bundle's look-ups stay what they are while the spec goes on: versions of the feature service; SQLite and a real Redis."""

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ingested_folder import DATASET, moment, write_entities, write_log

from elec.errors import InputError
from elec.features.definitions import project_name, wanted_views
from elec.features.feast_registry import Registry
from elec.features.feast_values import VALUE_TYPES
from elec.features.frame import write_frame
from elec.features.online import OnlineFeatures
from elec.features.repository import FeatureRepository
from elec.features.store_config import feature_store_settings, open_store
from elec.features.versions import Versions, WantedView, versions
from elec.progress import Progress
from elec.spec import DatasetSpec, Entity
from elec.spec.run import FeastSpec

TEXT, NUMBER, TEXTS = pa.string(), pa.float64(), pa.list_(pa.string())


def wanted(name: str = "users", key: str = "user", **features: pa.DataType) -> WantedView:
    return WantedView(name, (key,), features)


def after(*runs: list[WantedView]) -> Versions:
    """What the last of several runs finds, each of which has applied all that it found."""
    registry = Registry({}, {}, frozenset(), {})
    for run in runs:
        found = versions("shop", run, registry)
        registry = Registry(
            views={},
            entities={view.name: view.keys for view in found.views.values()},
            disabled=frozenset(),
            services={
                name: {(view, feature): VALUE_TYPES[found.views[view].features[feature]] for view, feature in offered}
                for name, offered in found.services.items()
            },
        )
    return found


def test_the_first_spec_gets_the_first_version() -> None:
    found = after([wanted(age=NUMBER), wanted("items", "item", title=TEXT)])
    assert found.service == "shop_v1"
    assert found.chosen == {"users": "users", "items": "items"}
    assert found.services == {"shop_v1": (("users", "age"), ("items", "title"))}
    assert after([]).service is None


def test_an_equal_set_is_the_same_version_in_whatever_order() -> None:
    one, other = [wanted(age=NUMBER, city=TEXT)], [wanted(city=TEXT, age=NUMBER)]
    assert after(one, other).service == "shop_v1"
    # As it stands in the registry: Feast would take another order for a change.
    assert after(one, other).services == after(one).services
    assert list(after(one, other).views["users"].features) == ["age", "city"]
    assert after(one, [wanted(age=NUMBER)], other).service == "shop_v1"
    assert after(one, [wanted(age=NUMBER)], [wanted(age=NUMBER)]).service == "shop_v2"


def test_a_field_more_and_a_field_less_stay_in_one_view() -> None:
    found = after([wanted(age=NUMBER, city=TEXT)], [wanted(age=NUMBER, land=TEXT)])
    assert list(found.views) == ["users"]
    assert found.views["users"].features == {"age": NUMBER, "city": TEXT, "land": TEXT}
    assert found.views["users"].filled == ("age", "land")
    assert found.services == {
        "shop_v1": (("users", "age"), ("users", "city")),
        "shop_v2": (("users", "age"), ("users", "land")),
    }


def test_a_field_of_another_type_gets_a_view_beside_and_the_first_is_still_filled() -> None:
    first = [wanted(age=NUMBER, city=TEXT)]
    found = after(first, [wanted(age=NUMBER, city=TEXTS)])
    assert found.service == "shop_v2"
    assert found.chosen == {"users": "users_v2"}
    assert found.views["users"].features == {"age": NUMBER, "city": TEXT}
    assert found.views["users"].filled == ("age",)
    assert found.views["users_v2"].features == {"age": NUMBER, "city": TEXTS}
    assert found.views["users_v2"].filled == ("age", "city")
    # And back.
    again = after(first, [wanted(age=NUMBER, city=TEXTS)], first)
    assert (again.service, again.chosen) == ("shop_v1", {"users": "users"})
    assert again.views["users_v2"].filled == ("age",)
    assert after(first, [wanted(age=NUMBER, city=TEXTS)], [wanted(city=NUMBER)]).chosen == {"users": "users_v3"}


def test_another_key_gets_a_view_beside_and_the_first_stays_as_it_was() -> None:
    found = after([wanted(age=NUMBER)], [wanted(key="uid", age=NUMBER)])
    assert found.chosen == {"users": "users_v2"}
    assert (found.views["users"].rows, found.views["users"].filled) == (None, ())
    assert found.views["users_v2"].keys == ("uid",)


def test_a_view_that_is_no_longer_wanted_stays() -> None:
    found = after([wanted(age=NUMBER), wanted("items", "item", title=TEXT)], [wanted(age=NUMBER)])
    assert found.service == "shop_v2"
    assert (found.views["items"].rows, found.views["items"].features) == (None, {"title": TEXT})


def test_a_service_of_somebody_else_s_types_is_named() -> None:
    registry = Registry({}, {}, frozenset(), {"shop_v3": {("clicks", "count"): 4}, "shop_vip": {("clicks", "count"): 4}})
    with pytest.raises(InputError, match="feature service 'shop_v3': offers 'clicks:count', of a type"):
        versions("shop", [wanted(age=NUMBER)], registry)


def changed(**fields: dict[str, Any] | None) -> DatasetSpec:
    """The data set with other fields: None leaves one out."""
    listed = {field.name: field.model_dump() for field in DATASET.fields}
    listed |= {name: {"name": name, **content} for name, content in fields.items() if content is not None}
    kept = [content for name, content in listed.items() if fields.get(name, {}) is not None]
    return DatasetSpec.model_validate(DATASET.model_dump() | {"fields": kept})


#: The spec as it was, with a field more and one less, with one of another kind, and as it was again.
SPECS = (
    DATASET,
    changed(land={"of": "user"}, price=None),
    changed(land={"of": "user"}, price=None, city={"of": "user", "kind": "multivalued"}),
    DATASET,
)


def run(dataset: DatasetSpec, number: int, root: Path, settings: FeastSpec) -> str:
    """A run: all values are of this run; each has a user and an item that those before it did not know. Gives the service."""
    ingested = root / f"ingested-{number}"
    ingested.mkdir(parents=True)
    of_kind = {"categorical": f"c{number}", "text": f"t{number}", "numeric": float(number), "multivalued": [f"m{number}"]}
    for entity, name in ((Entity.USER, "users"), (Entity.ITEM, "items")):
        described = {field.name: of_kind[field.kind] for field in dataset.fields_of(entity)}
        rows = [
            {dataset.key_of(entity): f"{name[0]}{key}", "event_timestamp": moment(number), **described}
            for key in ("", *range(number + 1))
        ]
        write_entities(ingested / f"{name}.parquet", entity, rows, dataset)
    log = {"row_id": 0, "label": 0, "event_timestamp": moment(number + 0.5), "user_id": "u", "item_id": "i0", "device": "d"}
    write_log(ingested / "log.parquet", [log], dataset)
    repository = FeatureRepository(dataset, root / "feast", settings)
    frames = []
    with repository.published(ingested, moment(number + 0.5)) as published, Progress("join", unit="rows") as progress:
        for join in ("fast", "feast"):
            target = root / f"{number}-{join}.parquet"
            rows_file = ingested / "log.parquet"
            write_frame(published.store, published.service, dataset, rows_file, target, progress, join=join)  # type: ignore[arg-type]
            frames.append(pq.read_table(target))
    assert frames[0].equals(frames[1])
    # What training has read is what serving reads.
    online = OnlineFeatures.of_dataset(dataset, root / "feast", settings)
    user, items = online.user_and_items("u", ["i0"])
    (row,) = frames[0].to_pylist()
    assert {**user, **items.to_pylist()[0]} == {name: row[name] for name in (*user, *items.column_names)}
    assert published.service is not None
    return published.service


def look_up(dataset: DatasetSpec, service: str, root: Path, settings: FeastSpec, key: str) -> dict[str, Any]:
    """The answers of a bundle's look-up, which Feast's own are equal to."""
    online = OnlineFeatures(
        dataset=dataset.name,
        user=dataset.user,
        item=dataset.item,
        fields=dataset.all_fields,
        feature_service=service,
        feast_folder=root / "feast",
        settings=settings,
    )
    user, items = online.user_and_items(f"u{key}", [f"i{key}"])
    found = {**user, **items.to_pylist()[0]}
    store = open_store(feature_store_settings(project_name(dataset.name), root / "feast", settings))
    rows = [{"user_id": f"u{key}", "item_id": f"i{key}"}]
    by_feast = store.get_online_features(features=store.get_feature_service(service), entity_rows=rows).to_dict()
    assert {name: [value] for name, value in found.items()} == by_feast
    return {name: value for name, value in found.items() if name not in {"user_id", "item_id"}}


@pytest.mark.parametrize("kind", ["sqlite", "redis"])
def test_an_old_bundle_reads_what_it_was_trained_on(kind: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    settings = FeastSpec()
    if kind == "redis":
        settings = FeastSpec(online_store="redis", redis=f"{request.getfixturevalue('redis_address')},db=11")
    first, second, third = SPECS[:3]

    assert run(first, 0, tmp_path, settings) == "small_shop_v1"
    of_first = {"age": 0.0, "city": "c0", "title": "t0", "tags": ["m0"], "price": 0.0}
    assert look_up(first, "small_shop_v1", tmp_path, settings, "") == of_first

    # A field more, one less: what both have is new for both, and what the old one has alone stays the newest there is.
    assert run(second, 1, tmp_path, settings) == "small_shop_v2"
    both = {"age": 1.0, "city": "c1", "title": "t1", "tags": ["m1"]}
    assert look_up(first, "small_shop_v1", tmp_path, settings, "") == both | {"price": 0.0}
    assert look_up(first, "small_shop_v1", tmp_path, settings, "1") == both | {"price": None}
    assert look_up(second, "small_shop_v2", tmp_path, settings, "1") == both | {"land": "c1"}

    # A field of another kind.
    assert run(third, 2, tmp_path, settings) == "small_shop_v3"
    of_all = {"age": 2.0, "title": "t2", "tags": ["m2"]}
    assert look_up(first, "small_shop_v1", tmp_path, settings, "") == of_all | {"city": "c1", "price": 0.0}
    assert look_up(second, "small_shop_v2", tmp_path, settings, "") == of_all | {"city": "c1", "land": "c2"}
    assert look_up(second, "small_shop_v2", tmp_path, settings, "2") == of_all | {"city": None, "land": "c2"}
    assert look_up(third, "small_shop_v3", tmp_path, settings, "2") == of_all | {"city": ["m2"], "land": "c2"}

    # The spec of before is the version of before, and all of it is new again.
    assert run(first, 3, tmp_path, settings) == "small_shop_v1"
    again = {"age": 3.0, "city": "c3", "title": "t3", "tags": ["m3"], "price": 3.0}
    assert look_up(first, "small_shop_v1", tmp_path, settings, "") == again
    assert look_up(third, "small_shop_v3", tmp_path, settings, "")["city"] == ["m2"]
    assert look_up(third, "small_shop_v3", tmp_path, settings, "")["age"] == 3.0


def test_the_views_of_a_spec_are_of_its_fields() -> None:
    users, items = wanted_views(DATASET)
    assert (users.name, users.keys, users.features) == ("users", ("user_id",), {"age": NUMBER, "city": TEXT})
    assert (items.name, items.keys) == ("items", ("item_id",))
    assert items.features == {"title": TEXT, "tags": TEXTS, "price": NUMBER}
