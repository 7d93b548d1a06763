"""Storage on disk: whole files, whole folders, nothing outside."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from elec import storage
from elec.errors import InputError


def test_addresses(tmp_path: Path) -> None:
    assert storage.local_path("a/b") == Path("a/b")
    assert storage.local_path("file:///a%20b/c") == Path("/a b/c")
    assert storage.local_path("file://localhost/a") == Path("/a")
    for address in ("gs://bucket/a", "https://host/a", "file://host/a"):
        with pytest.raises(InputError, match=r"not supported; use a path, file:///\.\.\. or s3://"):
            storage.local_path(address)
    assert storage.join("s3://bucket/a/", "b", "c.json") == "s3://bucket/a/b/c.json"
    assert storage.join(tmp_path, "b") == str(tmp_path / "b")
    assert storage.join("file:///a", "b") == "file:///a/b"
    for part in ("../b", "a/../../b", "/etc/passwd", ".."):
        with pytest.raises(InputError, match="leads out of"):
            storage.join("s3://bucket/a", part)
    assert storage.is_s3("s3://bucket")
    assert not storage.is_s3(tmp_path)


def test_write_read_list(tmp_path: Path) -> None:
    uri = storage.join(tmp_path, "deep", "er", "a.json")
    assert not storage.exists(uri)
    storage.write_bytes(uri, b"one")
    storage.write_bytes(f"file://{uri}", b"two")
    assert storage.read_bytes(uri) == b"two"
    assert storage.exists(tmp_path / "deep")
    (tmp_path / "deep" / ".half.tmp").write_bytes(b"")
    assert storage.list_files(tmp_path) == ["deep/er/a.json"]
    assert storage.list_files(tmp_path / "nothing") == []
    with pytest.raises(FileNotFoundError):
        storage.read_bytes(tmp_path / "nothing")


def test_a_failed_write_keeps_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage.write_bytes(tmp_path / "a", b"old")

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        storage.write_bytes(tmp_path / "a", b"new")
    assert [found.name for found in tmp_path.iterdir()] == ["a"]
    assert (tmp_path / "a").read_bytes() == b"old"


def test_readers_never_see_a_part(tmp_path: Path) -> None:
    path, seen, stop = tmp_path / "a", set(), threading.Event()
    storage.write_bytes(path, b"x" * 100_000)

    def read() -> None:
        while not stop.is_set():
            seen.add(path.read_bytes())

    reader = threading.Thread(target=read)
    reader.start()
    for letter in b"yzyzyzyzyz":
        storage.write_bytes(path, bytes([letter]) * 100_000)
    stop.set()
    reader.join()
    assert all(len(content) == 100_000 and len(set(content)) == 1 for content in seen)


def _folder(path: Path) -> Path:
    (path / "sub").mkdir(parents=True)
    (path / "manifest.json").write_text("{}")
    (path / "sub" / "a.bin").write_bytes(b"a")
    return path


def test_publish_once(tmp_path: Path) -> None:
    source, target = _folder(tmp_path / "made"), tmp_path / "registry" / "b1"
    storage.publish_folder(source, target, last="manifest.json")
    assert storage.list_files(target) == ["manifest.json", "sub/a.bin"]
    (source / "manifest.json").write_text("{other}")
    with pytest.raises(FileExistsError):
        storage.publish_folder(source, target, last="manifest.json")
    assert (target / "manifest.json").read_text() == "{}"
    assert [found.name for found in target.parent.iterdir()] == ["b1"]
    assert storage.fetch_folder(target, tmp_path / "copy") == target
    with pytest.raises(FileNotFoundError):
        storage.publish_folder(source, tmp_path / "registry" / "b2", last="no.json")
    assert [found.name for found in target.parent.iterdir()] == ["b1"]


def test_of_two_publishers_one_wins(tmp_path: Path) -> None:
    source, target = _folder(tmp_path / "made"), tmp_path / "registry" / "b1"
    outcomes: list[str] = []
    barrier = threading.Barrier(4)

    def publish() -> None:
        barrier.wait()
        try:
            storage.publish_folder(source, target, last="manifest.json")
            outcomes.append("won")
        except FileExistsError:
            outcomes.append("lost")

    threads = [threading.Thread(target=publish) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(outcomes) == ["lost", "lost", "lost", "won"]
    assert [found.name for found in target.parent.iterdir()] == ["b1"]


def test_a_killed_publisher_leaves_nothing_in_its_place(tmp_path: Path) -> None:
    source, target = _folder(tmp_path / "made"), tmp_path / "registry" / "b1"
    script = (
        "import os, shutil, sys; from pathlib import Path; from elec import storage\n"
        "shutil.copytree = lambda *a, **k: (open(Path(a[1], 'half'), 'w').close(), os.kill(os.getpid(), 9))\n"
        "storage.publish_folder(Path(sys.argv[1]), sys.argv[2], last='manifest.json')"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(source), str(target)], check=False)
    assert ended.returncode == -9
    assert not target.exists()
    storage.publish_folder(source, target, last="manifest.json")
    assert storage.list_files(target) == ["manifest.json", "sub/a.bin"]


def test_a_whole_folder_or_none(tmp_path: Path) -> None:
    with storage.whole_folder(tmp_path / "a" / "b") as folder:
        (folder / "x").write_text("1")
        assert not (tmp_path / "a" / "b").exists()
    assert (tmp_path / "a" / "b" / "x").read_text() == "1"
    with pytest.raises(RuntimeError, match="half way"), storage.whole_folder(tmp_path / "a" / "c"):
        raise RuntimeError("half way")
    with pytest.raises(FileExistsError), storage.whole_folder(tmp_path / "a" / "b"):
        pass
    assert [found.name for found in (tmp_path / "a").iterdir()] == ["b"]


def test_a_large_file_is_whole_or_not_there(tmp_path: Path) -> None:
    uri = storage.join(tmp_path, "new", "weights")
    with storage.whole_file(uri) as path:
        path.write_bytes(b"one")
        assert not storage.exists(uri)
    assert storage.read_bytes(uri) == b"one"
    with pytest.raises(ZeroDivisionError), storage.whole_file(uri) as path:
        path.write_text(str(1 / 0))
    assert storage.read_bytes(uri) == b"one"
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["weights"]
    storage.remove_folder(tmp_path / "new")
    storage.remove_folder(tmp_path / "new")
    assert not (tmp_path / "new").exists()
