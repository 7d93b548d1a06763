"""Rate, memory and reuse of ingest: a generated log is read, checked, split and encoded by elec, and by pandas beside it.

    python -m benchmarks.data.ingest --rows 20000000

Each way runs in a process of its own, its peak being the most resident memory of that process, libraries included; a first
round over 2,000 rows loads them and is not timed. elec and pandas do the same work on the same files: types, times, labels and
keys are checked, exact duplicates are counted, rows are split by time, vocabularies (least count 2) and 32 quantile buckets are
fit on train, and every row is encoded and written.
"""

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.data.made_log import DAY, START, Format, made_spec, write_log
from elec.version import code_version

_DAYS = 30
_NOW = datetime(2026, 1, 1, tzinfo=UTC)


def main() -> None:
    """Makes the logs, runs every way and writes the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=20_000_000, help="of the large log; one of four times as many follows")
    parser.add_argument("--beside", type=int, default=2_000_000, help="rows of the log that pandas reads too")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--formats", nargs="+", default=["parquet", "csv"], choices=("parquet", "csv"))
    parser.add_argument("--output", type=Path, default=Path("benchmarks/data/results-ingest.md"))
    parser.add_argument("--way", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--format", default="parquet", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(_warm(options.way, options.folder, options.format)))
        return
    sections = [_size(options.rows), _beside(options.beside, options.formats, options.rounds), _reuse(options)]
    about = f"{platform.machine()}, {os.cpu_count()} cores, the fastest of {options.rounds} rounds; code {code_version()}."
    text = "\n\n".join(["# Ingest", about, *sections]) + "\n"
    print(text)
    options.output.write_text(text, encoding="utf-8")


def _size(rows: int) -> str:
    lines = ["| rows, Parquet | files | rows/s, ingest | rows/s, ingest and encode | peak memory |", "|---|---|---|---|---|"]
    # Four times the rows: in larger files, which take more memory by themselves, and in more files.
    for times, files in ((1, _DAYS), (4, _DAYS), (4, 4 * _DAYS)):
        with tempfile.TemporaryDirectory(prefix="elec-ingest-") as scratch:
            write_log(Path(scratch, "log"), rows * times, files, "parquet")
            found = _in_process("elec", Path(scratch), "parquet")
        count = found["rows"]
        lines.append(
            f"| {count:,.0f} | {files} | {count / found['ingest']:,.0f} | {count / (found['ingest'] + found['encode']):,.0f} "
            f"| {found['peak'] / 1e9:.2f} GB |"
        )
    return "\n".join(["## Rate and memory", "", *lines])


def _beside(rows: int, formats: list[Format], rounds: int) -> str:
    lines = [f"| {rows:,} rows | elec | pandas | ratio | elec's memory | pandas' | ratio |", "|---|---|---|---|---|---|---|"]
    for kind in formats:
        with tempfile.TemporaryDirectory(prefix="elec-ingest-") as scratch:
            write_log(Path(scratch, "log"), rows, 4, kind)
            best: dict[str, dict[str, float]] = {}
            for _ in range(rounds):
                for way in ("elec", "pandas"):
                    found = _in_process(way, Path(scratch), kind)
                    found["seconds"] = found["ingest"] + found["encode"]
                    if way not in best or found["seconds"] < best[way]["seconds"]:
                        best[way] = found
        ours, theirs = best["elec"], best["pandas"]
        assert ours["kept"] == theirs["kept"], "both keep the same rows"
        # Of equal times pandas' cut takes the first; elec's comes as close to the share as they allow.
        assert abs(ours["train"] - theirs["train"]) <= 1e-3 * ours["kept"], "both split them the same way"
        lines.append(
            f"| {kind} | {ours['seconds']:.1f} s | {theirs['seconds']:.1f} s | {theirs['seconds'] / ours['seconds']:.1f} "
            f"| {ours['peak'] / 1e9:.2f} GB | {theirs['peak'] / 1e9:.2f} GB | {theirs['peak'] / ours['peak']:.1f} |"
        )
    return "\n".join(["## Beside pandas", "", *lines])


def _reuse(options: argparse.Namespace) -> str:
    lines = ["| rows in 30 days | format | first run | a new day | ratio |", "|---|---|---|---|---|"]
    for asked in (options.beside * 2, options.rows):
        # A whole number of rows a day.
        rows = asked // _DAYS * _DAYS
        for kind in options.formats:
            with tempfile.TemporaryDirectory(prefix="elec-ingest-") as scratch:
                write_log(Path(scratch, "log"), rows, _DAYS, kind)
                first = _in_process("first", Path(scratch), kind)
                write_log(Path(scratch, "log"), rows // _DAYS, 1, kind, first=_DAYS)
                second = _in_process("second", Path(scratch), kind)
            assert second["rows"] == rows + rows // _DAYS, "the second run sees all days"
            ratio = second["ingest"] / first["ingest"]
            lines.append(f"| {rows:,} | {kind} | {first['ingest']:.2f} s | {second['ingest']:.2f} s | {ratio:.3f} |")
    return "\n".join([f"## A new day: ingest with a look-back of {_DAYS} days", "", *lines])


def _in_process(way: str, folder: Path, kind: str) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.data.ingest", "--way", way, "--folder", str(folder), "--format", kind]
    # pandas has Arrow as it comes.
    environment = {**os.environ, "ARROW_DEFAULT_MEMORY_POOL": "mimalloc" if way == "pandas" else "system"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _warm(way: str, folder: Path, kind: Format) -> dict[str, float]:
    """Runs a way on next to nothing first: loading libraries is no part of the rate."""
    with tempfile.TemporaryDirectory(dir=folder) as small:
        write_log(Path(small, "log"), 2_000, 2, kind)
        (_pandas if way == "pandas" else _elec)(Path(small), kind)
    found: dict[str, float] = _WAYS[way](folder, kind)
    return found


def _elec(folder: Path, kind: Format) -> dict[str, float]:
    from elec.features.encoded import encode_file, fit_files
    from elec.ingest import SPLITS, ingest
    from elec.progress import Progress

    spec = made_spec(folder / "log", kind)
    with tempfile.TemporaryDirectory(dir=folder) as out:
        target = Path(out, "ingested")
        started = time.perf_counter()
        report = ingest(spec, target, as_of=_NOW, now=_NOW)
        ingested = time.perf_counter()
        train, *others = (target / f"{split}.parquet" for split in SPLITS)
        encoder, users = fit_files(spec, train, others)
        with Progress("encode", unit="rows", total=report.rows_kept) as progress:
            for split in SPLITS:
                encode_file(encoder, spec.user, users, target / f"{split}.parquet", Path(out, f"{split}.parquet"), progress)
        ended = time.perf_counter()
    return _found(report.rows_read, report.rows_kept, report.split_rows["train"], ingested - started, ended - ingested)


def _new_day(folder: Path, kind: Format, last: int) -> dict[str, float]:
    from elec.ingest import ingest

    spec = made_spec(folder / "log", kind)
    spec = spec.model_copy(update={"window": spec.window.model_copy(update={"days": _DAYS})})
    as_of = datetime.fromtimestamp(START, UTC) + timedelta(seconds=last * DAY)
    started = time.perf_counter()
    report = ingest(spec, folder / f"out{last}", as_of=as_of, now=_NOW, kept=str(folder / "kept"))
    return _found(report.rows_read, report.rows_kept, report.split_rows["train"], time.perf_counter() - started, 0.0)


def _pandas(folder: Path, kind: Format) -> dict[str, float]:
    import numpy as np
    import pandas as pd

    spec = made_spec(folder / "log", kind)
    words = [spec.user, spec.item, *(field.name for field in spec.fields if field.kind == "categorical")]
    numbers = [field.name for field in spec.fields if field.kind == "numeric"]
    started = time.perf_counter()
    files = sorted((folder / "log").glob(f"*.{kind}"))
    as_text = dict.fromkeys(words, str)
    frames = [pd.read_parquet(path) if kind == "parquet" else pd.read_csv(path, dtype=as_text) for path in files]
    rows = pd.concat(frames, ignore_index=True)
    read = len(rows)
    duplicates = int(rows.duplicated().sum())
    rows["row_id"] = np.arange(read)
    times = pd.to_numeric(rows["time"], errors="coerce")
    labels = pd.to_numeric(rows["clicked"], errors="coerce")
    right = times.notna() & (times <= _NOW.timestamp()) & labels.isin([0, 1])
    for column in words:
        rows[column] = rows[column].astype(str).where(rows[column].notna())
    for column in numbers:
        found = pd.to_numeric(rows[column], errors="coerce")
        right &= found.notna() | rows[column].isna()
        rows[column] = found
    right &= rows[spec.user].notna() & rows[spec.item].notna()
    rows = rows[right].assign(
        event_timestamp=pd.to_datetime(times[right], unit="s", utc=True), label=labels[right].astype("int8")
    )
    rows = rows.drop(columns=["time", "clicked"])
    ordered = np.sort(rows["event_timestamp"].to_numpy())
    test = ordered[len(ordered) - round(len(ordered) * spec.split.test)]
    before = ordered[ordered < test]
    valid = before[len(before) - round(len(ordered) * spec.split.valid)]
    moments = rows["event_timestamp"].to_numpy()
    position = (moments >= valid).astype(int) + (moments >= test)
    with tempfile.TemporaryDirectory(dir=folder) as out:
        parts = [rows[position == number] for number in range(3)]
        for number, part in enumerate(parts):
            part.to_parquet(Path(out, f"part{number}.parquet"), index=False, compression="zstd")
        for key in (spec.user, spec.item):
            first = rows.groupby(key, sort=True)["event_timestamp"].min().reset_index()
            first.to_parquet(Path(out, f"{key}.parquet"), index=False)
        ingested = time.perf_counter()
        codes: dict[str, pd.Series] = {}
        for column in words:
            counts = parts[0][column].value_counts()
            kept = counts[counts >= 2].sort_index().index
            codes[column] = pd.Series(np.arange(len(kept)) + 3, index=kept)
        edges = {column: np.quantile(parts[0][column], np.linspace(0, 1, 33)[1:-1]) for column in numbers}
        for number, part in enumerate(parts):
            encoded = {column: part[column].map(codes[column]).fillna(2).astype("int64") for column in words}
            encoded |= {column: np.searchsorted(edges[column], part[column]) + 3 for column in numbers}
            table = pd.DataFrame({"row_id": part["row_id"], "label": part["label"], **encoded})
            table.to_parquet(Path(out, f"encoded{number}.parquet"), index=False)
        ended = time.perf_counter()
    assert duplicates >= 0
    return _found(read, len(rows), len(parts[0]), ingested - started, ended - ingested)


def _found(rows: int, kept: int, train: int, ingest: float, encode: float) -> dict[str, float]:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"rows": rows, "kept": kept, "train": train, "ingest": ingest, "encode": encode, "peak": peak}


_WAYS: dict[str, Callable[[Path, Format], dict[str, float]]] = {
    "elec": _elec,
    "pandas": _pandas,
    "first": lambda folder, kind: _new_day(folder, kind, _DAYS),
    "second": lambda folder, kind: _new_day(folder, kind, _DAYS + 1),
}


if __name__ == "__main__":
    main()
