"""Damaged Parquet: types that do not fit, pages, footers, marks and lengths that are wrong."""

import io
import json
import random
import struct
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.data.damaged_bytes import befall_bytes


def damaged_parquet(
    draw: random.Random, rows: list[dict[str, Any]], columns: list[str], damages: list[str]
) -> tuple[bytes, bool]:
    """Rows as Parquet, with other types, then a damaged footer, page, mark or length.

    Args:
        draw: Of chance.
        rows: The rows.
        columns: Of them, those that are written.
        damages: Takes what was done.

    Returns:
        The file, and whether its footer still says how many rows there are.
    """
    table = pa.table({name: _column(draw, name, [row[name] for row in rows], damages) for name in columns})
    sink = io.BytesIO()
    pq.write_table(
        table,
        sink,
        row_group_size=draw.choice((7, 30, 1_000)),
        compression=draw.choice(("none", "snappy", "gzip", "zstd", "lz4", "brotli")),
        use_dictionary=draw.random() < 0.5,
        data_page_version=draw.choice(("1.0", "2.0")),
        write_page_checksum=draw.random() < 0.5,
        data_page_size=draw.choice((200, 1_000_000)),
    )
    content = sink.getvalue()
    begin = len(content) - 8 - struct.unpack("<I", content[-8:-4])[0]
    what = draw.choice(("none", "pages", "pages", "footer", "footer", "length", "truncated", "mark", "swapped"))
    damages.append(f"parquet: {what}")
    if what == "pages":
        return befall_bytes(draw, content, damages, 4, begin), True
    if what == "footer":
        return befall_bytes(draw, content, damages, begin, len(content) - 8), False
    if what == "length":
        length = draw.choice((0, 1, 7, 2**31 - 1, 2**32 - 1, len(content), draw.randrange(2**32)))
        return content[:-8] + struct.pack("<I", length) + b"PAR1", False
    if what == "truncated":
        return content[: draw.randrange(4, len(content))], True
    if what == "mark":
        marks = (b"PAR1", content[:-4] + b"PARE", b"XXXX" + content[4:], content[:4] + content[-8:], content * 2)
        return draw.choice(marks), True
    if what == "swapped" and begin > 40:
        half = max(begin // 2, 5)
        return content[:4] + content[half:begin] + content[4:half] + content[begin:], True
    return content, True


def _column(draw: random.Random, name: str, values: list[Any], damages: list[str]) -> pa.Array:
    """A column as text, or (seldom) of a type that does not fit."""
    text = [
        value if value is None else value.encode("utf-8", "replace").decode() if isinstance(value, str) else json.dumps(value)
        for value in values
    ]
    if draw.random() > 0.08:
        return pa.array(text, pa.string())
    count = len(values)
    odd: dict[str, Any] = {
        "integers": pa.array([draw.randrange(-(2**63), 2**63) for _ in range(count)], pa.int64()),
        "unsigned": pa.array([2**64 - 1 - draw.randrange(9) for _ in range(count)], pa.uint64()),
        "floats": pa.array([draw.choice((1.5, float("nan"), float("inf"), -1e308, 2.0**60)) for _ in range(count)]),
        "truths": pa.array([draw.random() < 0.5 for _ in range(count)]),
        "nulls": pa.nulls(count),
        "decimals": pa.array([Decimal(draw.randrange(10**9)) / 100 for _ in range(count)]),
        "lists": pa.array([["a", None, "b"]] * count, pa.list_(pa.string())),
        "structs": pa.array([{"a": 1}] * count, pa.struct([("a", pa.int64())])),
        "maps": pa.array([[("a", 1)]] * count, pa.map_(pa.string(), pa.int64())),
        "moments": pa.array([draw.randrange(-(2**62), 2**62) for _ in range(count)], pa.timestamp("us")),
        "zoned": pa.array([1_704_067_200_000 + i for i in range(count)], pa.timestamp("ms", "Asia/Tokyo")),
        "nanoseconds": pa.array([1_704_067_200_000_000_000 + i for i in range(count)], pa.timestamp("ns")),
        "dates": pa.array([draw.randrange(-(10**6), 10**6) for _ in range(count)], pa.date32()),
        "times": pa.array(range(count), pa.time64("us")),
        "durations": pa.array(range(count), pa.duration("s")),
        "binary": pa.array([draw.randbytes(5) for _ in range(count)], pa.binary()),
        "large": pa.array(text, pa.large_string()),
        "dictionary": pa.array(text, pa.string()).dictionary_encode(),
        "small floats": pa.array([0.5] * count, pa.float16()),
    }
    what = draw.choice(sorted(odd))
    damages.append(f"type: {name} of {what}")
    return odd[what]
