"""What becomes of a damaged input, and whether that is right: an end with an account of every row, or one clear sentence."""

import bz2
import gzip
import shutil
import time
import traceback
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from benchmarks.data.damaged import Case, make
from elec.errors import BlockedError, ElecError, InputError
from elec.ingest import SPLITS, Ingested, IngestReport, ingest
from elec.ingest.log import LogRows
from elec.ingest.reading import read_file
from elec.ingest.sources import SourceFile, find_files
from elec.ingest.sql import Sql
from elec.spec import DatasetSpec, load_spec

#: Ends that are right, then those that are not.
RIGHT = ("success", "quarantine", "refused", "blocked")
WRONG = ("failed", "traceback", "loss", "unclear", "left behind", "hang", "crash")

_AS_OF = datetime(2025, 1, 1, tzinfo=UTC)
_NOW = datetime(2025, 6, 1, tzinfo=UTC)
_MOST_CHARACTERS = 2_000


@dataclass(frozen=True)
class Outcome:
    """How an input ended.

    Attributes:
        number: Of the input.
        kind: Of the input.
        end: One of `RIGHT` or `WRONG`.
        detail: The sentence, or what is wrong.
        damages: What had befallen it.
        seconds: How long it took.
    """

    number: int
    kind: str
    end: str
    detail: str
    damages: tuple[str, ...]
    seconds: float


def judge(kind: str, seed: int, number: int, folder: Path) -> Outcome:
    """Makes an input, ingests it and looks at what comes out.

    Args:
        kind: Of the input.
        seed: Of all inputs.
        number: Of this one.
        folder: A place for its files; removed afterwards.
    """
    folder.mkdir()
    try:
        case = make(kind, seed, number, folder)
        started = time.perf_counter()
        end, detail = _ended(case, folder)
        return Outcome(number, kind, end, detail, tuple(case.damages), time.perf_counter() - started)
    finally:
        shutil.rmtree(folder)


def _ended(case: Case, folder: Path) -> tuple[str, str]:
    before = sorted(path.name for path in folder.iterdir())
    try:
        spec = load_spec(case.spec).dataset
        report = ingest(spec, folder / "out", as_of=_AS_OF, now=_NOW)
    except ElecError as error:
        text = str(error)
        if not text.isprintable() or len(text) > _MOST_CHARACTERS:
            return "unclear", repr(text[:_MOST_CHARACTERS])
        left = sorted(path.name for path in folder.iterdir() if path.name not in before)
        if left:
            return "left behind", f"{', '.join(left)} after: {text}"
        return (
            "refused" if isinstance(error, InputError) else "blocked" if isinstance(error, BlockedError) else "failed"
        ), text
    except AssertionError:
        return "loss", traceback.format_exc()[-_MOST_CHARACTERS:]
    except Exception:  # any other kind is what this looks for
        return "traceback", traceback.format_exc()[-_MOST_CHARACTERS:]
    lost = _lost(case, spec, report, folder)
    if lost:
        return "loss", lost
    return ("quarantine" if report.rows_quarantined else "success"), ""


def _lost(case: Case, spec: DatasetSpec, report: IngestReport, folder: Path) -> str:
    """What does not add up; nothing if all does."""
    data = Ingested(folder / "out")
    kept = sum(pq.read_metadata(data.split(split)).num_rows for split in SPLITS)
    if kept != report.rows_kept:
        return f"{report.rows_kept} rows kept, {kept} written"
    parts = [*report.tables.values(), *([report.clicks] if report.clicks is not None else [])]
    refused = report.rows_quarantined + sum(part.rows_quarantined for part in parts)
    written = pq.read_metadata(data.quarantine).num_rows
    if written != refused:
        return f"{refused} rows refused, {written} in the quarantine"
    if case.rows is not None and report.rows_read < case.rows:
        return f"{case.rows} rows in the file, {report.rows_read} read"
    files = find_files(spec.source)
    if case.kind == "spec" or len(files) != 1:
        return ""
    if files[0].format == "parquet":
        rows = pq.read_metadata(case.log).num_rows
        return "" if rows == report.rows_read else f"{rows} rows in the footer, {report.rows_read} read"
    return _lost_lines(files[0], spec, folder)


def _lost_lines(file: SourceFile, spec: DatasetSpec, folder: Path) -> str:
    """Lines that are in no row; the file's lines are counted without ingest's own reader."""
    lines = _plain(file).decode(spec.source.encoding, "replace").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    covered = np.zeros(len(lines) + 1, dtype=bool)
    database = Sql(folder)
    try:
        for batch in read_file(database, file, spec.source, LogRows(spec).needed, lambda _: None, {}):
            texts = batch.raw(np.arange(len(batch.lines), dtype=np.int64)) if len(batch.lines) else []
            rows = [*zip(batch.lines.tolist(), texts, strict=True), *((row.line, row.raw) for row in batch.broken)]
            if len(rows) != batch.rows:
                return f"{batch.rows} rows in a batch, {len(rows)} given"
            for line, raw in rows:
                covered[line - 1 : line + raw.count("\n")] = True
    finally:
        database.close()
    header = next((number for number, line in enumerate(lines) if line.strip("\ufeff")), 0)
    if file.format != "jsonl":
        covered[header] = True
    lost = [number for number, line in enumerate(lines) if not covered[number] and line.strip()]
    return f"line {lost[0] + 1} and {len(lost) - 1} more are in no row: {lines[lost[0]][:200]!r}" if lost else ""


def _plain(file: SourceFile) -> bytes:
    content = Path(file.uri).read_bytes()
    if content[:2] == b"\x1f\x8b":
        return gzip.decompress(content)
    if content[:3] == b"BZh":
        return bz2.decompress(content)
    if content[:4] == b"\x28\xb5\x2f\xfd":
        with pa.CompressedInputStream(pa.BufferReader(content), "zstd") as stream:
            return bytes(stream.read())
    return content
