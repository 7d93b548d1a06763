"""A bundle: the folder that serves. It is immutable, and opened only if each of its files is the one that was published.

model.onnx            `slots` int64 [N, S] -> `score` float32 [N], the probability of a click; the student that reads text
                      vectors takes `vectors` float32 [N, 2, V] too: the user's, then the item's, zeros where unknown; a gain
                      network takes `llm` float32 [N, L]. Of a split network it is the request's half: `requests` int64
                      [1 or N, R] and `states` float32 [N, K] (`vectors` [1 or N, V], the users') -> `score`
item.onnx             of a split network the item's half: `items` int64 [N, I] (`vectors` [N, V], the items') -> `states`
vocabulary/           the field encoder's state
semantic_ids.arrow    each item's semantic ids, for the student that reads them (.parquet up to schema version 2)
golden.json           records of the test rows, and the scores they had in training
manifest.json         what it is, and the SHA-256 of every other file
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from elec import storage
from elec.errors import InputError
from elec.serving.manifest import MANIFEST, Manifest, parse_manifest, read_manifest
from elec.spec import cache_folder as user_cache

MODEL = "model.onnx"
ITEM_MODEL = "item.onnx"
VOCABULARY = "vocabulary"
GOLDEN = "golden.json"
SEMANTIC_IDS = "semantic_ids.arrow"

_OLD_SEMANTIC_IDS = "semantic_ids.parquet"


@dataclass(frozen=True)
class Bundle:
    """An opened bundle, every hash of which was right when it was opened.

    Attributes:
        uri: Where it came from.
        folder: Where it is on this machine.
        manifest: What it is.
    """

    uri: str
    folder: Path
    manifest: Manifest

    @property
    def model(self) -> Path:
        """The network."""
        return self.folder / MODEL

    @property
    def vocabulary(self) -> Path:
        """The field encoder's state."""
        return self.folder / VOCABULARY

    @property
    def semantic_ids(self) -> Path:
        """Each item's semantic ids; there for the student that reads them."""
        return self.folder / _semantic_ids(self.manifest)

    @property
    def golden(self) -> Path:
        """Records and the scores they had in training."""
        return self.folder / GOLDEN


def open_bundle(uri: str | Path, cache: Path | None = None) -> Bundle:
    """Opens a bundle after checking it.

    Args:
        uri: Its folder, local or `s3://`.
        cache: Where a bundle from S3 is kept; the user's cache folder when left out. A copy that is there is used if
            its hashes are right.

    Raises:
        InputError: If there is none, a file is missing, unexpected, changed, a link or outside of the bundle, or the
            schema version is another one.
    """
    if storage.is_s3(uri):
        return _from_s3(str(uri).rstrip("/"), cache or user_cache() / "bundles")
    folder = storage.local_path(uri)
    return Bundle(str(uri), folder, verify(folder))


def verify(folder: Path, origin: str = "") -> Manifest:
    """Checks a bundle's folder against its manifest.

    Args:
        folder: The folder.
        origin: What to call it in messages, if it is a copy.

    Raises:
        InputError: At the first difference, with the file and the reason.
    """
    manifest = read_manifest(folder)
    where = origin or str(folder)
    _check_names(set(_files(folder)), manifest, where)
    found = _hashes_of(folder, manifest.files)
    for name, expected in manifest.files.items():
        if found[name] != expected:
            raise InputError(f"{where}/{name}: not the file that was published (its SHA-256 differs); publish the bundle anew")
    return manifest


def hashes(folder: Path) -> dict[str, str]:
    """The SHA-256 of each file of a folder but the manifest, by name relative to it, sorted."""
    return _hashes_of(folder, sorted(name for name in _files(folder) if name != MANIFEST))


def sha256(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hashes_of(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """The SHA-256 of some files of a folder, as many at a time as there are cores: a server starts by hashing its bundle."""
    sizes = {name: (folder / name).stat().st_size for name in names}
    largest_first = sorted(sizes, key=lambda name: -sizes[name])
    with ThreadPoolExecutor(len(os.sched_getaffinity(0)), thread_name_prefix="sha256") as pool:
        found = dict(zip(largest_first, pool.map(lambda name: sha256(folder / name), largest_first), strict=True))
    return {name: found[name] for name in sizes}


def _semantic_ids(manifest: Manifest) -> str:
    """The name of the bundle's table of semantic ids."""
    return _OLD_SEMANTIC_IDS if _OLD_SEMANTIC_IDS in manifest.files else SEMANTIC_IDS


def _files(folder: Path) -> list[str]:
    """The plain files of a folder; links and devices have no place in a bundle."""
    found = []
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            if path.is_symlink():
                raise InputError(f"{path}: a symbolic link, which a bundle may not hold; publish the bundle anew")
        for name in files:
            path = Path(parent, name)
            if not path.is_file():
                raise InputError(f"{path}: not a plain file, which a bundle may not hold; publish the bundle anew")
            found.append(path.relative_to(folder).as_posix())
    return found


def _check_names(present: set[str], manifest: Manifest, where: str) -> None:
    expected: Mapping[str, str] = manifest.files
    own = [_semantic_ids(manifest)] if manifest.semantic_ids else []
    own += [ITEM_MODEL] if manifest.split else []
    for name in (MODEL, GOLDEN, *own, *expected):
        if name not in present or name not in expected:
            raise InputError(f"{where}: the bundle's file '{name}' is missing; publish the bundle anew")
    for name in sorted(present - set(expected) - {MANIFEST}):
        raise InputError(f"{where}: '{name}' is not in the bundle's manifest; remove the file, or publish the bundle anew")


def _from_s3(uri: str, cache: Path) -> Bundle:
    try:
        content = storage.read_bytes(storage.join(uri, MANIFEST))
    except FileNotFoundError:
        raise InputError(f"{uri}: no bundle, for it has no {MANIFEST}; give the URI of a published bundle") from None
    manifest = parse_manifest(content, origin=storage.join(uri, MANIFEST))
    _check_names(set(storage.list_files(uri)), manifest, uri)
    # The digest, not the id: bundles of equal files may differ in what their manifests tell.
    target = cache / f"{manifest.bundle_id}-{manifest.digest[:12]}"
    if target.is_dir():
        try:
            return Bundle(uri, target, verify(target))
        except InputError:
            # A copy that was cut short or changed is no bundle: it is fetched anew.
            shutil.rmtree(target)
    cache.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".tmp", dir=cache))
    try:
        storage.fetch_folder(uri, temporary)
        manifest = verify(temporary, uri)
        try:
            temporary.rename(target)
        except OSError:
            # Another process has fetched the same bundle meanwhile; its copy is checked like any other.
            if not target.is_dir():
                raise
            manifest = verify(target)
        return Bundle(uri, target, manifest)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
