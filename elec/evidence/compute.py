"""Computes a cell: reads the sample's rows, trains, and measures; the test rows are read for final cells only."""

import hashlib
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from elec.evaluation.slices import counts_of
from elec.evidence.cell import Cell, Cells, Result, Scores
from elec.evidence.experiment import Experiment
from elec.evidence.measures import Known, Measures, measure
from elec.evidence.prepared import Sample
from elec.evidence.teacher import Teacher
from elec.evidence.training import Trained, train_cell
from elec.spec import Kind
from elec.version import code_version


def compute_cell(experiment: Experiment, cell: Cell, folder: Path) -> str:
    """Computes a cell and keeps it, unless it is there.

    Args:
        experiment: Whose.
        cell: What to train.
        folder: Of the cells.

    Returns:
        The cell's key.
    """
    cells = Cells(folder)
    if cells.read(cell) is not None:
        return cell.key
    started, used = time.monotonic(), time.process_time()
    sample = Sample(experiment, cell.run.seed, cell.sample)
    splits = ("valid", "test") if cell.test else ("valid",)
    trained = _mllm(sample, cell, splits) if cell.training == "mllm" else train_cell(sample, cell, splits)
    found: dict[str, dict[str, Measures]] = {"valid": {}, "test": {}}
    scores = None
    for split in splits:
        rows = EvaluationRows.read(sample, split)
        fields = rows.fields if split == "test" else {}
        known = rows.known if split == "test" else None
        for network, probability in trained.scores[split].items():
            found[split][network] = measure(rows.label, probability, rows.user_index, fields=fields, known=known)
        if split == "test":
            scores = Scores(label=rows.label, user=rows.user, networks=trained.scores[split])
    result = Result(
        cell=cell,
        best_epochs=trained.best_epochs,
        epochs=trained.epochs,
        valid=found["valid"],
        test=found["test"],
        rows=trained.rows,
        seconds=round(time.monotonic() - started, 2),
        cpu_seconds=round(time.process_time() - used, 2),
        code_version=code_version(),
        threads=torch.get_num_threads(),
    )
    cells.write(result, scores)
    return cell.key


class EvaluationRows:
    """What the measures of a split need beside the predictions.

    Args:
        label: int8 [N].
        user_index: int64 [N], dense inside the sample.
        user: int64 [N], the same number for the same user in every sample.
        fields: By field to measure calibration by, int64 [N].
        known: What training knew of the rows' users and items.
    """

    def __init__(
        self,
        label: npt.NDArray[np.int8],
        user_index: npt.NDArray[np.int64],
        user: npt.NDArray[np.int64],
        fields: dict[str, npt.NDArray[np.int64]],
        known: Known,
    ) -> None:
        self.label, self.user_index, self.user, self.fields, self.known = label, user_index, user, fields, known

    @classmethod
    def read(cls, sample: Sample, split: str) -> "EvaluationRows":
        """Reads a split of a sample.

        Args:
            sample: Prepared.
            split: `valid` or `test`.
        """
        dataset = sample.spec.dataset
        fields = [
            field.name for field in dataset.tabular_fields if field.kind is Kind.CATEGORICAL and field.name != dataset.user
        ]
        frame = pq.read_table(
            sample.features / "frame" / f"{split}.parquet", columns=list(dict.fromkeys(["label", dataset.user, *fields]))
        )
        train = pq.read_table(sample.features / "frame" / "train.parquet", columns=["label", dataset.user, dataset.item])
        codes = {name: _codes(frame[name], train[name] if name in train.column_names else None) for name in frame.column_names}
        users, train_users = codes[dataset.user]
        items, train_items = codes[dataset.item]
        clicked = train["label"].to_numpy() == 1
        encoded = pq.read_table(sample.features / "encoded" / f"{split}.parquet", columns=["user_index"])
        names = pc.unique(frame[dataset.user]).to_pylist()
        numbers = np.array([_number(str(name)) for name in names], np.int64)
        place = pc.index_in(frame[dataset.user], value_set=pc.unique(frame[dataset.user])).to_numpy()
        return cls(
            label=frame["label"].to_numpy().astype(np.int8),
            user_index=encoded["user_index"].to_numpy(),
            user=numbers[place],
            fields={name: codes[name][0] for name in fields},
            known=Known(
                user_rows_N=counts_of(users, train_users),
                item_rows_N=counts_of(items, train_items),
                user_clicks_N=counts_of(users, train_users[clicked]),
            ),
        )


def _codes(values: "object", others: "object | None") -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Numbers for the values of two columns, equal for equal values; a missing value is -1."""
    known = pc.unique(values)
    first = pc.fill_null(pc.index_in(values, value_set=known, skip_nulls=True), -1).to_numpy().astype(np.int64)
    if others is None:
        return first, np.empty(0, np.int64)
    # What only training has cannot match a row of this split.
    second = pc.fill_null(pc.index_in(others, value_set=known, skip_nulls=True), -2).to_numpy().astype(np.int64)
    return first, second


def _number(user: str) -> int:
    return int.from_bytes(hashlib.sha256(user.encode()).digest()[:8], "big", signed=True)


def _mllm(sample: Sample, cell: Cell, splits: tuple[str, ...]) -> Trained:
    teacher = Teacher(sample, cell.run, cell.teacher)
    teacher.make()
    epochs, best = teacher.epochs()
    return Trained(
        scores={split: {"mllm": teacher.scores(split)} for split in splits},
        best_epochs={"mllm": best},
        epochs={"mllm": epochs},
        rows={},
    )
