"""Aggregates in the training frame and online: the same numbers, and those of the definition."""

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from aggregated import CATEGORIES, CITIES, DATASET, LATE, LOGS, SPEC, described, newest, numbers, write
from hypothesis import HealthCheck, given, settings
from ingested_folder import moment

from elec.errors import InputError
from elec.features.frame import frame_schema, write_frame
from elec.features.online import OnlineFeatures
from elec.features.repository import FeatureRepository, Published
from elec.progress import Progress
from elec.spec import DatasetSpec, FieldSpec
from elec.spec.run import FeastSpec

#: How a frame is made: with the views in memory, by DuckDB's ASOF JOIN, by Feast.
JOINS: dict[str, dict[str, Any]] = {"held": {}, "asof": {"most_bytes_held": 0}, "feast": {"join": "feast"}}


def frame_of(published: Published, folder: Path, join: str) -> pa.Table:
    """The frame of all three parts."""
    parts = []
    for split in ("train", "valid", "test"):
        target = folder / f"{split}-frame.parquet"
        with Progress("join", unit="rows") as progress:
            write_frame(
                published.store, published.service, DATASET, folder / f"{split}.parquet", target, progress, **JOINS[join]
            )
        parts.append(pq.read_table(target))
    return pa.concat_tables(parts).sort_by("row_id")


def expected(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The frame's rows by brute force."""
    found = []
    for event in events:
        row = dict(event)
        for aggregate in DATASET.aggregates:
            key = [event[column] for column in aggregate.view("user_id", "item_id").columns]
            row |= numbers(DATASET, aggregate, events, key, event["event_timestamp"])
        found.append({name: row[name] for name in frame_schema(DATASET).names})
    return found


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("frames")


@given(log=LOGS, users=CITIES, items=CATEGORIES)
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_join_gives_the_numbers_of_the_definition(
    folder: Path, log: list[Any], users: list[Any], items: list[Any]
) -> None:
    events = described(write(folder, log, users, items, DATASET), users, items)
    repository = FeatureRepository(DATASET, folder / "feast", FeastSpec())
    with repository.published(folder, moment(30)) as published:
        held, asof, feast = (frame_of(published, folder, join) for join in JOINS)
    assert held.to_pylist() == expected(events)
    assert asof.equals(held)
    assert feast.equals(held)


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest) -> FeastSpec:
    """The settings of each kind of online store."""
    if request.param == "sqlite":
        return FeastSpec()
    return FeastSpec(online_store="redis", redis=request.getfixturevalue("redis_address"))


def made_log(rows: int, seed: int) -> tuple[list[Any], list[Any], list[Any]]:
    """A log of 20 hours, users who move and items that change."""
    draw = random.Random(seed)
    log = [
        {
            "event_timestamp": moment(draw.randrange(80) / 4),
            "label": draw.randint(0, 1),
            "user_id": draw.choice(["a", "b", "c", None]),
            "item_id": draw.choice("xyz"),
            "device": draw.choice(["tv", "phone", None]),
        }
        for _ in range(rows)
    ]
    users = [
        {"user_id": key, "event_timestamp": moment(at), "city": draw.choice(["Bonn", "Oslo"])} for key in "ab" for at in (0, 9)
    ]
    items = [
        {"item_id": key, "event_timestamp": moment(at), "category": draw.choice(["hat", "shoe"])}
        for key in "xy"
        for at in (1, 8)
    ]
    return log, users, items


@pytest.mark.parametrize("dataset", [DATASET, LATE], ids=["at once", "late"])
def test_the_online_store_answers_at_every_as_of_as_the_frame_would(
    tmp_path: Path, store: FeastSpec, dataset: DatasetSpec
) -> None:
    """Three runs, one after the other; in the last nobody has come for hours, and the numbers have fallen."""
    log, users, items = made_log(80, 3)
    repository = FeatureRepository(dataset, tmp_path / "feast", store)
    done = []
    for hours in (7.5, 14.0, 26.0):
        at = moment(hours)
        # A run sees what its moment lets it see.
        seen = [[row for row in rows if row["event_timestamp"] <= at] for rows in (log, users, items)]
        ingested = tmp_path / f"{hours}"
        events = described(write(ingested, *seen, dataset), *seen[1:])
        with repository.published(ingested, at) as published:
            done.append(set(published.online.values()))
        features = OnlineFeatures.of_dataset(dataset, tmp_path / "feast", store)
        pairs = [(user, item, device) for user in ("a", "c", "nobody") for item in "xzu" for device in ("tv", None)]
        records = []
        for user, item, device in pairs:
            event = {"user_id": user, "item_id": item, "device": device, "event_timestamp": at}
            event["city"] = (newest(users, "user_id", event) or {}).get("city")
            event["category"] = (newest(items, "item_id", event) or {}).get("category")
            for aggregate in dataset.aggregates:
                key = [event[column] for column in aggregate.view("user_id", "item_id").columns]
                event |= numbers(dataset, aggregate, events, key, at)
            records.append(event)
        found = features.pairs(
            {name: [event[name] for event in records] for name in ("user_id", "item_id", "device", "city", "category")}
        )
        assert sorted(found) == sorted(field.name for field in dataset.aggregate_fields if field.of == "pair")
        for row, event in enumerate(records):
            answer = features.user(event["user_id"]) | features.items([event["item_id"]]).to_pylist()[0]
            answer |= {name: values[row].as_py() for name, values in found.items()}
            assert answer == {name: event[name] for name in answer}
            assert {field.name for field in dataset.aggregate_fields} < set(answer)
        for view in dataset.aggregate_views:
            asked = [{key: event[column] or "" for key, column in view.named} for event in records]
            by_feast = published.store.get_online_features([f"{view.name}:{name}" for name in view.features], asked).to_dict()
            assert {name: by_feast[name] for name in view.features} == {
                name: [event[name] for event in records] for name in view.features
            }
    assert done == [{"all"}, {"new"}, {"new"}]
    assert {event["user_count_3h"] for event in records} == {0.0, None}


def features_of(feast_folder: Path, fields: Sequence[FieldSpec], service: str | None) -> OnlineFeatures:
    """The look-ups of a bundle."""
    return OnlineFeatures(
        dataset=DATASET.name,
        user="user_id",
        item="item_id",
        fields=fields,
        feature_service=service or "",
        feast_folder=feast_folder,
        settings=FeastSpec(),
    )


def test_another_meaning_is_another_view_and_the_old_one_stays(tmp_path: Path) -> None:
    write(tmp_path, *made_log(40, 1), DATASET)
    (first, *others) = SPEC["aggregates"]
    fields = [*DATASET.all_fields, *DATASET.aggregate_fields]
    with FeatureRepository(DATASET, tmp_path / "feast", FeastSpec()).published(tmp_path, moment(9)) as published:
        service = published.service
    before = OnlineFeatures.of_dataset(DATASET, tmp_path / "feast", FeastSpec()).user("a")
    changed = DatasetSpec.model_validate({**SPEC, "aggregates": [{**first, "smoothing": 50}, *others]})
    with FeatureRepository(changed, tmp_path / "feast", FeastSpec()).published(tmp_path, moment(9)) as published:
        assert published.service != service
    after = OnlineFeatures.of_dataset(changed, tmp_path / "feast", FeastSpec()).user("a")
    assert after["user_ctr_3h"] != before["user_ctr_3h"]
    assert features_of(tmp_path / "feast", fields, service).user("a") == before
    without = DatasetSpec.model_validate({**SPEC, "aggregates": others})
    with FeatureRepository(without, tmp_path / "feast", FeastSpec()).published(tmp_path, moment(9)) as published:
        fewer = published.service
    with pytest.raises(InputError, match="no field user_ctr_3h"):
        features_of(tmp_path / "feast", [field for field in fields if field.name == "user_ctr_3h"], fewer)
