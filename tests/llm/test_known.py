"""Models in packages: the parts of a zip file become one folder, checked, whole or absent."""

import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from elec.errors import InputError
from elec.llm.known import KNOWN, Packaged, known_folder

WEIGHTS = bytes(range(256)) * 40


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Installs packages with the parts of a zip file, and makes them known as `made`."""

    def make(*, parts: int = 3, weights: bytes = WEIGHTS, broken: bool = False) -> Path:
        site = tmp_path / "site"
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("made/model.safetensors", weights)
            archive.writestr("made/config.json", "{}")
            archive.writestr("made/code.py", "raise SystemExit")
            archive.writestr("made/../../climbed.json", "{}")
            archive.writestr("other.json", "{}")
        content = buffer.getvalue()[: -30 if broken else None]
        each = -(-len(content) // parts)
        for part in range(parts):
            folder, info = site / f"part_{part}", site / f"made_part_{part}-1.dist-info"
            folder.mkdir(parents=True, exist_ok=True)
            info.mkdir(exist_ok=True)
            (folder / f"made.zip.{part + 1:03d}").write_bytes(content[part * each : (part + 1) * each])
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: made-part-{part}\nVersion: 1\n")
            (info / "RECORD").write_text(f"part_{part}/made.zip.{part + 1:03d},,\n")
        monkeypatch.syspath_prepend(str(site))
        monkeypatch.setenv("ELEC_CACHE", str(tmp_path / "cache"))
        packages = tuple(f"made-part-{part}==1" for part in range(parts))
        sha256 = hashlib.sha256(WEIGHTS).hexdigest()
        monkeypatch.setitem(KNOWN, "made", Packaged(packages, "made/model.safetensors", sha256))
        return site

    return make


def test_parts_become_one_folder_with_the_models_files_only(install: Callable[..., Path], tmp_path: Path) -> None:
    site = install()
    folder = known_folder("made")
    assert (folder / "model.safetensors").read_bytes() == WEIGHTS
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "config.json"}
    assert not list(tmp_path.rglob("climbed.json"))
    assert {path.name for path in folder.parent.iterdir()} == {folder.name}
    # Unpacked once: the parts are not read again.
    (site / "part_1" / "made.zip.002").write_bytes(b"")
    assert known_folder("made") == folder


def test_changed_weights_are_refused_and_leave_nothing(install: Callable[..., Path], tmp_path: Path) -> None:
    install(weights=b"other" + WEIGHTS)
    with pytest.raises(InputError, match="these are not the weights of made"):
        known_folder("made")
    assert not list((tmp_path / "cache").rglob("model.safetensors"))


def test_a_changed_copy_in_the_cache_is_refused(install: Callable[..., Path]) -> None:
    install()
    folder = known_folder("made")
    (folder / "model.safetensors").write_bytes(b"tampered")
    with pytest.raises(InputError, match=f"delete {folder}"):
        known_folder("made")


def test_parts_that_make_no_zip_file(install: Callable[..., Path]) -> None:
    install(broken=True)
    with pytest.raises(InputError, match="do not make a zip file"):
        known_folder("made")


def test_a_lost_part_is_named(install: Callable[..., Path]) -> None:
    site = install()
    (site / "part_1" / "made.zip.002").unlink()
    with pytest.raises(InputError, match=r"made-part-1==1 lacks \*\.zip\.002"):
        known_folder("made")
