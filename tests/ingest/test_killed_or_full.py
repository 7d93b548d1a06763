"""The output folder is complete or not there: after a kill at any moment, and on a disk that is full."""

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from elec.errors import RunFailedError
from elec.ingest import Ingested, ingest
from tests.ingest.made import AS_OF, NOW, csv_text, made_rows, made_spec, write_csv

_SCRIPT = """
import sys
from pathlib import Path
from tests.ingest.made import AS_OF, NOW, made_spec
from elec.ingest import ingest
print("go", flush=True)
ingest(made_spec(sys.argv[1]), Path(sys.argv[2]), as_of=AS_OF, now=NOW)
print("done", flush=True)
"""


def test_kill_at_any_moment(tmp_path: Path) -> None:
    header, *lines = csv_text(made_rows(4000)).splitlines()
    path = tmp_path / "log.csv"
    path.write_text("\n".join([header, *lines * 10]))
    out = tmp_path / "out"
    root = Path(__file__).parents[2]
    for wait in (0.0, 0.15, 0.3, 0.45, 0.6):
        child = subprocess.Popen(
            [sys.executable, "-c", _SCRIPT, str(path), str(out)], cwd=root, stdout=subprocess.PIPE, text=True
        )
        assert child.stdout is not None
        assert child.stdout.readline() == "go\n"
        time.sleep(wait)
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        if out.exists():
            assert Ingested(out).report().rows_read == 40_000
            return
    assert ingest(made_spec(path), out, as_of=AS_OF, now=NOW).rows_read == 40_000


def test_an_error_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_csv(tmp_path / "log.csv", made_rows(60))

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("elec.ingest.writing.RowWriter._flush", full)
    with pytest.raises(RunFailedError, match=r"out: the disk is full; nothing was left there"):
        ingest(made_spec(path), tmp_path / "out", as_of=AS_OF, now=NOW)
    assert [found.name for found in tmp_path.iterdir()] == ["log.csv"]


def test_other_trouble_with_the_disk_is_not_called_full(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write_csv(tmp_path / "log.csv", made_rows(60))

    def broken(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr("elec.ingest.writing.RowWriter._flush", broken)
    with pytest.raises(OSError, match="Input/output"):
        ingest(made_spec(path), tmp_path / "out", as_of=AS_OF, now=NOW)
    assert not (tmp_path / "out").exists()


def test_a_disk_that_is_really_full(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = (
        os.geteuid() == 0
        and subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=200k", "none", str(disk)], capture_output=True, check=False
        ).returncode
        == 0
    )
    if not mounted:
        pytest.skip("a small file system cannot be mounted here")
    try:
        path = write_csv(tmp_path / "log.csv", made_rows(20_000, title=lambda position, row: os.urandom(16).hex()))
        with pytest.raises(RunFailedError, match="the disk is full"):
            ingest(made_spec(path), disk / "out", as_of=AS_OF, now=NOW)
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)
