"""A trained student's files: weights, description, curves and predictions."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from elec.training.checkpoint import ModelRecord, save_weights
from elec.training.data import RowSource
from elec.training.inputs import StudentInputs
from elec.training.learner import Learner, Point, predict
from elec.training.probe import Choice

#: Splits whose predictions are kept.
PREDICTED = ("valid", "test")
#: The networks of a student; the first is the one that serves.
NETWORKS = ("vanilla", "gain", "plain")


class Figures(BaseModel):
    """How the trainings of one student went, each by network.

    Attributes:
        best_epochs: The network's weights are of this epoch.
        epochs: How many were trained.
        valid_logloss: At the best epoch.
        valid_auc: At the best epoch.
        choice: How the dense half was computed, of each way that was tried how fast, and why.
    """

    model_config = ConfigDict(frozen=True)

    best_epochs: dict[str, int]
    epochs: dict[str, int]
    valid_logloss: dict[str, float]
    valid_auc: dict[str, float]
    choice: dict[str, Choice]


def figures_of(learners: Mapping[str, Learner]) -> Figures:
    """The figures of a student's networks.

    Args:
        learners: `vanilla`, `gain` and `plain`, trained.
    """
    at_best: dict[str, Point] = {name: learners[name].curve[learners[name].best_epoch - 1] for name in NETWORKS}
    return Figures(
        best_epochs={name: learners[name].best_epoch for name in NETWORKS},
        epochs={name: len(learners[name].curve) for name in NETWORKS},
        valid_logloss={name: point["valid_logloss"] for name, point in at_best.items()},
        valid_auc={name: point["valid_auc"] for name, point in at_best.items()},
        choice={name: found for name in NETWORKS if (found := learners[name].choice) is not None},
    )


def write_student(learners: Mapping[str, Learner], record: ModelRecord, inputs: StudentInputs, folder: Path) -> None:
    """Writes the networks of a student.

    Args:
        learners: `vanilla`, `gain` and `plain`, at their best epochs.
        record: `model.json`.
        inputs: Whose `valid` and `test` rows are predicted.
        folder: Made where it does not exist.
    """
    (folder / "predictions").mkdir(parents=True)
    for name in NETWORKS:
        save_weights(learners[name].network, folder / f"{name}.safetensors")
    (folder / "model.json").write_text(record.model_dump_json(indent=2), encoding="utf-8")
    curves = {name: learners[name].curve for name in NETWORKS}
    (folder / "curves.json").write_bytes(orjson.dumps(curves, option=orjson.OPT_INDENT_2))
    for split in PREDICTED:
        _write_predictions(learners, inputs.rows[split], folder / "predictions" / f"{split}.parquet")


def _write_predictions(learners: Mapping[str, Learner], rows: RowSource, path: Path) -> None:
    columns: dict[str, npt.NDArray[np.generic]] = {
        "row_id": rows.row_id_N,
        "label": rows.label_N.cpu().numpy().astype(np.int8),
        "user_index": rows.user_index_N,
    }
    for name in NETWORKS:
        columns[name] = predict(learners[name].network, learners[name].score, rows)
    pq.write_table(pa.table(columns), path)
