"""Damaged inputs: a small right log, its clicks and its users, and what may befall them on the way.

Every input follows from a seed and a number, so that one that fails can be made again.
"""

import bz2
import gzip
import json
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import yaml

from benchmarks.data.damaged_bytes import befall_bytes
from benchmarks.data.damaged_parquet import damaged_parquet
from benchmarks.data.damaged_specs import befall_spec

KINDS = ("csv", "tsv", "jsonl", "compressed", "parquet", "spec")
#: Rows of the log before anything befalls it.
ROWS = 60

_START = datetime(2024, 1, 1, tzinfo=UTC)
_COLUMNS = ("ts", "user", "ad", "age", "slot", "tags", "title", "req", "clicked")
_WORDS = ("Café au lait", 'A "quoted" title', "Comma, inside", "plain", "two\nlines", "日本語", "")

Row = dict[str, Any]


@dataclass
class Case:
    """One input.

    Attributes:
        kind: One of `KINDS`.
        spec: The file that `load_spec` gets.
        log: The log's file.
        damages: What befell it.
        rows: Rows that the log has for sure; None where the damage leaves that open.
    """

    kind: str
    spec: Path
    log: Path
    damages: list[str] = field(default_factory=list)
    rows: int | None = None


def make(kind: str, seed: int, number: int, folder: Path) -> Case:
    """Makes an input.

    Args:
        kind: One of `KINDS`.
        seed: Of all inputs.
        number: Of this one.
        folder: An empty folder for its files.
    """
    draw = random.Random(f"{seed}:{number}")
    content = _spec(draw)
    rows = _rows(draw)
    case = Case(kind, folder / "spec.yaml", folder / "log")
    columns = list(_COLUMNS)
    text = "jsonl" if kind == "jsonl" else draw.choice(("csv", "tsv", "jsonl")) if kind == "compressed" else kind
    if kind != "spec" and draw.random() < 0.5:
        _befall_rows(draw, rows, columns, case, as_text=text in {"csv", "tsv"})
    whole = len(rows)
    if kind == "parquet":
        content["timestamp"]["unit"] = "iso"
        stored, counted = damaged_parquet(draw, rows, columns, case.damages)
        case.rows = whole if counted else None
    else:
        stored = _text(text if kind != "spec" else "csv", rows, columns)
        if kind not in {"spec", "compressed"} or (kind == "compressed" and draw.random() < 0.2):
            stored = _befall_text(draw, stored, case)
        elif kind == "compressed":
            case.rows = whole
        if kind == "compressed":
            stored = _compressed(draw, stored, text, case)
    name = {"spec": "csv", "compressed": text}.get(kind, kind)
    case.log = folder / f"log.{name}"
    case.log.write_bytes(stored)
    content["source"]["path"] = case.log.name
    _beside(draw, content, folder, case)
    document = yaml.safe_dump(content, sort_keys=False, allow_unicode=True).encode()
    case.spec.write_bytes(befall_spec(draw, content, document, case.damages) if kind == "spec" else document)
    return case


def _spec(draw: random.Random) -> dict[str, Any]:
    return {
        "name": "damaged",
        "source": {"path": "log"},
        "label": {"column": "clicked", **({"drop": "slot == 'bot'"} if draw.random() < 0.3 else {})},
        "timestamp": {"column": "ts", "unit": "iso"},
        "user": "user",
        "item": "ad",
        "fields": [
            {"name": "age", "of": "user", "kind": "numeric"},
            {"name": "slot"},
            {"name": "tags", "kind": "multivalued"},
            {"name": "title", "of": "item", "kind": "text"},
        ],
        "max_bad_share": draw.choice((0.05, 0.99)),
        "duplicates": draw.choice(("keep", "drop")),
        "split": draw.choice(({"by": "time"}, {"by": "random", "negatives": 0.5}, {"valid": 0.3, "test": 0.3})),
        **({"window": {"days": draw.choice((365, 366, 400))}} if draw.random() < 0.2 else {}),
    }


def _rows(draw: random.Random) -> list[Row]:
    return [
        {
            "ts": (_START + timedelta(minutes=position)).strftime("%Y-%m-%dT%H:%M:%S"),
            "user": f"{draw.randrange(20):05}",
            "ad": str(9_007_199_254_740_993 + draw.randrange(10)),
            "age": str(20 + draw.randrange(40)),
            "slot": draw.choice(["top", "side", "bot", ""]),
            "tags": draw.choice(["a|b", "b", "", "c|a|d"]),
            "title": draw.choice(_WORDS),
            "req": f"r{position}",
            "clicked": str(draw.randrange(2)),
        }
        for position in range(ROWS)
    ]


_ODD_WORDS = (
    "NULL nan NaN inf -inf 1e400 -0 0x1F 1_000 \uff11\uff12 \u0663 1,5 true TRUE -1 99999999999999999999999999 infinity epoch "
    "2024-02-30 0000-00-00 9999-12-31T23:59:59.999999Z 292278994-08-17 2024-01-01T00:00:00+99:99 "
    '\\ \\N , :: { [1 \' " "" """ $(x) =1+1 ../..'
)
#: Cells that do not belong there.
_ODD_CELLS: tuple[Any, ...] = (
    *_ODD_WORDS.split(),
    *("", " ", "\x00", "\ufeff", "\ufdd0", "\ud800", "\u202e", "\x1b[31m", "a\r\nb", "\n", "\t"),
    *("x" * 100_000, "\xfc" * 40_000, '"' * 999, "|" * 5_000, "\n" * 300),
    *(None, 0, 1.5, -7, 2**53 + 1, 2**64, -(2**70), 1e308, True),
    *([], [[1]], ["a", None, 3], {}, {"a": {"b": [1]}}, [""] * 1_000),
)


def _befall_rows(draw: random.Random, rows: list[Row], columns: list[str], case: Case, *, as_text: bool) -> None:
    """Cells of other types, columns that moved, are missing or are there twice, rows that are there twice."""
    for _ in range(draw.randint(1, 3)):
        what = draw.choice(("cell", "cell", "cells", "column", "shuffled", "missing", "twice", "rows", "order"))
        case.damages.append(f"rows: {what}")
        if what in {"cell", "cells", "column"}:
            count = {"cell": 1, "cells": draw.randint(1, len(rows)), "column": len(rows)}[what]
            column, value = draw.choice(columns), draw.choice(_ODD_CELLS)
            for row in draw.sample(rows, min(count, len(rows))):
                row[column] = value if what == "column" else draw.choice(_ODD_CELLS)
        elif what == "shuffled":
            draw.shuffle(columns)
        elif what == "missing":
            columns.remove(draw.choice(columns))
        elif what == "twice" and as_text:
            columns.insert(draw.randrange(len(columns)), draw.choice(columns))
        elif what == "rows":
            rows[:] = draw.choice(([], rows[:1], rows + rows[:20], rows * 3, [rows[0]] * 50))
        elif what == "order":
            draw.shuffle(rows)
        if not columns or not rows:
            return


def _text(kind: str, rows: list[Row], columns: list[str]) -> bytes:
    if kind == "jsonl":
        lines = [json.dumps({column: row[column] for column in columns}) for row in rows]
        return ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")
    delimiter = "\t" if kind == "tsv" else ","

    def cell(value: Any) -> str:
        found = "" if value is None else value if isinstance(value, str) else json.dumps(value)
        return '"' + found.replace('"', '""') + '"' if any(mark in found for mark in (delimiter, '"', "\n", "\r")) else found

    lines = [delimiter.join(columns), *(delimiter.join(cell(row[column]) for column in columns) for row in rows)]
    return ("\n".join(lines) + "\n").encode("utf-8", "surrogatepass")


def _befall_text(draw: random.Random, content: bytes, case: Case) -> bytes:
    """Quotes, line ends and encodings that are wrong, and damaged bytes."""
    ways = ("bytes", "bytes", "bytes", "quotes", "quotes", "lines", "lines", "ends", "encoding", "marks", "none")
    for _ in range(draw.choice((1, 1, 2, 3))):
        what = draw.choice(ways) if draw.random() < 0.97 else "other"
        case.damages.append(f"text: {what}")
        if what == "bytes":
            # A first line that is gone ends most of it.
            content = befall_bytes(draw, content, case.damages, draw.choice((0, content.find(b"\n") + 1)))
        elif what == "quotes":
            for _ in range(draw.choice((1, 2, 10, 50))):
                at = draw.randint(0, len(content))
                content = content[:at] + draw.choice((b'"', b'""', b"'", b'",', b',"', b'"\n', b'\n"')) + content[at:]
        elif what == "ends":
            content = content.replace(
                b"\n", draw.choice((b"\r\n", b"\r", b"\n\n", b"\n\r", b"", b"\x0b", b"\xe2\x80\xa8", b"\x85"))
            )
        elif what == "encoding":
            found = content.decode("utf-8", "replace")
            content = found.encode(
                draw.choice(("utf-16", "utf-16-le", "utf-32", "latin-1", "cp1252", "utf-7", "gbk")), "replace"
            )
        elif what == "marks":
            content = (
                draw.choice((b"\xef\xbb\xbf", b"\xef\xbb\xbf" * 2, b"\xff\xfe", b"\x00", b"PAR1", b"\x1f\x8b", b"[\n", b"#\n"))
                + content
            )
        elif what == "lines":
            lines = content.split(b"\n")
            for _ in range(draw.randint(1, 10)):
                odd = (
                    b"",
                    b" ",
                    b",",
                    b'"',
                    b"{",
                    b"{}",
                    b"[]",
                    b"null",
                    b"x" * 300_000,
                    b",,,,,,,,,,,,",
                    b'{"ts": 1, "ts": 2}',
                )
                lines.insert(draw.randint(0, len(lines)), draw.choice(odd))
            content = b"\n".join(lines)
        elif what == "other":
            content = draw.choice(
                (b"", b"\n", b"\x00" * 5_000, draw.randbytes(5_000), b"[" * 100_000, b'{"a":' * 50_000, b'"' * 9_999)
            )
    return content


def _compressed(draw: random.Random, content: bytes, text: str, case: Case) -> bytes:
    """Compressed, then cut short, damaged, doubled or followed by something else."""
    kind = draw.choice(("gzip", "zstd", "bzip2"))
    packed: bytes = {
        "gzip": lambda: gzip.compress(content, mtime=0),
        "bzip2": lambda: bz2.compress(content),
        "zstd": lambda: pa.compress(content, codec="zstd", asbytes=True),
    }[kind]()
    what = draw.choice(("none", "truncated", "truncated", "bytes", "bytes", "followed", "two"))
    case.damages.append(f"{kind}: {what}")
    if what == "truncated":
        return packed[: draw.randrange(2, max(len(packed), 3))]
    if what == "two":
        # Two parts, one behind the other, are one file.
        half = content.index(b"\n", len(content) // 2) + 1 if b"\n" in content[len(content) // 2 :] else 0
        parts = [content[:half], content[half:]]
        if kind == "zstd":
            return b"".join(pa.compress(part, codec="zstd", asbytes=True) for part in parts)
        return b"".join(gzip.compress(part) if kind == "gzip" else bz2.compress(part) for part in parts)
    if what == "followed":
        return packed + draw.choice((b"\x00" * 100, b"junk\n", packed[:20], draw.randbytes(64)))
    if what == "bytes":
        # Zstandard's frames may have no checksum, and text that was another one is text.
        case.rows = None
        return befall_bytes(draw, packed, case.damages)
    return packed


def _beside(draw: random.Random, content: dict[str, Any], folder: Path, case: Case) -> None:
    """Sometimes a log of clicks or a table of users beside the log, sometimes damaged too."""
    if draw.random() < 0.15:
        lines = ["req,at", *(f"r{i},2024-01-01T01:{i % 60:02}:30" for i in range(0, ROWS, 3))]
        stored = "\n".join(lines).encode()
        if draw.random() < 0.5:
            stored = _befall_text(draw, stored, case)
        (folder / "clicks.csv").write_bytes(stored)
        content["label"] = {"clicks": {"path": "clicks.csv", "request": "req", "timestamp": "at", "unit": "iso"}}
    if draw.random() < 0.15:
        users = [{"user": f"{i:05}", "since": "2023-01-01", "age": 20 + i} for i in range(20)]
        stored = "\n".join(json.dumps(row) for row in users).encode()
        if draw.random() < 0.5:
            stored = _befall_text(draw, stored, case)
        (folder / "users.jsonl").write_bytes(stored)
        content["tables"] = {"users": {"path": "users.jsonl", "timestamp": "since", "unit": "iso"}}
