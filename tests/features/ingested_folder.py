"""A small data set as ingest leaves it."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from elec.features.raw import TYPES
from elec.spec import DatasetSpec, Entity

MOMENT = pa.timestamp("us", tz="UTC")
START = datetime(2024, 1, 1, tzinfo=UTC)

DATASET = DatasetSpec.model_validate(
    {
        "name": "small-shop",
        "source": {"path": "/nowhere/log.csv"},
        "label": {"column": "click"},
        "timestamp": {"column": "time"},
        "user": "user_id",
        "item": "item_id",
        "fields": [
            {"name": "age", "of": "user", "kind": "numeric", "buckets": 4},
            {"name": "city", "of": "user", "min_count": 1},
            {"name": "title", "of": "item", "kind": "text"},
            {"name": "tags", "of": "item", "kind": "multivalued", "max_values": 2, "min_count": 1},
            {"name": "price", "of": "item", "kind": "numeric", "buckets": 4},
            {"name": "device", "min_count": 1},
        ],
    }
)


def moment(hours: float) -> datetime:
    """A time so many hours after the start."""
    return START + timedelta(hours=hours)


def write_log(file: Path, rows: list[dict[str, Any]], dataset: DatasetSpec = DATASET) -> None:
    """A split: row_id, label, event_timestamp, keys, context fields."""
    schema = pa.schema(
        [
            ("row_id", pa.int64()),
            ("label", pa.int8()),
            ("event_timestamp", MOMENT),
            (dataset.user, pa.string()),
            (dataset.item, pa.string()),
            *((field.name, TYPES[field.kind]) for field in dataset.fields_of(Entity.CONTEXT)),
        ]
    )
    pq.write_table(pa.Table.from_pylist(rows, schema), file)


def write_entities(file: Path, entity: Entity, rows: list[dict[str, Any]], dataset: DatasetSpec = DATASET) -> None:
    """Users or items: key, event_timestamp, fields."""
    schema = pa.schema(
        [
            (dataset.key_of(entity), pa.string()),
            ("event_timestamp", MOMENT),
            *((field.name, TYPES[field.kind]) for field in dataset.fields_of(entity)),
        ]
    )
    pq.write_table(pa.Table.from_pylist(rows, schema), file)


def write_ingested(folder: Path) -> Path:
    """Three users and three items whose fields change, 40 rows in three splits, the rows of a file in no order."""
    folder.mkdir(parents=True, exist_ok=True)
    users = [
        {"user_id": "u1", "event_timestamp": moment(0), "age": 20.0, "city": "Bonn"},
        {"user_id": "u1", "event_timestamp": moment(15), "age": 21.0, "city": "Köln"},
        {"user_id": "u2", "event_timestamp": moment(0), "age": None, "city": None},
        {"user_id": "u3", "event_timestamp": moment(30), "age": 64.0, "city": "Oslo"},
    ]
    items = [
        {"item_id": "i1", "event_timestamp": moment(0), "title": "Red shoe", "tags": ["shoe", "red"], "price": 10.0},
        {"item_id": "i1", "event_timestamp": moment(20), "title": "Red shoe", "tags": ["shoe", "red", "sale"], "price": 5.0},
        {"item_id": "i2", "event_timestamp": moment(0), "title": None, "tags": [], "price": 99.5},
        {"item_id": "i3", "event_timestamp": moment(0), "title": "Hat", "tags": None, "price": None},
    ]
    write_entities(folder / "users.parquet", Entity.USER, users)
    write_entities(folder / "items.parquet", Entity.ITEM, items)
    rows = [
        {
            "row_id": number,
            "label": number % 2,
            "event_timestamp": moment(number),
            "user_id": f"u{number % 4 + 1}",
            "item_id": f"i{number % 5 + 1}",
            "device": "phone" if number < 30 else "watch",
        }
        for number in range(40)
    ]
    for split, part in (("train", rows[:30]), ("valid", rows[30:35]), ("test", rows[35:])):
        write_log(folder / f"{split}.parquet", part[::-1])
    return folder
