"""Pieces of files, and the engine that needs nothing."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elec.engine import LocalEngine, started
from elec.engine.pieces import cut, map_file, splice
from elec.errors import InputError
from elec.features.counts import ValueCounts
from elec.features.spread_counts import spread_counts
from elec.progress import Progress
from elec.spec import FieldSpec, Kind
from elec.spec.run import DataEngineSpec


class Cutting(LocalEngine):
    """In this process, but as if there were workers."""

    def __init__(self, pieces: int) -> None:
        self.pieces = pieces  # type: ignore[misc]


def written(path: Path, groups: list[int]) -> pa.Table:
    """A file with row groups of these lengths."""
    count = sum(groups)
    draw = np.random.default_rng(count)
    lists = [[f"l{value}" for value in draw.integers(0, 5, size)] or None for size in draw.integers(0, 4, count)]
    table = pa.table(
        {
            "row_id": np.arange(count),
            "word": pa.array([None if value == 0 else f"w{value}" for value in draw.integers(0, 9, count)], pa.string()),
            "number": pa.array(np.round(draw.normal(size=count), 1), mask=draw.random(count) < 0.1),
            "list": pa.array(lists, pa.list_(pa.string())),
        }
    )
    with pq.ParquetWriter(path, table.schema) as writer:
        start = 0
        for size in groups:
            writer.write_table(table.slice(start, size), row_group_size=max(size, 1))
            start += size
    return table


def doubled(source: Path, target: Path) -> int:
    table = pq.read_table(source)
    pq.write_table(table.set_column(0, "row_id", pa.array(table["row_id"].to_numpy() * 2)), target)
    return len(table)


@settings(max_examples=25, deadline=None)
@given(groups=st.lists(st.integers(1, 30), min_size=0, max_size=8), pieces=st.integers(1, 5))
def test_pieces_are_the_file(tmp_path_factory: pytest.TempPathFactory, groups: list[int], pieces: int) -> None:
    folder = tmp_path_factory.mktemp("pieces")
    table = written(folder / "a.parquet", groups)
    found = cut(folder / "a.parquet", pieces)
    assert [first for first, _ in found] == [sum(count for _, count in found[:number]) for number in range(len(found))]
    assert sum(count for _, count in found) == pq.ParquetFile(folder / "a.parquet").num_row_groups
    assert len(found) <= max(pieces, 1)
    results = map_file(Cutting(pieces), doubled, folder / "a.parquet", folder / "b.parquet")
    assert sum(results) == len(table)
    made = pq.read_table(folder / "b.parquet")
    assert made["row_id"].to_pylist() == [2 * number for number in range(len(table))]
    assert made.drop_columns("row_id").to_pylist() == table.drop_columns("row_id").to_pylist()
    assert sorted(path.name for path in folder.iterdir()) == ["a.parquet", "b.parquet"]


def test_long_files_are_cut_more_often(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from elec.engine import pieces

    written(tmp_path / "a.parquet", [10] * 12)
    monkeypatch.setattr(pieces, "_MOST_ROWS", 25)
    assert len(cut(tmp_path / "a.parquet", 2)) == 4
    assert len(cut(tmp_path / "a.parquet", 2, 15)) == 6


def test_some_row_groups(tmp_path: Path) -> None:
    table = written(tmp_path / "a.parquet", [3, 4, 5])
    splice([(str(tmp_path / "a.parquet"), range(1, 2)), (str(tmp_path / "a.parquet"), None)], tmp_path / "b.parquet")
    assert pq.read_table(tmp_path / "b.parquet").to_pylist() == pa.concat_tables([table.slice(3, 4), table]).to_pylist()


@settings(max_examples=25, deadline=None)
@given(groups=st.lists(st.integers(1, 30), min_size=1, max_size=8), pieces=st.integers(2, 5))
def test_counts_of_pieces_add_up(tmp_path_factory: pytest.TempPathFactory, groups: list[int], pieces: int) -> None:
    folder = tmp_path_factory.mktemp("counts")
    written(folder / "a.parquet", groups)
    written(folder / "b.parquet", [7, 7, 7])
    fields = [
        FieldSpec(name="word"),
        FieldSpec(name="number", kind=Kind.NUMERIC),
        FieldSpec(name="list", kind=Kind.MULTIVALUED),
    ]
    found = []
    for number in (1, pieces):
        engine = Cutting(number)
        with ValueCounts() as counts, Progress("count", unit="rows") as progress:
            spread_counts(engine, counts, folder / "a.parquet", fields, seen_only=False, progress=progress)
            spread_counts(engine, counts, folder / "b.parquet", fields[:1], seen_only=True, progress=progress)
            numbers = counts.numbers("number")
            shares = [0.0, 0.1, 0.25, 0.5, 0.9, 1.0]
            found.append(
                [
                    *(counts.frequent(name, least).to_pylist() for name in ("word", "list") for least in (1, 2, 5)),
                    counts.distinct("word").to_pylist(),
                    (numbers.count, numbers.lowest, numbers.highest, numbers.quantiles(shares).tolist()),
                ]
            )
            assert progress.done == sum(groups) + 21
    assert found[0] == found[1]


def test_the_local_engine_maps_in_order() -> None:
    with started(DataEngineSpec()) as engine:
        assert engine.pieces == 1
        assert list(engine.map(str, [3, 1, 2])) == ["3", "1", "2"]


def test_ray_that_is_not_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "elec.engine.on_ray", None)
    message = "install the extra `ray`"
    with pytest.raises(InputError, match=message), started(DataEngineSpec(engine="ray")):
        pass
