"""A data set with aggregates, random logs of it, and every number of them by brute force."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from ingested_folder import START, write_entities, write_log

from elec.spec import DatasetSpec, Entity
from elec.spec.aggregates import Aggregate, microseconds

SPEC: dict[str, Any] = {
    "name": "aggregated-shop",
    "source": {"path": "/nowhere/log.csv"},
    "label": {"column": "click"},
    "timestamp": {"column": "time"},
    "user": "user_id",
    "item": "item_id",
    "fields": [
        {"name": "city", "of": "user", "min_count": 1},
        {"name": "category", "of": "item", "min_count": 1},
        {"name": "device", "min_count": 1},
    ],
    "aggregates": [
        {"by": ["user"], "windows": ["1h", "3h"], "smoothing": 2},
        {"by": ["item"], "windows": ["2h"], "what": ["ctr"], "smoothing": 0.5, "every": "30m"},
        {"by": ["category"], "windows": ["1d"], "what": ["ctr", "count"], "smoothing": 0, "every": "2h"},
        {"by": ["user", "category"], "windows": ["2h"]},
        {"by": ["city", "item", "device"], "windows": ["4h"], "what": ["count"]},
    ],
}
DATASET = DatasetSpec.model_validate(SPEC)

#: With a log of clicks a label is known 90 minutes after its impression.
LATE = DatasetSpec.model_validate(
    {
        **SPEC,
        "name": "late-shop",
        "label": {"clicks": {"path": "/nowhere/clicks.csv", "request": "request", "timestamp": "at", "within": "90m"}},
    }
)

# On a tick, a microsecond before it and one after it, and between two.
MOMENTS = st.builds(
    lambda halves, micros: START + timedelta(minutes=30 * halves, microseconds=micros), st.integers(0, 16), st.integers(-1, 1)
)
LOGS = st.lists(
    st.fixed_dictionaries(
        {
            "event_timestamp": MOMENTS,
            "label": st.integers(0, 1),
            "user_id": st.sampled_from(["a", "b", None]),
            "item_id": st.sampled_from(["x", "y", "z"]),
            "device": st.sampled_from(["tv", None, "é 'quoted'"]),
        }
    ),
    min_size=1,
    max_size=25,
)
CITIES = st.lists(
    st.fixed_dictionaries(
        {"user_id": st.sampled_from(["a", "b"]), "event_timestamp": MOMENTS, "city": st.sampled_from(["Bonn", None])}
    ),
    max_size=4,
    unique_by=lambda row: (row["user_id"], row["event_timestamp"]),
)
CATEGORIES = st.lists(
    st.fixed_dictionaries(
        {"item_id": st.sampled_from(["x", "y"]), "event_timestamp": MOMENTS, "category": st.sampled_from(["hat", "shoe"])}
    ),
    max_size=5,
    unique_by=lambda row: (row["item_id"], row["event_timestamp"]),
)


def write(folder: Path, log: Sequence[dict[str, Any]], users: list[Any], items: list[Any], dataset: DatasetSpec) -> list[Any]:
    """Writes a log as ingest leaves it, its rows dealt to the three parts; gives them with their ids."""
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"row_id": number, **row} for number, row in enumerate(log)]
    for part, split in enumerate(("train", "valid", "test")):
        write_log(folder / f"{split}.parquet", rows[part::3], dataset)
    write_entities(folder / "users.parquet", Entity.USER, users, dataset)
    write_entities(folder / "items.parquet", Entity.ITEM, items, dataset)
    return rows


def described(log: Sequence[dict[str, Any]], users: list[Any], items: list[Any]) -> list[dict[str, Any]]:
    """The log's rows with what was known of their user and item at their own moment."""
    found = []
    for row in log:
        city = newest(users, "user_id", row)
        category = newest(items, "item_id", row)
        found.append({**row, "city": city and city["city"], "category": category and category["category"]})
    return found


def newest(rows: list[Any], key: str, event: dict[str, Any]) -> Any:
    """The newest row of an event's key that is not later."""
    there = [row for row in rows if row[key] == event[key] and row["event_timestamp"] <= event["event_timestamp"]]
    return max(there, key=lambda row: row["event_timestamp"], default=None)


def numbers(
    dataset: DatasetSpec, aggregate: Aggregate, rows: Sequence[dict[str, Any]], key: Sequence[str | None], at: datetime
) -> dict[str, float | None]:
    """What an aggregate has to say of a key to an event at a moment, from the definition and nothing else."""
    columns = aggregate.view(dataset.user, dataset.item).columns
    delay = timedelta(microseconds=dataset.label.clicks.within_us if dataset.label.clicks is not None else 0)
    every = timedelta(microseconds=microseconds(aggregate.every))
    epoch = datetime(1970, 1, 1, tzinfo=UTC)
    unknown = dict.fromkeys(aggregate.features)
    if None in key:
        return unknown
    mine = [row for row in rows if tuple(row[column] for column in columns) == tuple(key)]
    windows = {window: timedelta(microseconds=microseconds(window)) for window in aggregate.windows}

    def counted(tick: datetime, span: timedelta | None = None, some: Sequence[dict[str, Any]] = mine) -> tuple[int, int]:
        known = [row for row in some if row["event_timestamp"] + delay < tick]
        if span is not None:
            known = [row for row in known if row["event_timestamp"] + delay >= tick - span]
        return len(known), sum(row["label"] for row in known)

    tick = epoch + (at - epoch) // every * every
    if not counted(tick)[0]:
        return unknown
    # The prior is that of the tick at which anything about the key last changed.
    changed = tick
    while all(counted(changed, span) == counted(changed - every, span) for span in windows.values()) and not any(
        _moves(mine, delay, changed, every, span) for span in windows.values()
    ):
        changed -= every
    shown, clicked = counted(changed, None, rows)
    found: dict[str, float | None] = {}
    for what in aggregate.what:
        for window, span in windows.items():
            count, clicks = counted(tick, span)
            value: float | None = float(count)
            if what == "ctr":
                weight = count + aggregate.smoothing
                value = (clicks + aggregate.smoothing * (clicked / shown)) / weight if weight else None
            found[aggregate.feature(what, window)] = value
    return found


def _moves(mine: Sequence[dict[str, Any]], delay: timedelta, tick: datetime, every: timedelta, span: timedelta) -> bool:
    """Whether an impression enters or leaves at a tick, even if as many do the one as the other."""
    moments = [row["event_timestamp"] + delay for row in mine]
    return any(tick - every <= moment < tick or tick - span - every <= moment < tick - span for moment in moments)
