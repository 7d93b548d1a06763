"""A small log with a signal in it, and a way to run the command line as a user does."""

import csv
import json
import os
import random
import subprocess
import sys
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

TOPICS = {
    "garden": "spade hose seeds",
    "kitchen": "knife pan kettle",
    "office": "paper stapler pencil",
    "sport": "ball racket shoes",
}

SPEC = """
name: shop
source: {path: log.csv}
label: {column: click}
timestamp: {column: time, unit: iso}
user: user
item: item
tables:
  items: {path: items.csv}
fields:
  - {name: city, of: user}
  - {name: title, of: item, kind: text}
  - {name: topic, of: item}
  - {name: price, of: item, kind: numeric, buckets: 4}
  - {name: hour, kind: numeric, buckets: 6}
run:
  adapt: {epochs: 2}
  distill: {epochs: 8, batch_size: 256, learning_rate: 0.01}
  gate: {min_auc: 0.5, pcoc: [0.3, 3.0], resamples: 100}
"""


def write_log(
    folder: Path, *, rows: int = 3000, seed: int = 1, start: datetime | None = None, click_shift: float = 0.0
) -> Path:
    """Writes log.csv, items.csv and shop.yaml; topics differ in how liked they are, and users in what they like."""
    draw = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    names = list(TOPICS)
    items = [(f"i{number:03d}", names[number % 4], round(draw.uniform(1, 90), 2)) for number in range(60)]
    with (folder / "items.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["item", "title", "topic", "price"])
        table.writerows(
            [item, f"{topic} {draw.choice(TOPICS[topic].split())} no {item}", topic, price] for item, topic, price in items
        )
    moment = start or datetime(2026, 1, 1, tzinfo=UTC)
    with (folder / "log.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["time", "user", "item", "city", "hour", "click"])
        for _ in range(rows):
            moment += timedelta(minutes=draw.uniform(1, 5))
            user = draw.randrange(80)
            item, topic, _price = draw.choice(items)
            likes = (0.75, 0.55, 0.3, 0.1)[names.index(topic)] + (0.15 if names[user % 4] == topic else 0.0)
            click = int(draw.random() < likes + click_shift)
            table.writerow([moment.isoformat(), f"u{user:02d}", item, "Rome" if user % 3 else "Oslo", moment.hour, click])
    (folder / "shop.yaml").write_text(SPEC)
    return folder / "shop.yaml"


@dataclass
class Elec:
    """The command line in a folder of its own."""

    folder: Path

    def __call__(self, *arguments: str, timeout: int = 300) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pipelines.cli", *arguments],
            cwd=self.folder,
            env={**os.environ, "COLUMNS": "160", "NO_COLOR": "1"},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    def summaries(self) -> list[dict]:
        """The summaries of all runs here, oldest first."""
        found = [json.loads(path.read_text()) for path in self.folder.glob("runs/*/summary.json")]
        return sorted(found, key=lambda summary: summary["run_id"])


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Elec:
    """A folder with a small log and its spec."""
    folder = tmp_path_factory.mktemp("shop")
    write_log(folder)
    return Elec(folder)
