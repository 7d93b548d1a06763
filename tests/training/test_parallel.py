"""Two processes that train together, joined by gloo on the loopback: the same gradients and the same model as one."""

import json
import multiprocessing
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file

from elec.errors import InputError
from elec.models import SiameseNetwork, SiameseOutput, gain_network, vanilla_network
from elec.models.embedding import Embedding
from elec.spec.learning import ModelSpec
from elec.training.losses import joint_loss
from elec.training.parallel import ProcessGroup, current, gathered, is_first, process_group
from tests.training.prepared import arguments, prepare

SPEC = ModelSpec(embedding=3, deep=(5, 4), dropout=0.0)


def loopback(rank: int, port: int) -> dict[str, str]:
    """The environment that torchrun gives a process."""
    return {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "GLOO_SOCKET_IFNAME": "lo",
        "CUDA_VISIBLE_DEVICES": "",
    }


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def together(tmp_path: Path) -> Callable[[Callable[[ProcessGroup], object]], list[object]]:
    """Runs a function in two processes that form a group; gives what each of them returned, as JSON has it."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["torch._dynamo", "elec.training"])

    def run(work: Callable[[ProcessGroup], object]) -> list[object]:
        port = free_port()
        processes = [context.Process(target=member, args=(work, rank, port, tmp_path)) for rank in range(2)]
        for process in processes:
            process.start()
        for process in processes:
            process.join(60)
        assert [process.exitcode for process in processes] == [0, 0]
        return [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]

    return run


def member(work: Callable[[ProcessGroup], object], rank: int, port: int, folder: Path) -> None:
    os.environ |= loopback(rank, port)
    torch.set_num_threads(1)
    with process_group() as group:
        assert group is not None
        assert (group.rank, group.world) == (rank, 2)
        assert is_first() == (rank == 0)
        (folder / f"{rank}.json").write_text(json.dumps(work(group)))
    assert current() is None


def gradients_of_parts(group: ProcessGroup) -> list[list[float]]:
    return [gradients(rows, group) for rows in (7, 2, 1)]


def gradients(rows: int, group: ProcessGroup | None) -> list[float]:
    """The joint loss of a batch, the sum of the dense gradients and the table's gradient, row by row."""
    fields = [type("Field", (), {"name": "f", "width": 1, "size": 9, "kind": "categorical"})()] * 2
    torch.manual_seed(1)
    siamese = SiameseNetwork(gain_network(fields, SPEC, 3), vanilla_network(fields, SPEC)).train()
    slots_BS, llm_BL, label_B = torch.randint(0, 9, (rows, 2)), torch.randn(rows, 3), torch.randint(0, 2, (rows,)).float()
    part = slice(rows * group.rank // 2, rows * (group.rank + 1) // 2) if group is not None else slice(rows)
    tables = [module for module in siamese.modules() if isinstance(module, Embedding)]
    for table in tables:
        table.captures = True
    output = SiameseOutput(*gathered(*siamese(slots_BS[part], llm_BL[part])))
    (label_B,) = gathered(label_B[part])
    loss = joint_loss(output, label_B, clid_reduction="sum", score_weight=1.0, alpha=0.1).total
    loss.backward()  # type: ignore[no-untyped-call]
    dense = [parameter.grad for parameter in siamese.parameters() if parameter.grad is not None]
    if group is not None:
        group.dense(dense)
    found = [float(loss), *(float(number) for gradient in dense for number in gradient.flatten())]
    for table in tables:
        (captured,) = table.captured
        assert captured.vectors_BSE.grad is not None
        rows_N, gradient_NE = captured.rows_BS.flatten(), captured.vectors_BSE.grad.flatten(end_dim=1)
        if group is not None:
            rows_N, gradient_NE = group.rows(rows_N, gradient_NE)
        found += torch.zeros(18, 3).index_add(0, rows_N, gradient_NE).flatten().tolist()
    return found


def test_loss_and_gradients_are_those_of_one_process(
    together: Callable[[Callable[[ProcessGroup], object]], list[object]],
) -> None:
    alone = [gradients(rows, None) for rows in (7, 2, 1)]
    for found in together(gradients_of_parts):
        assert isinstance(found, list)
        # A batch of one row leaves the first process none.
        for rows, numbers in zip((7, 2, 1), found, strict=True):
            np.testing.assert_allclose(numbers, alone[(7, 2, 1).index(rows)], rtol=1e-4, atol=1e-6)


def numbers_and_rows(group: ProcessGroup) -> list[object]:
    rows_N = torch.arange(3 * group.rank)
    found_N, gradient_NE = group.rows(rows_N, torch.full((len(rows_N), 2), float(group.rank)))
    return [group.first([0.1 + group.rank, 2.0]), found_N.tolist(), gradient_NE.tolist()]


def test_rows_come_in_the_order_of_the_ranks_and_numbers_from_the_first(
    together: Callable[[Callable[[ProcessGroup], object]], list[object]],
) -> None:
    assert together(numbers_and_rows) == [[[0.1, 2.0], [0, 1, 2], [[1.0, 1.0]] * 3]] * 2


def test_alone_nothing_is_gathered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    one, two = torch.ones(2), torch.ones(2, 3)
    with process_group() as group:
        assert group is None
        assert is_first()
        assert gathered(one, two)[1] is two


def test_more_processes_than_gpus_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name, value in loopback(0, 1).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(InputError, match="--nproc-per-node 2: this machine has 1 GPUs"), process_group():
        pass


def test_torchrun_trains_what_one_process_trains(tmp_path: Path) -> None:
    from elec.training.__main__ import main

    prepare(tmp_path, run={"model": {"dropout": 0.0}})
    started = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1"]
    environment = os.environ | {name: value for name, value in loopback(0, 0).items() if name.startswith(("GLOO", "CUDA"))}
    done = subprocess.run(
        [*started, "--master-port", str(free_port()), "-m", "elec.training", *arguments(tmp_path, tmp_path / "two")],
        env=environment | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert main(arguments(tmp_path, tmp_path / "one")) == 0
    names = sorted(path.relative_to(tmp_path / "one").as_posix() for path in (tmp_path / "one").rglob("*") if path.is_file())
    assert names == sorted(
        path.relative_to(tmp_path / "two").as_posix() for path in (tmp_path / "two").rglob("*") if path.is_file()
    )
    for network in ("vanilla", "gain", "plain"):
        one, two = (load_file(tmp_path / folder / f"{network}.safetensors") for folder in ("one", "two"))
        for name, weight in one.items():
            torch.testing.assert_close(two[name], weight, rtol=1e-3, atol=1e-4)
        curves = [json.loads((tmp_path / folder / "curves.json").read_text())[network] for folder in ("one", "two")]
        for alone, shared in zip(*curves, strict=True):
            assert shared == pytest.approx(alone, rel=1e-4)
    tables = [pq.read_table(tmp_path / folder / "predictions" / "test.parquet") for folder in ("one", "two")]
    np.testing.assert_allclose(tables[1]["vanilla"].to_numpy(), tables[0]["vanilla"].to_numpy(), atol=1e-4)


def test_an_error_is_one_sentence_and_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from elec.training.__main__ import main

    prepare(tmp_path)
    (tmp_path / "features" / "encoded" / "valid.parquet").unlink()
    report = tmp_path / "report.json"
    assert main([*arguments(tmp_path, tmp_path / "model"), f"--report={report}"]) == 2
    assert "valid.parquet" in capsys.readouterr().err
    error = json.loads(report.read_text())["error"]
    assert error["input"] is True
    assert "valid.parquet" in error["message"]
    assert not (tmp_path / "model").exists()
