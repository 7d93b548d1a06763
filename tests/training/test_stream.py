"""Rows on disk give the batches of rows in memory, from few of them at a time."""

import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from elec.errors import InputError
from elec.training import order
from elec.training.data import Batch, Rows, Shard, load_rows
from elec.training.encoded import Columns, EncodedFile
from elec.training.stream import StreamedRows, open_rows

ROWS, SLOTS = 1003, 3


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("order", "stream", "encoded"):
        monkeypatch.setattr(f"elec.training.{module}.BLOCK_ROWS", 32)
    monkeypatch.setattr(order, "WINDOW_BLOCKS", 4)
    monkeypatch.setattr("elec.training.stream.WINDOW_BLOCKS", 4)


@pytest.fixture
def encoded(tmp_path: Path) -> Path:
    return write(tmp_path / "train.parquet", ROWS)


def write(path: Path, rows: int, row_group: int = 32) -> Path:
    row = np.arange(rows)
    columns = {
        "row_id": row + 7,
        "label": (row % 3 == 0).astype(np.int8),
        "user_index": row // 2,
        "slots": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(rows * SLOTS)), SLOTS),
    }
    pq.write_table(pa.table(columns), path, row_group_size=row_group)
    np.save(path.with_name("llm.npy"), np.random.default_rng(0).normal(size=(rows, 5)).astype(np.float16))
    np.save(path.with_name("vectors.npy"), np.random.default_rng(1).normal(size=(rows, 2, 3)).astype(np.float32))
    return path


def both(path: Path) -> tuple[Rows, StreamedRows]:
    beside = (path.with_name("llm.npy"), path.with_name("vectors.npy"))
    return load_rows(path, *beside), StreamedRows(path, *beside)


def assert_same(one: Iterator[Batch], other: Iterator[Batch]) -> int:
    count = 0
    for left, right in zip(one, other, strict=True):
        for mine, yours in zip(left.tensors(), right.tensors(), strict=True):
            assert mine is not None
            assert yours is not None
            assert mine.dtype == yours.dtype
            assert torch.equal(mine, yours)
        count += 1
    return count


# One batch size smaller than a window, one larger than two, one that divides nothing.
@pytest.mark.parametrize("size", [16, 300, 47])
def test_both_give_the_same_batches(encoded: Path, size: int) -> None:
    memory, disk = both(encoded)
    for epoch in (1, 2):
        assert assert_same(memory.shuffled(size, 3, epoch), disk.shuffled(size, 3, epoch)) == -(-ROWS // size)
    assert assert_same(memory.in_order(size), disk.in_order(size)) == -(-ROWS // size)


@pytest.mark.parametrize("row_group", [7, 50, 5000])
def test_row_groups_of_any_size_are_read(tmp_path: Path, row_group: int) -> None:
    memory, disk = both(write(tmp_path / "train.parquet", 300, row_group))
    assert_same(memory.shuffled(40, 1, 1), disk.shuffled(40, 1, 1))


def test_an_epoch_holds_each_row_once_with_all_that_belongs_to_it(encoded: Path) -> None:
    _, disk = both(encoded)
    batches = list(disk.shuffled(64, 5, 2))
    index = torch.cat([batch.index_B for batch in batches])
    assert sorted(index.tolist()) == list(range(ROWS))
    assert torch.equal(torch.cat([batch.slots_BS[:, 0] for batch in batches]), index * SLOTS)
    assert torch.equal(torch.cat([batch.label_B for batch in batches]), (index % 3 == 0).float())
    llm = torch.from_numpy(np.load(encoded.with_name("llm.npy"))).float()
    assert torch.equal(torch.cat([batch.llm_BL for batch in batches if batch.llm_BL is not None]), llm[index])


def test_rows_of_distant_blocks_meet_in_a_batch(encoded: Path) -> None:
    _, disk = both(encoded)
    blocks = [set((batch.index_B // 32).tolist()) for batch in disk.shuffled(64, 5, 1)]
    assert np.mean([len(found) for found in blocks]) > 3
    assert max(max(found) - min(found) for found in blocks) > 10


@pytest.mark.parametrize("start", [1, 9, 16])
def test_a_resumed_epoch_goes_on_with_the_batches_that_are_left(encoded: Path, start: int) -> None:
    for rows in both(encoded):
        left = list(rows.shuffled(64, 3, 1))[start:]
        assert assert_same(iter(left), rows.shuffled(64, 3, 1, start=start)) == 16 - start


def test_shards_together_are_the_batch(encoded: Path) -> None:
    for rows in both(encoded):
        whole = list(rows.shuffled(47, 3, 1))
        parts = [list(rows.shuffled(47, 3, 1, shard=Shard(rank, 3))) for rank in range(3)]
        for batch, *shards in zip(whole, *parts, strict=True):
            assert torch.equal(torch.cat([shard.index_B for shard in shards]), batch.index_B)
            assert max(map(len, shards)) - min(map(len, shards)) <= 1


def test_what_the_evaluation_reads_is_the_same(encoded: Path) -> None:
    memory, disk = both(encoded)
    np.testing.assert_array_equal(disk.row_id_N, memory.row_id_N)
    np.testing.assert_array_equal(disk.user_index_N, memory.user_index_N)
    assert torch.equal(disk.label_N, memory.label_N)
    assert len(disk) == len(memory)


def test_two_windows_are_in_memory_at_most(encoded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rooms, room = [], EncodedFile.columns

    def counted(file: EncodedFile, rows: int, *, slots: bool = True) -> Columns:
        rooms.append(rows)
        return room(file, rows, slots=slots)

    monkeypatch.setattr(EncodedFile, "columns", counted)
    _, disk = both(encoded)
    rooms.clear()
    for _ in disk.shuffled(47, 3, 1):
        pass
    for _ in disk.in_order(47):
        pass
    assert rooms == [128, 128, 94, 94]


def test_only_what_is_larger_than_the_limit_is_streamed(encoded: Path) -> None:
    llm = encoded.with_name("llm.npy")
    size = ROWS * (8 * SLOTS + 20 + 10)
    assert isinstance(open_rows(encoded, memory=str(size), llm_NL=llm), Rows)
    assert isinstance(open_rows(encoded, memory=str(size - 1), llm_NL=llm), StreamedRows)
    assert isinstance(open_rows(encoded, memory="1Ki"), StreamedRows)
    assert isinstance(open_rows(encoded, memory="1M"), Rows)


def test_an_epoch_that_is_left_early_ends_its_thread(encoded: Path) -> None:
    _, disk = both(encoded)
    batches = disk.shuffled(16, 1, 1)
    next(batches)
    batches.close()  # type: ignore[attr-defined]
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("read-rows")]


def test_a_broken_file_ends_the_epoch_with_its_reason(tmp_path: Path) -> None:
    path = write(tmp_path / "train.parquet", 200)
    table = pq.read_table(path)
    pq.write_table(table.take(pa.array(np.random.default_rng(0).permutation(200))), path, row_group_size=32)
    with pytest.raises(ValueError, match="not sorted by row_id"):
        list(StreamedRows(path).shuffled(16, 1, 1))
    with pytest.raises(InputError, match="no such file"):
        StreamedRows(tmp_path / "absent.parquet")
    with pytest.raises(InputError, match="representations cannot be read"):
        StreamedRows(path, tmp_path / "absent.npy")
    with pytest.raises(ValueError, match="200 rows, but there are 7 text vectors"):
        StreamedRows(path, None, np.zeros((7, 2, 3), np.float32))
