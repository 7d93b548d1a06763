"""A made click log, and specs for it."""

import csv
import datetime as dt
import io
import random
from pathlib import Path
from typing import Any

from elec.spec import DatasetSpec

AS_OF = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
NOW = dt.datetime(2025, 6, 1, tzinfo=dt.UTC)
START = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
COLUMNS = ["ts", "user", "ad", "age", "slot", "tags", "title", "clicked"]

Row = dict[str, str]


def made_rows(count: int = 120, **replace: Any) -> list[Row]:
    """Rows a minute apart, as text. `replace` maps a column to a value, or to a function of position and row."""
    draw = random.Random(7)
    rows = []
    for position in range(count):
        row = {
            "ts": (START + dt.timedelta(minutes=position)).strftime("%Y-%m-%dT%H:%M:%S"),
            "user": f"{draw.randrange(20):05}",
            "ad": str(9_007_199_254_740_993 + draw.randrange(10)),
            "age": str(20 + draw.randrange(40)),
            "slot": draw.choice(["top", "side", ""]),
            "tags": draw.choice(["a|b", "b", "", "c|a|d"]),
            "title": draw.choice(["Café au lait", 'A "quoted" title', "Comma, inside", "plain"]),
            "clicked": str(draw.randrange(2)),
        }
        for column, value in replace.items():
            row[column] = value(position, row) if callable(value) else value
        rows.append(row)
    return rows


def csv_text(rows: list[Row], delimiter: str = ",", header: bool = True) -> str:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, list(rows[0]) if rows else COLUMNS, delimiter=delimiter, lineterminator="\n")
    if header:
        writer.writeheader()
    writer.writerows(rows)
    return buffer.getvalue()


def write_csv(path: Path, rows: list[Row], delimiter: str = ",", header: bool = True) -> Path:
    path.write_text(csv_text(rows, delimiter, header), encoding="utf-8")
    return path


def made_spec(path: Path | str, source: dict[str, Any] | None = None, **change: Any) -> DatasetSpec:
    content: dict[str, Any] = {
        "name": "ads",
        "source": {"path": str(path), **(source or {})},
        "label": {"column": "clicked"},
        "timestamp": {"column": "ts", "unit": "iso"},
        "user": "user",
        "item": "ad",
        "fields": [
            {"name": "age", "of": "user", "kind": "numeric"},
            {"name": "slot"},
            {"name": "tags", "kind": "multivalued"},
            {"name": "title", "of": "item", "kind": "text"},
        ],
        **change,
    }
    return DatasetSpec.model_validate(content)
