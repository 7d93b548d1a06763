"""Encoded Parquet into tensors, and batches that follow the seed."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from elec.errors import InputError
from elec.training.data import load_rows


def write(path: Path, rows: int, *, row_id: np.ndarray | None = None, row_group: int = 7) -> np.ndarray:
    slots = np.arange(rows * 3, dtype=np.int64).reshape(rows, 3) + 2**40
    table = pa.table(
        {
            "row_id": np.arange(rows) if row_id is None else row_id,
            "label": (np.arange(rows) % 3 == 0).astype(np.int8),
            "user_index": np.arange(rows) // 2,
            "slots": pa.FixedSizeListArray.from_arrays(pa.array(slots.ravel()), 3),
        }
    )
    pq.write_table(table, path, row_group_size=row_group)
    return slots


def test_rows_come_whole_and_ids_stay_exact(tmp_path: Path) -> None:
    slots = write(tmp_path / "train.parquet", 20)
    llm = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    rows = load_rows(tmp_path / "train.parquet", llm)
    assert rows.slots_NS.dtype == torch.int64
    assert rows.slots_NS.is_contiguous()
    np.testing.assert_array_equal(rows.slots_NS.numpy(), slots)
    np.testing.assert_array_equal(rows.label_N.numpy(), np.arange(20) % 3 == 0)
    np.testing.assert_array_equal(rows.user_index_N, np.arange(20) // 2)
    assert rows.llm_NL is not None
    np.testing.assert_array_equal(rows.llm_NL.numpy(), llm)


def test_an_epoch_holds_each_row_once_with_its_own_label_and_teacher(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", 23)
    rows = load_rows(tmp_path / "train.parquet", np.arange(23, dtype=np.float32)[:, None])
    batches = list(rows.shuffled(5, seed=1, epoch=1))
    assert [len(batch.label_B) for batch in batches] == [5, 5, 5, 5, 3]
    seen = torch.cat([batch.slots_BS[:, 0] for batch in batches])
    row = (seen - 2**40) // 3
    assert sorted(row.tolist()) == list(range(23))
    assert row.tolist() != list(range(23))
    torch.testing.assert_close(torch.cat([batch.label_B for batch in batches]), (row % 3 == 0).float())
    torch.testing.assert_close(torch.cat([batch.llm_BL for batch in batches if batch.llm_BL is not None])[:, 0], row.float())


def test_order_follows_seed_and_epoch(tmp_path: Path) -> None:
    write(tmp_path / "train.parquet", 50)
    rows = load_rows(tmp_path / "train.parquet")

    def order(seed: int, epoch: int) -> list[int]:
        return torch.cat([batch.slots_BS[:, 0] for batch in rows.shuffled(8, seed, epoch)]).tolist()

    assert order(1, 1) == order(1, 1)
    assert order(1, 1) != order(1, 2)
    assert order(1, 1) != order(2, 1)


def test_batches_in_order_are_views(tmp_path: Path) -> None:
    write(tmp_path / "test.parquet", 11)
    rows = load_rows(tmp_path / "test.parquet")
    batches = list(rows.in_order(4))
    torch.testing.assert_close(torch.cat([batch.slots_BS for batch in batches]), rows.slots_NS)
    assert batches[0].slots_BS.data_ptr() == rows.slots_NS.data_ptr()


def test_what_cannot_be_matched_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "train.parquet"
    write(path, 6)
    with pytest.raises(ValueError, match="6 rows, but there are 5 representations"):
        load_rows(path, np.zeros((5, 2), np.float32))
    write(path, 4, row_id=np.array([0, 2, 1, 3]))
    with pytest.raises(ValueError, match="not sorted by row_id"):
        load_rows(path)
    write(path, 0)
    with pytest.raises(InputError, match="no rows"):
        load_rows(path)
    with pytest.raises(InputError, match="no such file"):
        load_rows(tmp_path / "absent.parquet")
