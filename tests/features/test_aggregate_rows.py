"""The rows of the aggregates' views: every number by brute force, and nothing of what comes later."""

import random
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow.parquet as pq
import pytest
from aggregated import CATEGORIES, CITIES, DATASET, LATE, LOGS, described, numbers, write
from hypothesis import given, settings
from hypothesis import strategies as st
from ingested_folder import START, moment

from elec.features.aggregates.rows import aggregate_rows
from elec.spec import DatasetSpec
from elec.spec.aggregates import Aggregate


def rows_of(dataset: DatasetSpec, aggregate: Aggregate, folder: Path, as_of: Any) -> list[dict[str, Any]]:
    view = aggregate.view(dataset.user, dataset.item)
    with TemporaryDirectory() as scratch:
        written = aggregate_rows(dataset.model_copy(update={"aggregates": (aggregate,)}), folder, Path(scratch), as_of)
        assert list(written) == [view.name]
        rows: list[dict[str, Any]] = pq.read_table(written[view.name]).to_pylist()
    moments = [tuple(row[name] for name in (*view.join_keys, "event_timestamp")) for row in rows]
    assert all(before < after for before, after in pairwise(moments))
    return rows


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("aggregates")


@given(
    log=LOGS,
    users=CITIES,
    items=CATEGORIES,
    dataset=st.sampled_from([DATASET, LATE]),
    place=st.integers(0, len(DATASET.aggregates) - 1),
    ends=st.integers(0, 40),
)
@settings(max_examples=60, deadline=None)
def test_every_number_is_that_of_the_definition(
    folder: Path, log: list[Any], users: list[Any], items: list[Any], dataset: DatasetSpec, place: int, ends: int
) -> None:
    aggregate = dataset.aggregates[place]
    view = aggregate.view(dataset.user, dataset.item)
    events = described(write(folder, log, users, items, dataset), users, items)
    as_of = moment(ends)
    rows = rows_of(dataset, aggregate, folder, as_of)
    assert all(row["event_timestamp"] <= as_of for row in rows)
    keys = {tuple(event[column] for column in view.columns) for event in events}
    for key in keys:
        mine = [row for row in rows if tuple(row[name] for name in view.join_keys) == key]
        for halves in range(-1, 2 * ends + 1):
            at = START + timedelta(minutes=30 * halves)
            there = [row for row in mine if row["event_timestamp"] <= at]
            found = {name: there[-1][name] if there else None for name in view.features}
            assert found == numbers(dataset, aggregate, events, key, at), (key, at)


@given(
    log=LOGS,
    users=CITIES,
    items=CATEGORIES,
    dataset=st.sampled_from([DATASET, LATE]),
    place=st.integers(0, len(DATASET.aggregates) - 1),
    seed=st.integers(0, 9),
)
@settings(max_examples=20, deadline=None)
def test_labels_that_are_not_known_yet_change_nothing(
    folder: Path, log: list[Any], users: list[Any], items: list[Any], dataset: DatasetSpec, place: int, seed: int
) -> None:
    draw = random.Random(seed)
    at = moment(draw.randint(0, 8))
    delay = timedelta(minutes=90 if dataset.label.clicks is not None else 0)
    # Whoever comes later, and whatever becomes known later of those who came before.
    other = [
        {**row, "label": draw.randint(0, 1)} if row["event_timestamp"] + delay >= at else row
        for row in log
        if row["event_timestamp"] + delay < at or draw.random() < 0.5
    ]
    found = []
    for given_log in (log, other):
        write(folder, given_log, users, items, dataset)
        rows = rows_of(dataset, dataset.aggregates[place], folder, moment(30))
        found.append([row for row in rows if row["event_timestamp"] <= at])
    assert found[0] == found[1]


def test_rows_that_training_leaves_out_count_too(tmp_path: Path) -> None:
    log = [
        {"event_timestamp": moment(0), "label": label, "user_id": "a", "item_id": "x", "device": None} for label in (1, 0, 0, 0)
    ]
    write(tmp_path, log, [], [], DATASET)
    (tmp_path / "valid.parquet").rename(tmp_path / "negatives.parquet")
    aggregate = DATASET.aggregates[0]
    (first, *_) = rows_of(DATASET, aggregate, tmp_path, moment(2))
    assert first["user_count_1h"] == 4.0
    assert first["user_ctr_1h"] == (1 + 2 * 0.25) / 6


def test_a_key_that_falls_silent_falls_to_nothing(tmp_path: Path) -> None:
    log = [{"event_timestamp": moment(0.5), "label": 1, "user_id": "a", "item_id": "x", "device": None}]
    write(tmp_path, log, [], [], DATASET)
    rows = rows_of(DATASET, DATASET.aggregates[0], tmp_path, moment(100))
    assert [(row["event_timestamp"], row["user_count_1h"], row["user_count_3h"]) for row in rows] == [
        (moment(1), 1.0, 1.0),
        (moment(2), 0.0, 1.0),
        (moment(4), 0.0, 0.0),
    ]
    # A run that stands between two of them knows the first only.
    assert rows_of(DATASET, DATASET.aggregates[0], tmp_path, moment(1.9)) == rows[:1]
