"""Snapshots: whole or not there, found by what decides a training, and a training that is killed ends as if it were not."""

import json
import multiprocessing
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from elec.training.snapshot import SnapshotFolder, training_key
from elec.training.state import Snapshot
from tests.training.prepared import prepare, train

WEIGHTS = ("vanilla.safetensors", "gain.safetensors", "plain.safetensors")


def snapshot(number: int) -> Snapshot:
    tensors = {"network.a.weight": torch.full((3, 2), float(number)), "steps_done": torch.tensor(number)}
    return Snapshot(tensors, {"epoch": number, "best": float("inf"), "curve": [0.1 + 0.2]})


def test_what_is_saved_is_loaded_exactly(tmp_path: Path) -> None:
    folder = SnapshotFolder(str(tmp_path / "pair"))
    assert folder.load() is None
    whole = torch.arange(10.0)
    tensors = {
        "view": whole[2:5],
        "other_view": whole[5:],
        "half": torch.ones(2, dtype=torch.bfloat16),
        "none": torch.empty(0, 4),
    }
    folder.save(Snapshot(tensors, snapshot(1).values))
    found = folder.load()
    assert found is not None
    assert found.values == snapshot(1).values
    for name, tensor in tensors.items():
        assert found.tensors[name].dtype == tensor.dtype
        assert torch.equal(found.tensors[name], tensor)


def test_the_newest_counts_and_the_files_do_not_pile_up(tmp_path: Path) -> None:
    for number in range(1, 5):
        SnapshotFolder(str(tmp_path / "pair")).save(snapshot(number))
    found = SnapshotFolder(str(tmp_path / "pair")).load()
    assert found is not None
    assert found.values["epoch"] == found.tensors["steps_done"] == 4
    assert sorted(path.name for path in (tmp_path / "pair").iterdir()) == ["a.safetensors", "b.safetensors", "snapshot.json"]


def test_killed_between_tensors_and_state_the_older_one_counts(tmp_path: Path) -> None:
    folder = SnapshotFolder(str(tmp_path))
    folder.save(snapshot(1))
    before = (tmp_path / "snapshot.json").read_bytes()
    folder.save(snapshot(2))
    (tmp_path / "snapshot.json").write_bytes(before)
    found = folder.load()
    assert found is not None
    assert found.tensors["steps_done"] == 1


@pytest.mark.parametrize("name", ["a.safetensors", "snapshot.json"])
@pytest.mark.parametrize("tear", [lambda content: content[:-5], lambda content: b"", lambda content: content[:-1] + b"!"])
def test_a_torn_one_is_ignored(tmp_path: Path, name: str, tear: Callable[[bytes], bytes]) -> None:
    folder = SnapshotFolder(str(tmp_path))
    folder.save(snapshot(1))
    (tmp_path / name).write_bytes(tear((tmp_path / name).read_bytes()))
    assert folder.load() is None
    folder.save(snapshot(2))
    found = folder.load()
    assert found is not None
    assert found.values["epoch"] == 2


def test_the_key_follows_what_decides_the_training_and_not_the_place(tmp_path: Path) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "train.parquet").write_bytes(b"rows")
    shutil.copytree(tmp_path / "here", tmp_path / "there")
    key = training_key({"seed": 1, "epochs": 2}, [tmp_path / "here" / "train.parquet"])
    assert training_key({"epochs": 2, "seed": 1}, [tmp_path / "there" / "train.parquet"]) == key
    assert training_key({"epochs": 2, "seed": 2}, [tmp_path / "there" / "train.parquet"]) != key
    (tmp_path / "there" / "train.parquet").write_bytes(b"sowr")
    assert training_key({"epochs": 2, "seed": 1}, [tmp_path / "there" / "train.parquet"]) != key


@pytest.fixture(scope="module")
def start() -> Callable[..., multiprocessing.process.BaseProcess]:
    """Starts a training in a process of its own; they share the time that importing torch takes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch._dynamo", "elec.steps.training", "elec.training", "elec.llm.representations"])

    def started(folder: Path, model: Path) -> multiprocessing.process.BaseProcess:
        process = context.Process(target=train, args=(folder, model))
        process.start()
        return process

    return started


def kill_when(process: multiprocessing.process.BaseProcess, folder: Path, training: str, epoch: int, step: int) -> None:
    """Kills the process (SIGKILL) as soon as a training of it has come this far."""
    deadline = time.monotonic() + 60
    while True:
        assert time.monotonic() < deadline
        assert process.is_alive(), "it ended before it could be killed"
        time.sleep(0.005)
        for path in (folder / "workspace" / "snapshots").glob(f"*/vanilla/{training}/snapshot.json"):
            values = json.loads(path.read_text())["values"]
            if (values["epoch"], values["step"]) >= (epoch, step):
                process.kill()
                process.join()
                assert process.exitcode == -9
                return


def test_killed_in_the_middle_of_an_epoch_and_started_again(
    tmp_path: Path, start: Callable[..., multiprocessing.process.BaseProcess]
) -> None:
    prepare(tmp_path, run={"training": {"checkpoint_seconds": 1}})
    (tmp_path / "whole").mkdir()
    whole = start(tmp_path, tmp_path / "whole" / "model")
    whole.join()
    assert whole.exitcode == 0
    assert not list((tmp_path / "workspace" / "snapshots").iterdir()), "a finished training leaves no snapshot"

    (tmp_path / "killed").mkdir()
    model = tmp_path / "killed" / "model"
    # Once while the pair trains, once while the plain network does.
    kill_when(start(tmp_path, model), tmp_path, "vanilla-gain", epoch=2, step=4)
    kill_when(start(tmp_path, model), tmp_path, "plain", epoch=1, step=7)
    assert not model.exists()
    again = start(tmp_path, model)
    again.join()
    assert again.exitcode == 0

    for name in (*WEIGHTS, "curves.json", "predictions/valid.parquet", "predictions/test.parquet"):
        assert (model / name).read_bytes() == (tmp_path / "whole" / "model" / name).read_bytes(), name
    steps = json.loads((tmp_path / "killed" / "steps.json").read_text())
    # 2 trainings x 3 epochs x 16 batches in one go; the last process took only what the plain network still had to do.
    assert json.loads((tmp_path / "whole" / "steps.json").read_text()) == 96
    assert steps <= 48 - 7
    assert not list((tmp_path / "workspace" / "snapshots").iterdir())


def test_a_changed_setting_starts_from_the_beginning(
    tmp_path: Path, start: Callable[..., multiprocessing.process.BaseProcess]
) -> None:
    prepare(tmp_path, run={"training": {"checkpoint_seconds": 1}})
    kill_when(start(tmp_path, tmp_path / "model"), tmp_path, "vanilla-gain", epoch=1, step=4)
    job = json.loads((tmp_path / "job.json").read_text())
    job["spec"]["run"]["distill"]["learning_rate"] = 0.01
    (tmp_path / "job.json").write_text(json.dumps(job))
    other = start(tmp_path, tmp_path / "model")
    other.join()
    assert other.exitcode == 0
    assert json.loads((tmp_path / "steps.json").read_text()) == 96
    # The killed one may still come back: its own snapshot stays.
    assert len(list((tmp_path / "workspace" / "snapshots").iterdir())) == 1
