"""The manifest: what a bundle is, what it was trained on, how good it is, and the hash of each of its files."""

import hashlib
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from elec.errors import InputError
from elec.features.vectors import VectorViews
from elec.spec.dataset import FieldSpec
from elec.spec.run import FeastSpec

#: The file's name in every bundle.
MANIFEST = "manifest.json"

#: Of the layout of a bundle; a reader that does not know it refuses the bundle.
SCHEMA_VERSION = 2

#: What this code reads. Bundles of version 1 are those from before there was a choice of students: all of them are vanilla.
_READABLE = (1, 2)

#: What the network that serves reads: the fields; also the item's semantic ids; also the text vectors of user and item.
Student = Literal["vanilla", "semantic_ids", "vectors"]

_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*")

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class BundleMetadata(BaseModel):
    """What only the run knows about its bundle.

    Attributes:
        run_id: The run that trained it.
        as_of: The moment that run stood at (UTC).
        metrics: Of the network in the bundle, on the test rows.
        window: Of the training data.
        llm: The language model that taught it.
        code_version: Of the code that built it.
        created_at: When it was built.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    as_of: datetime
    metrics: dict[str, JsonValue] = {}
    window: JsonValue = None
    llm: str = ""
    code_version: str
    created_at: datetime = Field(default_factory=lambda: datetime.now(UTC))


class Cost(BaseModel):
    """What a request costs on the machine that built the bundle, one thread, in process; medians in milliseconds.

    Attributes:
        candidates: Of the request.
        score_ms: From raw records to scores, what has to be looked up being there.
        lookup_ms: Of the text vectors of the user and the candidates in Feast; None for a student without.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    candidates: int
    score_ms: float
    lookup_ms: float | None = None


class Manifest(BundleMetadata):
    """`manifest.json`.

    Attributes:
        schema_version: Of the bundle's layout.
        bundle_id: Data set, `as_of` and the first digits of the hash over all files: the same content, the same id.
        dataset: The data set's name.
        network: Which of the networks this is.
        student: What the network reads.
        inputs: Of `model.onnx`, in order.
        user: The user's key field.
        item: The item's key field.
        fields: What a record has to have, in the order of the network's slots.
        semantic_ids: The fields that follow in the slots; the bundle's own table has their values, by item.
        vectors: The Feast views of the text vectors that the network reads.
        feature_views: The Feast views that are read to rank: of the fields, and of the vectors.
        feature_service: The Feast feature service that holds the features of users and items.
        feast: The online store that it is read from; a secret in it stays an environment variable.
        slots: Width of the network's input.
        opset: Of the ONNX file.
        cost: What a request costs; None where it was not measured.
        files: Each other file of the bundle, relative to it, and its SHA-256.
        digest: SHA-256 of this manifest without this line.
    """

    schema_version: Literal[1, 2] = 2
    bundle_id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}-\d{8}T\d{6}-[0-9a-f]{12}$")]
    dataset: str
    network: Literal["vanilla"] = "vanilla"
    student: Student = "vanilla"
    inputs: tuple[str, ...] = ("slots",)
    user: str
    item: str
    fields: tuple[FieldSpec, ...]
    semantic_ids: tuple[str, ...] = ()
    vectors: VectorViews | None = None
    feature_views: tuple[str, ...] = ()
    feature_service: str
    feast: FeastSpec = FeastSpec()
    slots: int = Field(ge=1)
    opset: int = Field(ge=1)
    cost: Cost | None = None
    files: dict[str, Sha256]
    digest: Sha256 = "0" * 64

    @property
    def vector_size(self) -> int:
        """V, the numbers of a text vector; 0 for a student that reads none."""
        return self.vectors.size if self.vectors is not None else 0

    def to_bytes(self) -> bytes:
        """The file's content, with its digest."""
        content = self.model_dump(mode="json", exclude={"digest"})
        return orjson.dumps(content | {"digest": _digest(content)}, option=orjson.OPT_INDENT_2)


def bundle_id(dataset: str, as_of: datetime, files: Mapping[str, str]) -> str:
    """The id that a bundle's content gives it.

    Args:
        dataset: The data set's name.
        as_of: The moment the run stood at.
        files: Each file and its SHA-256.
    """
    listed = "".join(f"{digest}  {name}\n" for name, digest in sorted(files.items()))
    return f"{dataset}-{as_of.astimezone(UTC):%Y%m%dT%H%M%S}-{hashlib.sha256(listed.encode()).hexdigest()[:12]}"


def read_manifest(folder: Path) -> Manifest:
    """Reads the manifest of a bundle's folder, without looking at the other files.

    Raises:
        InputError: If there is none, or it is not one.
    """
    path = folder / MANIFEST
    if path.is_symlink():
        raise InputError(f"{path}: a symbolic link, which a bundle may not hold; publish the bundle anew")
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{folder}: no bundle, for it has no {MANIFEST}; give the folder of a published bundle") from None
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from None
    return parse_manifest(content, origin=str(path))


def parse_manifest(content: bytes, *, origin: str) -> Manifest:
    """Reads a manifest.

    Args:
        content: The file's bytes.
        origin: Its name, for messages.

    Raises:
        InputError: If it is damaged, of another schema version, or names files outside of its folder.
    """
    try:
        read: Any = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise InputError(f"{origin}: not JSON ({error}); the bundle is damaged, publish it anew") from None
    if not isinstance(read, dict):
        raise InputError(f"{origin}: not a manifest but a {type(read).__name__}; the bundle is damaged, publish it anew")
    version = read.get("schema_version")
    if version not in _READABLE:
        raise InputError(
            f"{origin}: schema_version is {version!r}, and this code reads {' and '.join(map(str, _READABLE))}; "
            "serve the bundle with the code that built it, or train it anew"
        )
    files = read.get("files")
    for name in files if isinstance(files, dict) else ():
        if not _inside(name):
            raise InputError(
                f"{origin}: the file '{name}' leads out of the bundle or has no proper name; the bundle is refused"
            )
    if read.pop("digest", None) != _digest(read):
        raise InputError(f"{origin}: was changed after it was written (its digest differs); publish the bundle anew")
    try:
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        problem = error.errors()[0]
        key = ".".join(str(part) for part in problem["loc"])
        raise InputError(f"{origin}: '{key}': {problem['msg']}; the bundle is refused") from None
    if not _of_its_student(manifest):
        raise InputError(
            f"{origin}: its inputs, semantic ids and vectors are not those of the student '{manifest.student}'; it is refused"
        )
    expected = bundle_id(manifest.dataset, manifest.as_of, manifest.files)
    if manifest.bundle_id != expected:
        raise InputError(f"{origin}: bundle_id is '{manifest.bundle_id}', and its files make it '{expected}'; it is refused")
    return manifest


def _of_its_student(manifest: Manifest) -> bool:
    reads_vectors = manifest.student == "vectors"
    return (
        bool(manifest.semantic_ids) is (manifest.student == "semantic_ids")
        and (manifest.vectors is not None) is reads_vectors
        and manifest.inputs == (("slots", "vectors") if reads_vectors else ("slots",))
    )


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _inside(name: str) -> bool:
    """Whether a name is that of a plain file below the bundle, and not the manifest itself."""
    parts = PurePosixPath(name).parts
    return bool(parts) and name != MANIFEST and "/".join(parts) == name and all(_NAME.fullmatch(part) for part in parts)
