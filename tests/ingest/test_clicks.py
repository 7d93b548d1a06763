"""Labels that come late: each impression is a click if the log of clicks says so in time, and every click is counted."""

import datetime as dt
import json
import random
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elec.errors import InputError
from elec.ingest import SPLITS, Ingested, IngestReport, ingest
from elec.spec import DatasetSpec, parse_spec
from tests.ingest.made import NOW, START, Row, made_rows, made_spec, write_csv

HOUR = dt.timedelta(hours=1)


def _log(folder: Path, count: int = 240) -> list[Row]:
    """An impression every half hour, without a label."""
    rows = made_rows(count)
    for position, row in enumerate(rows):
        row["ts"] = (START + position * HOUR / 2).isoformat()[:19]
        row["request"] = f"r{position}"
        del row["clicked"]
    write_csv(folder / "log.csv", rows)
    return rows


def _spec(folder: Path, change: dict[str, Any] | None = None, **more: Any) -> DatasetSpec:
    clicks = {"path": str(folder / "clicks.csv"), "request": "request", "timestamp": "at", "unit": "iso", "within": "6h"}
    return made_spec(folder / "log.csv", label={"clicks": {**clicks, **(change or {})}}, **more)


def _labels(folder: Path) -> dict[int, int]:
    data = Ingested(folder)
    rows = [row for split in SPLITS for row in pq.read_table(data.split(split)).to_pylist()]
    return {row["row_id"]: row["label"] for row in rows}


def _clicks(folder: Path, clicks: list[tuple[str, dt.datetime]]) -> None:
    write_csv(folder / "clicks.csv", [{"request": request, "at": at.isoformat()[:19]} for request, at in clicks])


def _run(folder: Path, spec: DatasetSpec, as_of: dt.datetime, name: str = "out") -> IngestReport:
    return ingest(spec, folder / name, as_of=as_of, now=NOW)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 10**6), hours=st.integers(60, 130), keep=st.booleans())
def test_labels_are_what_a_loop_over_all_pairs_says(
    seed: int, hours: int, keep: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("clicks")
    draw = random.Random(seed)
    _log(folder)
    clicks = [(f"r{draw.randrange(300)}", START + draw.randrange(-600, 8400) * dt.timedelta(minutes=1)) for _ in range(200)]
    # Most are within the window, as in a real log.
    clicks += [(f"r{i}", START + i * HOUR / 2 + draw.randrange(400) * dt.timedelta(minutes=1)) for i in range(0, 240, 2)]
    clicks += clicks[:30]
    _clicks(folder, clicks)
    as_of = START + hours * HOUR
    report = _run(folder, _spec(folder, {"open": "keep" if keep else "drop"}), as_of)
    expected, opened, after = {}, 0, 0
    inside: list[str] = []
    outside = unknown = late = 0
    for position in range(240):
        shown = START + position * HOUR / 2
        if shown > as_of:
            after += 1
        elif shown + 6 * HOUR > as_of and not keep:
            opened += 1
        else:
            hits = [at for request, at in clicks if request == f"r{position}" and shown <= at <= min(shown + 6 * HOUR, as_of)]
            expected[position] = int(bool(hits))
    for request, at in clicks:
        shown = START + int(request[1:]) * HOUR / 2
        if at > as_of:
            late += 1
        elif int(request[1:]) >= 240 or shown > as_of:
            unknown += 1
        elif shown <= at <= shown + 6 * HOUR:
            inside.append(request)
        else:
            outside += 1
    assert _labels(folder / "out") == expected
    assert (report.rows_open, report.rows_after_as_of, report.rows_kept) == (opened, after, len(expected))
    assert report.clicks is not None
    assert report.clicks.counted == len(set(inside))
    assert report.clicks.duplicates == len(inside) - len(set(inside))
    assert (report.clicks.outside_attribution, report.clicks.without_impression) == (outside, unknown)
    assert report.clicks.rows_after_as_of == late


def test_a_click_after_as_of_is_invisible_and_seen_by_the_next_run(tmp_path: Path) -> None:
    _log(tmp_path)
    shown = START + 80 * HOUR / 2
    clicks = [(f"r{position}", START + (position + 1) * HOUR / 2) for position in range(1, 240, 3)]
    _clicks(tmp_path, [*clicks, ("r80", shown + 5 * HOUR)])
    spec = _spec(tmp_path, {"open": "keep"})
    early, late = shown + 4 * HOUR, shown + 5 * HOUR
    _run(tmp_path, spec, early, "early")
    _run(tmp_path, spec, late, "late")
    assert (_labels(tmp_path / "early")[80], _labels(tmp_path / "late")[80]) == (0, 1)
    # The clicks of the future change nothing, not a byte.
    _clicks(tmp_path, [(request, at) for request, at in clicks if at <= early])
    _run(tmp_path, spec, early, "without")
    for split in SPLITS:
        name = f"{split}.parquet"
        assert (tmp_path / "early" / name).read_bytes() == (tmp_path / "without" / name).read_bytes()


def test_bad_clicks_are_quarantined_and_other_formats_and_names_are_read(tmp_path: Path) -> None:
    _log(tmp_path)
    good = [{"rid": f"r{position}", "t": int((START + position * HOUR / 2).timestamp()) + 60} for position in range(1, 240, 3)]
    bad: list[dict[str, Any]] = [{"rid": None, "t": 1_704_067_200}, {"rid": "r3", "t": "soon"}]
    (tmp_path / "clicks.jsonl").write_text("\n".join(json.dumps(row) for row in [*good, *bad]))
    spec = _spec(tmp_path, {"path": str(tmp_path / "clicks.jsonl"), "key": "rid", "timestamp": "t", "unit": "s"})
    report = _run(tmp_path, spec, START + 130 * HOUR)
    assert report.clicks is not None
    assert (report.clicks.rows_read, report.clicks.rows_quarantined, report.clicks.counted) == (82, 2, 80)
    found = pq.read_table(tmp_path / "out" / "quarantine.parquet").to_pylist()
    assert [(row["line"], row["reason"]) for row in found] == [
        (81, "rid: no value"),
        (82, "t: not a time (seconds since 1970)"),
    ]
    assert report.rows_quarantined == 0


def test_with_a_window_clicks_of_impressions_before_it_are_no_strangers(tmp_path: Path) -> None:
    _log(tmp_path)
    since = START + 96 * HOUR
    clicks = [(f"r{position}", START + (position + 2) * HOUR / 2) for position in range(0, 240, 3)]
    _clicks(tmp_path, clicks)
    report = _run(tmp_path, _spec(tmp_path, {"open": "keep"}, window={"days": 1}), since + 24 * HOUR)
    assert report.clicks is not None
    assert report.clicks.without_impression == 0
    assert report.clicks.rows_before_window == sum(at <= since for _, at in clicks)
    assert report.rows_before_window == 193
    assert report.rows_kept == 240 - 193


def test_one_sentence(tmp_path: Path) -> None:
    _log(tmp_path)
    _clicks(tmp_path, [("r1", START)])
    with pytest.raises(InputError, match=r"no column 'req' \(named by label\.clicks\.request\); did you mean 'request'"):
        _run(tmp_path, _spec(tmp_path, {"request": "req", "key": "request"}), NOW)
    with pytest.raises(InputError, match=r"clicks\.csv: there is no column 'when' \(named by label\.clicks\.timestamp\)"):
        _run(tmp_path, _spec(tmp_path, {"timestamp": "when"}), NOW)
    _clicks(tmp_path, [("other", START)])
    with pytest.raises(InputError, match=r"the log of clicks .*clicks\.csv makes none of the 240 rows a click"):
        _run(tmp_path, _spec(tmp_path), NOW)
    with pytest.raises(InputError, match=r"with a label that is not known yet"):
        _run(tmp_path, _spec(tmp_path, {"within": "300d"}), START + 130 * HOUR)
    text = "name: a\nsource: {path: log.csv}\nuser: u\nitem: i\ntimestamp: {column: t}\nlabel: "
    for label, pattern in (
        ("{clicks: {path: c.csv, request: r, timestamp: t, within: soon}}", r"within"),
        ("{column: c, clicks: {path: c.csv, request: r, timestamp: t}}", r"give one of `column`"),
    ):
        with pytest.raises(InputError, match=pattern):
            parse_spec(text + label, origin="spec.yaml", folder=tmp_path)
    spec = parse_spec(
        text + "{clicks: {path: c.csv, request: r, timestamp: t, within: 2h}}", origin="spec.yaml", folder=tmp_path
    )
    assert spec.dataset.label.clicks is not None
    assert spec.dataset.label.clicks.path == str(tmp_path / "c.csv")
    assert spec.dataset.label.clicks.within_us == 7_200_000_000
