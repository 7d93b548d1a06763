"""Splits: by time with ties, by hash, by column."""

import datetime as dt
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elec.errors import InputError
from elec.ingest import SPLITS, Ingested, ingest
from elec.ingest.duplicates import Duplicates
from elec.ingest.splits import boundaries
from elec.ingest.times import Times
from elec.ingest.window import Window
from elec.spec import Split
from tests.ingest.made import AS_OF, NOW, START, made_rows, made_spec, write_csv
from tests.ingest.made_segments import made_segments


@settings(max_examples=30, deadline=None)
@given(
    times=st.lists(st.integers(0, 40), min_size=3, max_size=200),
    cuts=st.lists(st.integers(0, 200), max_size=3),
    valid=st.floats(0.05, 0.4),
    test=st.floats(0.05, 0.4),
)
def test_time_splits_are_ordered_whole_and_as_close_as_ties_allow(
    times: list[int], cuts: list[int], valid: float, test: float, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("times")
    segments, window = made_segments(folder, times, list(range(len(times))), cuts), Window(as_of=100, now=100)
    found = Times(segments, window, Duplicates(segments, window, drop=False, work=folder))
    split = Split(valid=valid, test=test)
    if len(set(times)) < 3:
        with pytest.raises(InputError, match="too few to split by time"):
            boundaries(found, split, "log.csv")
        return
    position = boundaries(found, split, "log.csv").split_of(np.array(times))
    groups = [sorted(time for time, at in zip(times, position, strict=True) if at == number) for number in range(3)]
    assert all(groups)
    assert groups[0][-1] < groups[1][0] <= groups[1][-1] < groups[2][0]
    count = Counter(times)
    # No other place between two times comes closer to the asked share of test rows.
    distinct = sorted(count)
    wanted = max(1, round(len(times) * test))
    possible = [sum(count[time] for time in distinct[start:]) for start in range(2, len(distinct))]
    assert abs(len(groups[2]) - wanted) == min(abs(size - wanted) for size in possible)


def _split_of_rows(folder: Path) -> dict[str, str]:
    data = Ingested(folder)
    return {
        f"{row['event_timestamp']}{row['user']}": split
        for split in SPLITS
        for row in pq.read_table(data.split(split)).to_pylist()
    }


def test_random_is_the_same_in_every_run_order_and_format(tmp_path: Path) -> None:
    rows = made_rows(1000)
    random = {"by": "random", "valid": 0.2, "test": 0.1}
    ingest(made_spec(write_csv(tmp_path / "a.csv", rows), split=random), tmp_path / "a", as_of=AS_OF, now=NOW)
    shuffled = write_csv(tmp_path / "b.tsv", [*rows[500:], *rows[:500]], "\t")
    ingest(made_spec(shuffled, split=random), tmp_path / "b", as_of=AS_OF, now=NOW)
    ingest(made_spec(tmp_path / "a.csv", split={**random, "seed": 1}), tmp_path / "c", as_of=AS_OF, now=NOW)
    first = _split_of_rows(tmp_path / "a")
    assert first == _split_of_rows(tmp_path / "b")
    assert first != _split_of_rows(tmp_path / "c")
    sizes = Counter(first.values())
    assert abs(sizes["valid"] - 200) < 45
    assert abs(sizes["test"] - 100) < 35


def test_column_split_knows_the_usual_words(tmp_path: Path) -> None:
    words = ["train", "Training", " valid", "val", "validation", "dev", "TEST", "testing"]
    rows = made_rows(160, fold=lambda position, row: words[position % 8])
    rows[0]["fold"] = ""
    rows[1]["fold"] = "holdout"
    spec = made_spec(write_csv(tmp_path / "log.csv", rows), split={"by": "column", "column": "fold"})
    report = ingest(spec, tmp_path / "out", as_of=AS_OF, now=NOW)
    assert report.split_rows == {"train": 38, "valid": 80, "test": 40}
    (reason,) = report.reasons
    assert reason.startswith("fold: not one of train, training, valid")


def test_row_ids_follow_the_reading_and_reports_the_rows(tmp_path: Path) -> None:
    rows = made_rows(200)
    rows.reverse()
    report = ingest(made_spec(write_csv(tmp_path / "log.csv", rows)), tmp_path / "out", as_of=AS_OF, now=NOW)
    data = Ingested(tmp_path / "out")
    assert data.report() == report
    for split in SPLITS:
        table = pq.read_table(data.split(split))
        ids, times = table["row_id"].to_pylist(), table["event_timestamp"].to_pylist()
        assert ids == sorted(ids)
        assert all(rows[row_id]["user"] == user for row_id, user in zip(ids, table["user"].to_pylist(), strict=True))
        assert len(table) == report.split_rows[split]
        assert np.mean(table["label"].to_numpy()) == pytest.approx(report.label_rate[split])
        assert (min(times), max(times)) == (report.first_event[split], report.last_event[split])
    assert report.first_event["train"] == START
    assert report.last_event["test"] == START + dt.timedelta(minutes=199)
    assert report.users == len({row["user"] for row in rows})
    with pytest.raises(ValueError, match="not one of train, valid, test"):
        data.split("dev")
    with pytest.raises(InputError, match="holds no ingested data set"):
        Ingested(tmp_path).report()
