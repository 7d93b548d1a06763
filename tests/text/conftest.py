"""A small training frame, written by hand."""

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elec.spec import Spec, parse_spec

SHOP = """
name: shop
source: {path: log.csv}
label: {column: clicked}
timestamp: {column: at}
user: user_id
item: item_id
fields:
  - {name: age, of: user, kind: numeric}
  - {name: home_town, of: user}
  - {name: name, of: item, kind: text, title: Product}
  - {name: tags, of: item, kind: multivalued}
  - {name: secret, of: item, in_text: false}
  - {name: hour, kind: numeric}
"""

START = datetime(2025, 1, 1, tzinfo=UTC)
COLUMNS = {
    "user_id": pa.string(),
    "item_id": pa.string(),
    "age": pa.float64(),
    "home_town": pa.string(),
    "name": pa.string(),
    "tags": pa.list_(pa.string()),
    "secret": pa.string(),
    "hour": pa.float64(),
}


@pytest.fixture
def shop() -> Callable[..., Spec]:
    """The spec of a shop, with settings of the text room."""

    def make(**text: Any) -> Spec:
        block = "".join(f"    {name}: {value}\n" for name, value in text.items())
        return parse_spec(SHOP + (f"run:\n  text:\n{block}" if text else ""), origin="shop.yaml", folder=Path("/"))

    return make


@pytest.fixture
def write_frame() -> Callable[..., Path]:
    """Writes a features folder from records by split; row ids count on over the splits.

    A record may say its `label` and when it happened (`at`).
    """

    def write(folder: Path, **splits: list[dict[str, Any]]) -> Path:
        (folder / "frame").mkdir(parents=True)
        row = 0
        for split in ("train", "valid", "test"):
            records = splits.get(split, [])
            table = {
                "row_id": pa.array(range(row, row + len(records)), pa.int64()),
                "label": pa.array([record.get("label", index % 2) for index, record in enumerate(records)], pa.int8()),
                "event_timestamp": pa.array([record.get("at", START) for record in records], pa.timestamp("us", tz="UTC")),
            }
            for name, kind in COLUMNS.items():
                table[name] = pa.array([record.get(name) for record in records], kind)
            pq.write_table(pa.table(table), folder / "frame" / f"{split}.parquet")
            row += len(records)
        return folder

    return write
