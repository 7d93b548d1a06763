"""Cells: what is a number, a time, a key, a label, and what is not."""

import datetime as dt
import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elec.errors import InputError
from elec.ingest.cells import NO_NUMBER, to_labels, to_lists, to_numbers, to_text
from elec.ingest.sql import Sql
from elec.ingest.time_cells import NEVER, to_times


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sql]:
    made = Sql(tmp_path_factory.mktemp("spill"))
    yield made
    made.close()


def _number(text: str) -> float | str | None:
    """The oracle: Python's own reading, less what it takes for a number and nobody else does."""
    stripped = text.strip()
    if stripped == "" or stripped.lower() in NO_NUMBER:
        return None
    if "_" in text or "inf" in text.lower() or "nan" in text.lower() or not stripped.isascii():
        return "bad"
    try:
        value = float(stripped)
    except ValueError:
        return "bad"
    return value if math.isfinite(value) else "bad"


numbers = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False).map(repr),
    st.integers(-(10**25), 10**25).map(str),
    st.text("0123456789.eE+- _infaINFN", max_size=6),
    st.sampled_from(["1.", ".5", "1e400", "inf", "-Infinity", "NaN", " 7 ", "\\N", "0x1f", "1,5", "٣", "1 2", "N/A", "5."]),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(numbers, min_size=1, max_size=20))
def test_text_is_a_number_when_it_reads_as_one(texts: list[str]) -> None:
    values, bad = to_numbers(pa.array(texts), "f")
    for text, value, wrong in zip(texts, values.to_pylist(), bad.tolist(), strict=True):
        expected = _number(text)
        assert ("bad" if wrong else value) == expected, text


def test_typed_numbers() -> None:
    values, bad = to_numbers(pa.array([1.5, float("nan"), float("inf"), None]), "f")
    assert values.to_pylist() == [1.5, None, None, None]
    assert bad.tolist() == [False, False, True, False]
    assert to_numbers(pa.array([2**60, None]), "f")[0].to_pylist() == [2.0**60, None]
    assert to_numbers(pa.array([True, False]), "f")[0].to_pylist() == [1.0, 0.0]
    assert to_numbers(pa.nulls(2), "f")[0].to_pylist() == [None, None]
    assert to_numbers(pa.array(["1.50"]).cast(pa.decimal128(5, 2)), "f")[0].to_pylist() == [1.5]
    with pytest.raises(InputError, match="holds timestamp"):
        to_numbers(pa.array([dt.datetime(2024, 1, 1)]), "log.parquet, column 'x'")


def test_keys_are_exact() -> None:
    big = 9_007_199_254_740_993
    assert to_text(pa.array([big, None]), "f")[0].to_pylist() == [str(big), None]
    assert to_text(pa.array([2**64 - 1], pa.uint64()), "f")[0].to_pylist() == [str(2**64 - 1)]
    assert to_text(pa.array(["007", "", " a", None]), "f")[0].to_pylist() == ["007", None, " a", None]
    text, inexact = to_text(pa.array([196.0, 1.5, float("nan"), -0.0, float(2**53)]), "f")
    assert text.to_pylist()[:4] == ["196", "1.5", None, "0"]
    assert inexact.tolist() == [False, False, False, False, True]
    assert to_text(pa.array(["a", "b", "a"]).dictionary_encode(), "f")[0].to_pylist() == ["a", "b", "a"]
    assert to_text(pa.array([b"abc"]), "f")[0].to_pylist() == ["abc"]
    with pytest.raises(InputError, match="cannot be read as text"):
        to_text(pa.array([b"\xff"]), "f")


def test_lists_lose_nothing_but_the_empty() -> None:
    values, bad = to_lists(pa.array(["a|b", "", None, "|a||", " a | b ", "|"]), "|", "f")
    assert values.to_pylist() == [["a", "b"], None, None, ["a"], ["a", "b"], None]
    assert not bad.any()
    values, _ = to_lists(pa.array([["a", "", None], [], None, ["b", "b"]]), "|", "f")
    assert values.to_pylist() == [["a"], None, None, ["b", "b"]]
    assert to_lists(pa.array([[1, 2], [3]]), "|", "f")[0].to_pylist() == [["1", "2"], ["3"]]
    assert to_lists(pa.array([], pa.string()), "|", "f")[0].to_pylist() == []


def _times(values: pa.Array, unit: str, database: Sql) -> list[int | str | None]:
    found, missing, bad = to_times(values, unit, "f", database)
    return ["bad" if wrong else None if none else int(value) for value, none, wrong in zip(found, missing, bad, strict=True)]


@pytest.mark.parametrize(("unit", "factor"), [("s", 1_000_000), ("ms", 1000), ("us", 1), ("ns", 0)])
@settings(max_examples=50, deadline=None)
@given(data=st.data())
def test_whole_numbers_are_exact_times(unit: str, factor: int, data: st.DataObject, database: Sql) -> None:
    micros = data.draw(st.lists(st.integers(-(10**15), 2 * 10**15), min_size=1, max_size=10))
    values = [value * 1000 + 999 if factor == 0 else value // factor for value in micros]
    expected = micros if factor == 0 else [value * factor for value in values]
    assert _times(pa.array(values), unit, database) == expected
    assert _times(pa.array([f" {value} " for value in values]), unit, database) == expected


def test_numbers_that_are_no_times(database: Sql) -> None:
    texts = ["", "abc", "1.5", "1e9", "99999999999999999999", "-99999999999999999999", "9223372036854775807", "inf", "null"]
    expected = [None, "bad", 1_500_000, 10**15, NEVER, "bad", NEVER, "bad", None]
    assert _times(pa.array(texts), "s", database) == expected
    assert _times(pa.array([1.5, float("nan"), 1e300, None]), "s", database) == [1_500_000, None, NEVER, None]
    assert _times(pa.array([2**63 + 5], pa.uint64()), "s", database) == [NEVER]


@settings(max_examples=100, deadline=None)
@given(
    moment=st.datetimes(dt.datetime(1800, 1, 1), dt.datetime(2200, 1, 1)),
    offset=st.one_of(st.none(), st.integers(-14 * 60, 14 * 60)),
)
def test_iso_with_and_without_offset(moment: dt.datetime, offset: int | None, database: Sql) -> None:
    zone = dt.UTC if offset is None else dt.timezone(dt.timedelta(minutes=offset))
    aware = moment.replace(tzinfo=zone)
    expected = (aware - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(microseconds=1)
    text = (moment if offset is None else aware).isoformat()
    assert _times(pa.array([text, text.replace("T", " "), f" {text} "]), "iso", database) == [expected] * 3


def test_iso_forms(database: Sql) -> None:
    day = int(dt.datetime(2024, 2, 29, tzinfo=dt.UTC).timestamp()) * 10**6
    good = ["2024-02-29", "2024-02-29T00:00", "2024-02-29T00:00Z", "2024-02-29 00:00:00 UTC", "2024-02-29T01:30:00+0130"]
    assert _times(pa.array(good), "iso", database) == [day] * len(good)
    assert _times(pa.array(["2024-02-28T21:00-03", "2024-02-29T00:00:00.000000999"]), "iso", database) == [day, day]
    bad = [
        "2023-02-29",
        "29/02/2024",
        "20240229",
        "2024-02-29T25:00",
        "infinity",
        "epoch",
        "2024-02-29 Europe/Berlin",
        "1.5",
        "1600-01-01",
    ]
    assert _times(pa.array(bad), "iso", database) == ["bad"] * len(bad)
    assert _times(pa.array(["9999-12-31", "", None]), "iso", database) == [NEVER, None, None]


def test_typed_times_keep_their_own_unit_and_zone(database: Sql) -> None:
    moment = dt.datetime(2024, 1, 1, 12, tzinfo=dt.UTC)
    expected = int(moment.timestamp()) * 10**6
    for kind in (pa.timestamp("s"), pa.timestamp("ns"), pa.timestamp("ns", "UTC"), pa.timestamp("ms", "Europe/Berlin")):
        values = pa.array([expected // 10**6, None]).cast(pa.timestamp("s")).cast(pa.timestamp(kind.unit))
        column = pa.Array.from_buffers(kind, 2, values.buffers())
        assert _times(column, "s", database) == [expected, None]
    assert _times(pa.array([moment.date()]), "iso", database) == [expected - 12 * 3600 * 10**6]


def test_labels() -> None:
    values, missing, bad = to_labels(pa.array(["1", "0", "true", "FALSE", " 1 ", "1.0", "", "yes", "2", None]), "f")
    assert values[~missing & ~bad].tolist() == [1, 0, 1, 0, 1, 1]
    assert np.flatnonzero(missing).tolist() == [6, 9]
    assert np.flatnonzero(bad).tolist() == [7, 8]
    for column in (pa.array([True, None, False]), pa.array([1.0, float("nan"), 0.0]), pa.array([1, None, 0], pa.int8())):
        values, missing, bad = to_labels(column, "f")
        assert (values.tolist(), missing.tolist(), bad.any()) == ([1, 0, 0], [False, True, False], False)


def test_paths_with_quotes_do_not_break_sql(tmp_path: Path) -> None:
    from elec.ingest import ingest
    from tests.ingest.made import AS_OF, made_rows, made_spec, write_csv

    folder = tmp_path / 'it\'s a "test"'
    folder.mkdir()
    path = write_csv(folder / "log's.csv", made_rows(60))
    assert ingest(made_spec(path), folder / "o'ut", as_of=AS_OF).rows_kept == 60
