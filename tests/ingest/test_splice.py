"""Row groups that are copied undecoded: every reader reads what was written."""

import random
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elec.ingest import SPLITS, Ingested, ingest
from elec.ingest.footer import read_struct, write_struct
from elec.ingest.splice import Groups, SplicedWriter
from elec.ingest.writing import ENCODED, RowWriter
from tests.ingest.made import AS_OF, NOW, made_rows, made_spec

SCHEMA = pa.schema(
    [
        ("row_id", pa.int64()),
        ("event_timestamp", pa.timestamp("us", tz="UTC")),
        ("word", pa.string()),
        ("tags", pa.list_(pa.string())),
        ("price", pa.float64()),
    ]
)


def _rows(count: int, seed: int) -> pa.Table:
    draw = random.Random(seed)
    return pa.table(
        {
            "row_id": pa.array(range(count), pa.int64()),
            "event_timestamp": pa.array([draw.randrange(10**15) for _ in range(count)], pa.int64()),
            "word": pa.array([draw.choice(["a", "bb", None, f"w{draw.randrange(5000)}"]) for _ in range(count)], pa.string()),
            "spare": pa.array([draw.random() for _ in range(count)]),
            "tags": pa.array([draw.choice([None, ["x"], ["y", "z" * 30]]) for _ in range(count)], pa.list_(pa.string())),
            "price": pa.array([draw.choice([None, draw.random()]) for _ in range(count)], pa.float64()),
        }
    )


@settings(max_examples=15, deadline=None)
@given(plan=st.lists(st.tuples(st.booleans(), st.integers(1, 3000), st.integers(0, 99)), max_size=6))
def test_copied_and_encoded_rows_come_out_in_order(
    plan: list[tuple[bool, int, int]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("splice")
    writer = SplicedWriter(folder / "out.parquet", SCHEMA)
    expected = [SCHEMA.empty_table()]
    for number, (copy, count, seed) in enumerate(plan):
        rows = _rows(count, seed)
        wanted = rows.select(SCHEMA.names).cast(SCHEMA)
        expected.append(wanted)
        if not copy:
            writer.write(wanted)
            continue
        # Times are plain integers there, and there is a column more, in between.
        path = folder / f"{number}.parquet"
        with RowWriter(path, rows.schema) as source:
            source.write(rows)
        with path.open("rb") as stream:
            writer.copy(Groups(stream), 0)
    writer.close()
    found = pq.read_table(folder / "out.parquet")
    assert found.schema.equals(SCHEMA)
    assert found.equals(pa.concat_tables(expected))
    assert writer.rows == len(found) == pq.read_metadata(folder / "out.parquet").num_rows
    sums = duckdb.connect().sql(
        f"SELECT count(*), count(word), sum(len(tags)), sum(price), max(row_id) FROM '{folder}/out.parquet'"
    )
    tags = [len(row) for row in found["tags"].to_pylist() if row is not None]
    prices = [price for price in found["price"].to_pylist() if price is not None]
    ids = found["row_id"].to_pylist()
    count, words, length, price, last = sums.fetchall()[0]
    assert (count, words, length or 0) == (len(found), len(found) - found["word"].null_count, sum(tags))
    assert (price or 0.0, last) == (pytest.approx(sum(prices)), max(ids, default=None))


def test_a_footer_is_what_it_was(tmp_path: Path) -> None:
    pq.write_table(_rows(5000, 1), tmp_path / "a.parquet", row_group_size=100)
    with (tmp_path / "a.parquet").open("rb") as stream:
        footer = Groups(stream).footer
    content = write_struct(footer)
    assert (tmp_path / "a.parquet").read_bytes()[-8 - len(content) : -8] == content
    assert read_struct(content) == footer
    with pytest.raises(ValueError, match="ends in the middle"):
        read_struct(content[:-1])
    with pytest.raises(ValueError, match="more than a footer"):
        read_struct(content + b"x")


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The numbers of the row groups that are copied undecoded."""
    found: list[int] = []
    copy = SplicedWriter.copy

    def noted(writer: SplicedWriter, source: Groups, number: int, *rest: Any) -> None:
        found.append(number)
        copy(writer, source, number, *rest)

    monkeypatch.setattr(SplicedWriter, "copy", noted)
    return found


def test_large_files_are_copied_and_give_the_same_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copies: list[int]
) -> None:
    rows = pa.Table.from_pylist(made_rows(120))
    (tmp_path / "log").mkdir()
    repeated = 1000
    for part in range(3):
        times = np.arange(120 * repeated) + 1_704_067_200 + part * 120 * repeated
        table = pa.concat_tables([rows] * repeated).set_column(0, "ts", pa.array(times))
        pq.write_table(table, tmp_path / "log" / f"{part}.parquet")
    spec = made_spec(tmp_path / "log", timestamp={"column": "ts"})
    report = ingest(spec, tmp_path / "copied", as_of=AS_OF, now=NOW)
    assert len(copies) == 2, "the last file has the boundaries in it"
    monkeypatch.setattr("elec.ingest.parts.LEAST_ROWS", 10**9)
    assert ingest(spec, tmp_path / "encoded", as_of=AS_OF, now=NOW) == report
    assert len(copies) == 2
    for split in SPLITS:
        one, other = (pq.read_table(Ingested(tmp_path / name).split(split)) for name in ("copied", "encoded"))
        assert one.equals(other)
        assert len(one) == report.split_rows[split]


def test_labels_of_a_log_of_clicks_take_the_place_of_copied_ones(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, copies: list[int]
) -> None:
    rows = pa.Table.from_pylist(made_rows(120)).drop_columns("clicked")
    count = 120 * 1000
    (tmp_path / "log").mkdir()
    for part in range(3):
        numbers = np.arange(count) + part * count
        requests = pa.array(numbers).cast(pa.string())
        table = pa.concat_tables([rows] * 1000).set_column(0, "ts", pa.array(numbers + 1_704_067_200))
        pq.write_table(table.append_column("request", requests), tmp_path / "log" / f"{part}.parquet")
    clicked = np.arange(0, 3 * count, 7)
    clicks = {"request": pa.array(clicked).cast(pa.string()), "at": clicked + 1_704_067_260}
    pq.write_table(pa.table(clicks), tmp_path / "clicks.parquet")
    found = {"path": str(tmp_path / "clicks.parquet"), "request": "request", "timestamp": "at", "within": "1h"}
    spec = made_spec(tmp_path / "log", timestamp={"column": "ts"}, label={"clicks": found})
    report = ingest(spec, tmp_path / "out", as_of=AS_OF, now=NOW)
    assert len(copies) == 2, "the last file has the boundaries in it"
    assert report.label_rate["train"] == pytest.approx(1 / 7, abs=1e-4)
    for split in SPLITS:
        table = pq.read_table(Ingested(tmp_path / "out").split(split))
        assert table["label"].to_pylist() == (table["row_id"].to_numpy() % 7 == 0).astype(int).tolist()
        assert table["user"].to_pylist() == [made["user"] for made in _repeated(rows, table)]


def _repeated(rows: pa.Table, table: pa.Table) -> list[dict[str, Any]]:
    once = rows.to_pylist()
    return [once[number % len(once)] for number in table["row_id"].to_pylist()]


@pytest.mark.parametrize("count", [131_072, 131_073, 163_839, 163_840, 300_000])
def test_no_row_group_is_small_but_that_of_few_rows(count: int, tmp_path: Path) -> None:
    words = pa.array([f"w{number * 7 % 1000}" if number % 5 else None for number in range(count)])
    table = pa.table({"row_id": pa.array(range(count), pa.int64()), "word": words})
    for way, step in (("once", count), ("steps", 50_021)):
        with RowWriter(tmp_path / f"{way}.parquet", table.schema) as writer:
            for begin in range(0, count, step):
                piece = table.slice(begin, step)
                # Text comes as it is or as dictionaries, whatever else is in those.
                other = pa.array(["unused", "w7"]).dictionary_encode().cast(ENCODED)
                encoded = pa.chunked_array([piece["word"].dictionary_encode().combine_chunks(), other]).unify_dictionaries()
                piece = piece.set_column(1, "word", encoded.slice(0, len(piece))) if begin % 2 else piece
                writer.write(piece)
    assert (tmp_path / "once.parquet").read_bytes() == (tmp_path / "steps.parquet").read_bytes()
    assert pq.read_table(tmp_path / "steps.parquet").equals(table)
    metadata = pq.read_metadata(tmp_path / "steps.parquet")
    sizes = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    assert min(sizes) >= 32_768
    assert max(sizes) < 131_072 + 32_768
