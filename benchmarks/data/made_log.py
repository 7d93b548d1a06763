"""A click log of any size, made in chunks: two keys with a long tail, seven words, three numbers, a day a file."""

from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from elec.spec import DatasetSpec

Format = Literal["parquet", "csv"]

START = 1_704_067_200
DAY = 86_400
WORDS = (4, 12, 50, 200, 1_000, 5_000, 20_000)
NUMBERS = ("price", "age", "position")
_USERS, _ITEMS = 300_000, 50_000
_ROWS_AT_ONCE = 500_000


def made_spec(folder: Path, kind: Format) -> DatasetSpec:
    """What elec is told about the log: 12 fields, the keys among them."""
    return DatasetSpec.model_validate(
        {
            "name": "made",
            "source": {"path": str(folder / f"*.{kind}")},
            "label": {"column": "clicked"},
            "timestamp": {"column": "time"},
            "user": "user",
            "item": "item",
            "fields": [
                *({"name": f"word{number}"} for number in range(len(WORDS))),
                *({"name": name, "kind": "numeric"} for name in NUMBERS),
            ],
        }
    )


def write_log(folder: Path, rows: int, days: int, kind: Format, first: int = 0) -> None:
    """Writes files of one day each.

    Args:
        folder: Where.
        rows: Of all days together.
        days: Files.
        kind: Their format.
        first: The first file's day.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for day in range(first, first + days):
        path = folder / f"day{day:04d}.{kind}"
        left = rows // days
        draw = np.random.default_rng(day)
        writer: Any = None
        begin = START + day * DAY
        while left:
            count = min(left, _ROWS_AT_ONCE)
            left -= count
            end = START + (day + 1) * DAY - left * DAY // (rows // days)
            table = _chunk(draw, count, begin, end)
            begin = end
            if writer is None:
                made: Any = pq.ParquetWriter if kind == "parquet" else pa.csv.CSVWriter
                writer = made(str(path), table.schema)
            writer.write_table(table)
        if writer is not None:
            writer.close()


def _chunk(draw: np.random.Generator, count: int, begin: int, end: int) -> pa.Table:
    user = np.minimum((draw.pareto(1.1, count) * 2_000).astype(np.int64), _USERS)
    item = np.minimum((draw.pareto(1.1, count) * 300).astype(np.int64), _ITEMS)
    columns = {
        "time": np.sort(draw.integers(begin, max(end, begin + 1), count)),
        "user": pa.array(np.char.add("u", np.arange(_USERS + 1).astype("U8"))).take(pa.array(user)),
        "item": item + 10**12,
        "clicked": (draw.random(count) < 0.03 + 0.1 * (item % 7 == 0)).astype(np.int8),
        "price": np.round(draw.lognormal(3, 1, count), 2),
        "age": draw.integers(18, 90, count).astype(np.float64),
        "position": draw.integers(0, 40, count),
    }
    for number, size in enumerate(WORDS):
        words = pa.array([f"w{number}_{value:05d}" for value in range(size)])
        columns[f"word{number}"] = words.take(pa.array(np.minimum((draw.pareto(1, count) * size / 20).astype(int), size - 1)))
    return pa.table(columns)
