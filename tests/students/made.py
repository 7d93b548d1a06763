"""A small shop whose items' texts have a meaning: a topic that their vectors share."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from elec.features import FeatureEncoder
from elec.llm import VectorStore
from elec.spec import Spec

SHOP = """
name: shop
source: {path: log.csv}
label: {column: clicked}
timestamp: {column: at}
user: user_id
item: item_id
fields:
  - {name: city, of: user}
  - {name: title, of: item, kind: text}
  - {name: price, of: item, kind: numeric, buckets: 4}
run:
  student: {vector_size: 8, levels: 2, codes: 6, history: 3}
"""
START = datetime(2025, 1, 1, tzinfo=UTC)
WIDTH = 24
TOPICS = 5


@dataclass(frozen=True)
class Shop:
    """The folders of a run as far as the students read them."""

    spec: Spec
    features: Path
    texts: Path
    store: VectorStore

    def frame(self, split: str) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = pq.read_table(self.features / "frame" / f"{split}.parquet").to_pylist()
        return rows


def vector_of(text: str) -> np.ndarray:
    """A topic's direction and some noise of the text's own; the topic is the letter behind `of`, if there is one."""
    seed = int(hashlib.sha256(text.encode()).hexdigest()[:8], 16)
    _, _, letter = text.partition(" of ")
    topic = np.random.default_rng(ord(letter[0])).normal(0, 3, WIDTH) if letter else np.zeros(WIDTH)
    found: np.ndarray = (topic + np.random.default_rng(seed).normal(0, 0.3, WIDTH)).astype(np.float16)
    return found


def record(user: int, item: int, hour: float, label: int, price: float | None = None) -> dict[str, Any]:
    """A row of the frame; the item's topic is in its title."""
    return {
        "label": label,
        "event_timestamp": START + timedelta(hours=hour),
        "user_id": f"u{user}",
        "item_id": f"i{item}",
        "city": ["Oslo", "Rome", None][user % 3],
        "title": f"Thing {item} of {'abcde'[item % TOPICS]}",
        "price": float(item) if price is None else price,
    }


def drawn(seed: int, rows: int, first_hour: int, items: int = 40, users: int = 12) -> list[dict[str, Any]]:
    """Random rows with ties in time; hours rise with the split."""
    draw = np.random.default_rng(seed)
    columns = zip(
        draw.integers(users, size=rows),
        draw.integers(items, size=rows),
        draw.integers(30, size=rows),
        draw.integers(2, size=rows),
        strict=True,
    )
    return [record(int(user), int(item), float(first_hour + hour), int(label)) for user, item, hour, label in columns]


def write_features(spec: Spec, folder: Path, rows: dict[str, list[dict[str, Any]]]) -> None:
    """Writes `frame/`, `encoded/` and `vocabulary/`."""
    schema = pa.schema(
        [
            ("row_id", pa.int64()),
            ("label", pa.int8()),
            ("event_timestamp", pa.timestamp("us", tz="UTC")),
            *((name, pa.string()) for name in ("user_id", "item_id", "city", "title")),
            ("price", pa.float64()),
        ]
    )
    for part in ("frame", "encoded"):
        (folder / part).mkdir(parents=True)
    row_id = 0
    for split, records in rows.items():
        numbered = [{"row_id": row_id + number} | row for number, row in enumerate(records)]
        row_id += len(records)
        pq.write_table(pa.Table.from_pylist(numbered, schema), folder / "frame" / f"{split}.parquet")
    encoder = FeatureEncoder.fit(spec.dataset, folder / "frame" / "train.parquet")
    encoder.save(folder / "vocabulary")
    for split in rows:
        frame = pq.read_table(folder / "frame" / f"{split}.parquet")
        slots_NS = encoder.encode(frame)
        columns = {
            "row_id": frame["row_id"],
            "label": frame["label"],
            "user_index": pa.array([int(user[1:]) for user in frame["user_id"].to_pylist()], pa.int64()),
            "slots": pa.FixedSizeListArray.from_arrays(pa.array(slots_NS.reshape(-1)), encoder.slots),
        }
        pq.write_table(pa.table(columns), folder / "encoded" / f"{split}.parquet")
