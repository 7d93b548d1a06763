"""Ingested windows made to order: 6 fields of every kind, 300 users, 60 items."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from elec.spec import Spec, parse_spec

SPEC = """
name: made-up
source: {path: log.csv}
label: {column: click}
timestamp: {column: time}
user: user
item: item
fields:
  - {name: age, of: user, kind: numeric}
  - {name: city, of: user}
  - {name: title, of: item, kind: text}
  - {name: tags, of: item, kind: multivalued}
  - {name: device}
  - {name: price, kind: numeric}
"""
ALWAYS = datetime(1970, 1, 2, tzinfo=UTC)
STAMP = pa.timestamp("us", tz="UTC")


@dataclass
class Window:
    """Where `elec.ingest.Ingested` says the files are."""

    folder: Path

    @property
    def train(self) -> Path:
        return self.folder / "train.parquet"

    @property
    def users(self) -> Path:
        return self.folder / "users.parquet"

    @property
    def items(self) -> Path:
        return self.folder / "items.parquet"


class Maker:
    """Writes windows; each keyword is one injected change."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.made = 0

    def __call__(
        self,
        *,
        rows: int = 8000,
        seed: int = 1,
        click_rate: float = 0.3,
        days: float = 10.0,
        first_user: int = 0,
        ages: float = 0.0,
        cities: tuple[str, ...] = ("ulm", "bonn", "kiel"),
        devices: tuple[float, ...] = (0.5, 0.3, 0.2),
        price: float = 1.0,
        missing_price: float = 0.0,
        users_known: bool = True,
    ) -> Window:
        random = np.random.default_rng(seed)
        self.made += 1
        window = Window(self.folder / f"window-{self.made}")
        window.folder.mkdir(parents=True)
        users = [f"u{number}" for number in range(first_user, first_user + 300)]
        items = [f"i{number}" for number in range(60)]
        stamps = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=days * share) for share in np.linspace(0, 1, rows)]
        prices = [None if random.random() < missing_price else float(value) for value in random.lognormal(size=rows) * price]
        train = pa.table(
            {
                "row_id": pa.array(range(rows), pa.int64()),
                "label": pa.array((random.random(rows) < click_rate).astype(np.int8)),
                "event_timestamp": pa.array(stamps, STAMP),
                "user": random.choice(users, rows),
                "item": random.choice(items, rows),
                "device": random.choice(["phone", "laptop", "tv"], rows, p=devices),
                "price": pa.array(prices, pa.float64()),
            }
        )
        pq.write_table(train, window.train)
        people = np.random.default_rng(7)
        side = pa.table(
            {
                "user": users if users_known else [f"user-{user}" for user in users],
                "event_timestamp": pa.array([ALWAYS] * 300, STAMP),
                "age": people.normal(40, 12, 300) + ages,
                "city": people.choice(cities, 300),
            }
        )
        pq.write_table(side, window.users)
        things = pa.table(
            {
                "item": items,
                "event_timestamp": pa.array([ALWAYS] * 60, STAMP),
                "title": [f"thing number {number}" for number in range(60)],
                "tags": pa.array(
                    [["new"] if n % 2 else ["new", "red"] if n % 3 else [] for n in range(60)], pa.list_(pa.string())
                ),
            }
        )
        pq.write_table(things, window.items)
        return window


@pytest.fixture
def make(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


@pytest.fixture
def spec() -> Spec:
    return parse_spec(SPEC, origin="made-up.yaml", folder=Path("/nowhere"))


@pytest.fixture
def without():
    """The spec without one of its fields."""

    def drop(name: str) -> Spec:
        content = yaml.safe_load(SPEC)
        content["fields"] = [field for field in content["fields"] if field["name"] != name]
        return parse_spec(yaml.safe_dump(content), origin="made-up.yaml", folder=Path("/nowhere"))

    return drop
