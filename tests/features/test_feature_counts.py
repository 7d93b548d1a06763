"""Values counted in batches of dictionaries: equal to what SQL counts over the same rows."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from elec.errors import InputError
from elec.features import counts as counting
from elec.features.counts import ValueCounts, coded_batches
from elec.features.engine import duckdb_connection, reading
from elec.spec import FieldSpec, Kind

WORD = FieldSpec(name="word")
TAGS = FieldSpec(name="tags", kind=Kind.MULTIVALUED)
AGE = FieldSpec(name="age", kind=Kind.NUMERIC)
SCHEMA = pa.schema([("word", pa.string()), ("tags", pa.list_(pa.string())), ("age", pa.float64())])

TEXT = st.none() | st.sampled_from(["", " ", "a", "b", "B", "ä", "a\x00b", "a|b", "z" * 40, "\U0001f600"])
ROWS = st.lists(
    st.fixed_dictionaries({"word": TEXT, "tags": st.none() | st.lists(TEXT, max_size=5), "age": st.none() | st.floats()}),
    max_size=40,
)


def frequent(values: list[str | None], least: int) -> list[str]:
    counted = Counter(value for value in values if value)
    kept = [(-count, value.encode(), value) for value, count in counted.items() if count >= least]
    return [value for _, _, value in sorted(kept)]


@given(rows=ROWS, others=ROWS, least=st.integers(1, 3), group=st.integers(1, 50), plain=st.booleans())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_counts_are_exact(
    tmp_path: Path, rows: list[dict[str, object]], others: list[dict[str, object]], least: int, group: int, plain: bool
) -> None:
    train, test = tmp_path / "train.parquet", tmp_path / "test.parquet"
    # Without a dictionary in the file it is made while it is read.
    pq.write_table(pa.Table.from_pylist(rows, SCHEMA), train, row_group_size=group, use_dictionary=not plain)
    pq.write_table(pa.Table.from_pylist(others, SCHEMA), test)
    with ValueCounts() as counts:
        counts.add(train, [WORD, TAGS, AGE])
        counts.add(test, [WORD], seen_only=True)
        words = [row["word"] for row in rows]
        assert counts.frequent("word", least).to_pylist() == frequent(words, least)  # type: ignore[arg-type]
        tags = [tag for row in rows for tag in set(row["tags"] or ())]  # type: ignore[call-overload]
        assert counts.frequent("tags", least).to_pylist() == frequent(tags, least)
        seen = {row["word"] for row in (*rows, *others)}
        expected = [*sorted(seen - {None}, key=str.encode), *([None] if None in seen else [])]  # type: ignore[arg-type, type-var]
        assert counts.distinct("word").to_pylist() == expected
        ages = [row["age"] for row in rows if row["age"] is not None and np.isfinite(row["age"])]  # type: ignore[call-overload]
        assert counts.numbers("age").count == len(ages)
        assert counts.numbers("age").lowest == min(ages, default=None)  # type: ignore[type-var]


def test_many_batches_and_large_row_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(counting, "BATCH_ROWS", 1_000)
    draw = np.random.default_rng(0)
    words = [f"w{number}" for number in (draw.pareto(1, 20_000) * 10).astype(int)]
    file = tmp_path / "train.parquet"
    pq.write_table(pa.table({"word": words}), file, row_group_size=7_500)
    sizes = [len(batch) for batch in coded_batches(file, ["word"])]
    assert max(sizes) == 1_000
    assert sum(sizes) == 20_000
    assert [batch.column("word").type for batch in coded_batches(file, ["word"])] == [
        pa.dictionary(pa.int32(), pa.string())
    ] * len(sizes)
    with ValueCounts() as counts:
        counts.add(file, [WORD])
        assert counts.frequent("word", 2).to_pylist() == frequent(words, 2)


def test_columns_of_other_types_are_read_as_their_kind(tmp_path: Path) -> None:
    file = tmp_path / "train.parquet"
    columns = {"word": pa.array([7, 7, None, 8]), "tags": ["a|b", "a", None, ""], "age": ["1", " 2", "", "1"]}
    pq.write_table(pa.table(columns), file)
    with ValueCounts() as counts:
        counts.add(file, [WORD, TAGS, AGE])
        assert counts.frequent("word", 1).to_pylist() == ["7", "8"]
        assert counts.frequent("tags", 1).to_pylist() == ["a", "b"]
        assert counts.numbers("age").quantiles([0.5, 1.0]).tolist() == [1.0, 2.0]


def test_an_error_in_a_thread_is_told_in_its_own_words(tmp_path: Path) -> None:
    file = tmp_path / "train.parquet"
    pq.write_table(pa.table({"age": ["1", "old"]}), file)
    with ValueCounts() as counts, pytest.raises(InputError, match=r"'age'.*'old'"):
        counts.add(file, [AGE])


def test_a_stream_that_is_not_read_to_its_end_is_closed() -> None:
    closed = []
    schema = pa.schema([("number", pa.int64())])

    def batches() -> Iterator[pa.RecordBatch]:
        try:
            for number in range(100):
                yield pa.record_batch([pa.array([number] * 3000)], schema=schema)
        finally:
            closed.append(True)

    with duckdb_connection() as connection, reading(connection, "numbers", schema, batches()):
        assert connection.sql("SELECT number FROM numbers LIMIT 1").fetchall() == [(0,)]
    assert closed == [True]
