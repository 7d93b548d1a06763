"""Every figure of a description, against the rows counted one by one."""

import datetime as dt
import itertools
import math
from collections import Counter
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elec.describe import DataSummary, describe
from elec.describe.crossed import BETWEEN, bucket_names
from elec.describe.data import span_seconds
from elec.describe.fields import shortened
from elec.describe.numbers import BINS, MOST_VALUES, distribution, edges, scale_of
from elec.describe.summary import FieldSummary, Numbers
from elec.features import FIRST_VALUE, MISSING, FeatureEncoder
from elec.features.buckets import Buckets
from elec.features.raw import TYPES
from elec.ingest import SPLITS, Ingested
from elec.ingest.sql import Sql
from elec.spec import DatasetSpec, Entity, Kind
from tests.describe.made import BAD_ROWS, HOSTILE, described_spec, made_log
from tests.ingest.made import AS_OF, START

Row = dict[str, Any]
FIELDS = ("user", "ad", "city", "visits", "age", "slot", "tags", "title", "price", "hour")


@pytest.fixture(scope="module", params=[1, 2, 3])
def made(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[DataSummary, list[Row]]:
    """A description, and the rows that it is of, each with what its user and item were at its moment."""
    ingested, spec = made_log(tmp_path_factory.mktemp("described"), request.param)
    return describe(ingested, spec, AS_OF), joined(ingested, spec)


def joined(ingested: Ingested, spec: DatasetSpec) -> list[Row]:
    rows = [row | {"split": split} for split in SPLITS for row in pq.read_table(ingested.split(split)).to_pylist()]
    for entity, path in ((Entity.USER, ingested.users), (Entity.ITEM, ingested.items)):
        key = spec.key_of(entity)
        table = sorted(pq.read_table(path).to_pylist(), key=lambda row: row["event_timestamp"])
        for row in rows:
            known = [one for one in table if one[key] == row[key] and one["event_timestamp"] <= row["event_timestamp"]]
            for field in spec.fields_of(entity):
                row[field.name] = known[-1][field.name] if known else None
    return rows


def field_of(summary: DataSummary, name: str) -> FieldSummary:
    return next(field for field in summary.fields if field.name == name)


def percentile(numbers: list[float], share: float) -> float:
    return sorted(numbers)[max(math.ceil(share * len(numbers) - 1e-9), 1) - 1]


def check_numbers(found: Numbers | None, numbers: list[float], clicks: list[int]) -> None:
    assert found is not None
    assert found.distinct == len(set(numbers))
    assert found.mean == pytest.approx(sum(numbers) / len(numbers))
    assert (found.least, found.most) == (min(numbers), max(numbers))
    for name, share in (("p1", 0.01), ("p25", 0.25), ("median", 0.5), ("p75", 0.75), ("p99", 0.99)):
        assert getattr(found, name) == percentile(numbers, share), name
    assert (found.scale == "values") == (len(set(numbers)) <= MOST_VALUES)
    last = len(found.bins) - 1
    for number, one in enumerate(found.bins):
        mine = [
            click
            for value, click in zip(numbers, clicks, strict=True)
            if (value == one.low == one.high)
            or ((one.low <= value or number == 0) and (value < one.high or number == last) and one.low < one.high)
        ]
        assert (one.rows, one.clicks) == (len(mine), sum(mine)), (found.scale, one)


@pytest.mark.parametrize("name", FIELDS)
def test_fields(made: tuple[DataSummary, list[Row]], name: str) -> None:
    summary, rows = made
    field = field_of(summary, name)
    there = [row for row in rows if row[name] is not None]
    gone = [row for row in rows if row[name] is None]
    assert field.rows == len(rows)
    assert (field.missing.rows, field.missing.clicks) == (len(gone), sum(row["label"] for row in gone))
    assert field.key == (name in {"user", "ad"})
    counted: Counter[Any] = Counter()
    clicked: Counter[Any] = Counter()
    for row in there:
        for value in set(row[name]) if field.kind is Kind.MULTIVALUED else [row[name]]:
            counted[value] += 1
            clicked[value] += row["label"]
    assert field.distinct == len(counted)
    if field.kind is Kind.NUMERIC:
        assert field.top == ()
    else:
        expected = sorted(counted, key=lambda value: (-counted[value], value.encode()))[:10]
        assert [(one.rows, one.clicks) for one in field.top] == [(counted[value], clicked[value]) for value in expected]
        shown = [value if len(value) <= 120 else value[:119] + "…" for value in expected]
        assert [one.value for one in field.top] == shown
    if field.kind in {Kind.CATEGORICAL}:
        assert field.numbers is None
        return
    size: dict[Kind, Callable[[Any], float]] = {
        Kind.NUMERIC: float,
        Kind.TEXT: lambda text: float(len(text.split())),
        Kind.MULTIVALUED: lambda values: float(len(values)),
    }
    check_numbers(field.numbers, [size[field.kind](row[name]) for row in there], [row["label"] for row in there])


def combinations(row: Row, field: FieldSummary, encoder: FeatureEncoder) -> list[tuple[str, ...]]:
    """What a row has of a crossed field."""
    parts: list[list[str]] = []
    for name in field.made_of:
        spec = next(spec for spec in encoder.specs if spec.name == name)
        code, value = encoder.codes[encoder.specs.index(spec)], row[name]
        if isinstance(code, Buckets):
            bucket = code.few_ids([value])[0]
            parts.append([] if bucket == MISSING else [bucket_names(code.edges)[max(bucket - FIRST_VALUE, 0)]])
        else:
            values = value if isinstance(value, list) else [value]
            parts.append([text for text in dict.fromkeys(values) if text][: spec.width])
    (spec,) = (spec for spec in encoder.specs if spec.name == field.name)
    return list(itertools.product(*parts))[: spec.width]


@pytest.mark.parametrize("name", ["user_x_ad", "slot_x_city", "visits_x_price_x_slot", "tags_x_city", "age_x_tags"])
def test_crossed_fields(made: tuple[DataSummary, list[Row]], name: str, tmp_path: Path) -> None:
    summary, rows = made
    field = field_of(summary, name)
    spec = described_spec(tmp_path)
    columns = {one.name: pa.array([row[one.name] for row in rows], TYPES[one.kind]) for one in spec.all_fields}
    train = [row["split"] == "train" for row in rows]
    pq.write_table(pa.table(columns).filter(pa.array(train)), tmp_path / "train.parquet")
    encoder = FeatureEncoder.fit(spec, tmp_path / "train.parquet")
    counted: Counter[tuple[str, ...]] = Counter()
    clicked: Counter[tuple[str, ...]] = Counter()
    missing, sizes = [], []
    for row in rows:
        found = combinations(row, field, encoder)
        counted.update(found)
        clicked.update(dict.fromkeys(found, row["label"]))
        if found:
            sizes.append((float(len(found)), row["label"]))
        else:
            missing.append(row["label"])
    assert name == "_x_".join(field.made_of)
    assert (field.rows, field.missing.rows, field.missing.clicks) == (len(rows), len(missing), sum(missing))
    assert field.distinct == len(counted)
    assert [one.rows for one in field.top] == sorted(counted.values(), reverse=True)[:10]
    by_text = {BETWEEN.join(shortened(part, 120 // len(one)) for part in one): one for one in counted}
    assert len(by_text) == len(counted)
    for one in field.top:
        assert (one.rows, one.clicks) == (counted[by_text[one.value]], clicked[by_text[one.value]])
    if field.kind is Kind.MULTIVALUED:
        check_numbers(field.numbers, [size for size, _ in sizes], [label for _, label in sizes])
    else:
        assert field.numbers is None


def test_names_of_buckets() -> None:
    assert bucket_names(None) == bucket_names(()) == ["any"]
    assert bucket_names((0.5, 20.0)) == ["below 0.5", "0.5 to 20", "20 and more"]


def test_the_hard_values_are_there(made: tuple[DataSummary, list[Row]]) -> None:
    summary, rows = made
    assert {field.name for field in summary.fields if not field.made_of} == set(FIELDS)
    assert 0 < field_of(summary, "city").missing.rows < len(rows)
    slots = [one.value for one in field_of(summary, "slot").top]
    assert HOSTILE in slots
    assert any(value.endswith("…") for value in slots)
    price = field_of(summary, "price").numbers
    assert price is not None
    assert price.scale == "log"


def test_the_timeline(made: tuple[DataSummary, list[Row]]) -> None:
    summary, rows = made
    timeline = summary.timeline
    assert timeline.seconds == 3 * 3600
    length = dt.timedelta(seconds=timeline.seconds)
    for before, span in pairwise(timeline.spans):
        assert span.start - before.start == length
    for span in timeline.spans:
        for split, part in zip(SPLITS, span.parts, strict=True):
            mine = [r for r in rows if r["split"] == split and span.start <= r["event_timestamp"] < span.start + length]
            assert (part.rows, part.clicks) == (len(mine), sum(row["label"] for row in mine))
    assert sum(part.rows for span in timeline.spans for part in span.parts) == len(rows)


@pytest.mark.parametrize(("side", "key"), [("users", "user"), ("items", "ad")])
def test_activity(made: tuple[DataSummary, list[Row]], side: str, key: str) -> None:
    summary, rows = made
    found = getattr(summary, side)
    counts = sorted(Counter(row[key] for row in rows).values(), reverse=True)
    assert (found.keys, found.most, found.once) == (len(counts), counts[0], counts.count(1))
    assert found.median == counts[len(counts) // 2]
    for share, top in ((0.01, found.top_1), (0.1, found.top_10)):
        assert top == pytest.approx(sum(counts[: max(1, round(share * len(counts)))]) / len(rows))
    assert all(counts[rank - 1] == rows_of for rank, rows_of in found.ranks)
    assert [found.ranks[0][0], found.ranks[-1][0]] == [1, len(counts)]
    for keys, share in found.shares:
        assert share == pytest.approx(sum(counts[: round(keys * len(counts))]) / len(rows))
    assert (found.shares[0], found.shares[-1]) == ((0.0, 0.0), (1.0, 1.0))


def test_unseen_users_and_items(made: tuple[DataSummary, list[Row]]) -> None:
    summary, rows = made
    for part in ("valid", "test"):
        for side, key in ((Entity.USER, "user"), (Entity.ITEM, "ad")):
            train = {row[key] for row in rows if row["split"] == "train"}
            keys = Counter(row[key] for row in rows if row["split"] == part)
            new = {value: count for value, count in keys.items() if value not in train}
            found = summary.unseen[part][side]
            assert (found.rows, found.keys) == (keys.total(), len(keys))
            assert (found.new_keys, found.new_rows) == (len(new), sum(new.values()))
    assert summary.unseen["test"][Entity.USER].new_rows > 0


def test_refusals_are_those_of_the_quarantine(made: tuple[DataSummary, list[Row]]) -> None:
    summary, _ = made
    assert [(one.reason, one.rows) for one in summary.refused] == [("age: not a number", BAD_ROWS)]
    file, line, raw = summary.refused[0].examples[0]
    assert file.endswith("log.csv")
    assert line in {3, 4}, "the row before it may have a newline in it"
    assert ",old," in raw


def test_it_is_kept_as_json(made: tuple[DataSummary, list[Row]]) -> None:
    summary, _ = made
    assert DataSummary.model_validate_json(summary.model_dump_json()) == summary


def test_columns_may_have_any_name(tmp_path: Path) -> None:
    names = ["key", "moment", "value", "rows", "clicks", "span", "first", "since", "part", "count", "side"]
    header = ",".join(["ts", "train", "held", "clicked", *names])
    lines = [
        ",".join([(START + dt.timedelta(minutes=n)).isoformat(), f"u{n % 7}", f"i{n % 5}", str(n % 3 // 2), *[f"{n % 4}"] * 11])
        for n in range(60)
    ]
    (tmp_path / "log.csv").write_text("\n".join([header, *lines]))
    content = {
        "name": "names",
        "source": {"path": str(tmp_path / "log.csv")},
        "label": {"column": "clicked"},
        "timestamp": {"column": "ts", "unit": "iso"},
        "user": "train",
        "item": "held",
        "fields": [{"name": name, "of": of} for name, of in zip(names, ["context", "user", "item"] * 4, strict=False)],
    }
    from elec.ingest import ingest

    spec = DatasetSpec.model_validate(content)
    ingest(spec, tmp_path / "out", as_of=AS_OF)
    summary = describe(Ingested(tmp_path / "out"), spec, AS_OF)
    for name in names:
        assert {one.value: one.rows for one in field_of(summary, name).top} == dict.fromkeys("0123", 15), name


@pytest.mark.parametrize(
    ("lasted", "seconds"),
    [
        (dt.timedelta(0), 60),
        (dt.timedelta(hours=1), 60),
        (dt.timedelta(days=4), 3600),
        (dt.timedelta(days=90), 86_400),
        (dt.timedelta(days=600), 7 * 86_400),
        (dt.timedelta(days=400 * 365), 364 * 86_400),
    ],
)
def test_spans(lasted: dt.timedelta, seconds: int) -> None:
    first = dt.datetime(1600, 1, 1, tzinfo=dt.UTC)
    assert span_seconds(first, first + lasted) == seconds


def test_scales() -> None:
    def scale(least: float, p1: float, median: float, p99: float) -> str:
        return scale_of(least, {"p1": p1, "median": median, "p99": p99})

    assert scale(0, 1, 50, 99) == "linear"
    assert scale(0.01, 0.1, 1, 100) == "log"
    assert scale(0, 0, 3, 900) == "log1p"
    assert scale(-5, 0, 3, 900) == "linear"
    assert scale(0, 0, 0.01, 0.9) == "linear"


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (-1e308, 1e308), (5, 5), (0, 5e-324), (1e300, 1.1e300), (2.0**53, 2.0**53 + 100), (-3, -1)]
)
def test_edges_rise(low: float, high: float) -> None:
    limits = edges("linear", low, high, whole=False)
    assert 2 <= len(limits) <= 3 * BINS
    assert all(one < other for one, other in pairwise(limits))
    assert limits[0] <= low < limits[-1] or math.isinf(high - low)


@pytest.mark.parametrize(
    "numbers",
    [
        [5.0] * 40,
        [float(number) for number in range(1000)],
        [-1e308, *[float(number) for number in range(30)], 1.5e308],
        [number * 5e-324 for number in range(40)],
        [10.0**number for number in range(-20, 20)],
        [float(number**3) for number in range(40)],
    ],
)
def test_numbers_of_every_size(numbers: list[float], tmp_path: Path) -> None:
    database = Sql(tmp_path)
    values = ", ".join(f"({number!r}::DOUBLE, 2, {position % 3})" for position, number in enumerate(dict.fromkeys(numbers)))
    database.run(f"CREATE TABLE counted AS SELECT * FROM (VALUES {values}) AS made(value, rows, clicks)")
    found = distribution(database, "counted")
    assert found is not None
    assert sum(one.rows for one in found.bins) == 2 * len(set(numbers))
    assert found.least <= found.p1 <= found.median <= found.p99 <= found.most
    assert math.isfinite(found.mean)
    database.run("DELETE FROM counted")
    assert distribution(database, "counted") is None
    database.close()
