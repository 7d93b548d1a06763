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
from elec.serving.golden import TOLERANCE
from elec.spec.fields import CrossedField, FieldSpec
from elec.spec.run import FeastSpec

#: The file's name in every bundle.
MANIFEST = "manifest.json"

#: Of the layout of a bundle; a reader that does not know it refuses the bundle.
SCHEMA_VERSION = 4

#: What this code reads. Bundles of version 1 are those from before there was a choice of students: all of them are vanilla.
#: Those of version 2 are from before networks were split and quantised, those of version 3 from before fields were crossed.
_READABLE = (1, 2, 3, 4)

#: What the network that serves reads: the fields; also the item's semantic ids; also the text vectors of user and item.
Student = Literal["vanilla", "semantic_ids", "vectors"]

#: The one that serves, or its teacher, which reads the M-LLM's representation of every record too: for audits.
NetworkName = Literal["vanilla", "gain"]

PrecisionName = Literal["float32", "bfloat16", "int8"]

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
        feature_service: The version of the Feast feature service that training read, and that serving reads too.
        feature_views: The Feast views that are read to rank: of the fields, and of the vectors.
        code_version: Of the code that built it.
        created_at: When it was built.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_id: str
    as_of: datetime
    metrics: dict[str, JsonValue] = {}
    window: JsonValue = None
    llm: str = ""
    feature_service: str
    feature_views: tuple[str, ...] = ()
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


class Variant(BaseModel):
    """The network in one precision, on the validation rows.

    Attributes:
        logloss: Of its probabilities.
        pcoc: Predicted clicks over observed ones.
        p50_ms: Median of a request of 100 candidates, the items' part kept where the network is split.
        size: Of its file in bytes.
        refused: Why it was not taken; empty where only a faster one was.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    logloss: float | None = None
    pcoc: float | None = None
    p50_ms: float | None = None
    size: int | None = None
    refused: str = ""


class Precision(BaseModel):
    """What the network computes in.

    Attributes:
        chosen: The variant in the bundle.
        tolerance: Largest difference of a golden record's score between training and serving.
        variants: Figures of those that were tried; none where only float32 was asked for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    chosen: PrecisionName = "float32"
    tolerance: float = Field(default=TOLERANCE, gt=0, lt=1)
    variants: dict[PrecisionName, Variant] = {}


class Manifest(BundleMetadata):
    """`manifest.json`.

    Attributes:
        schema_version: Of the bundle's layout.
        bundle_id: Data set, `as_of` and the first digits of the hash over all files: the same content, the same id.
        dataset: The data set's name.
        network: Which of the networks this is.
        student: What the network reads.
        split: Whether the item's half of the network is a file of its own, so that it is computed once an item.
        precision: Of the network's numbers.
        inputs: What is given for a row: its slots, and more where the network reads more.
        user: The user's key field.
        item: The item's key field.
        fields: What a record has to have, in the order of the network's slots.
        crossed: The fields made of these, which follow in the slots.
        semantic_ids: The fields that follow in the slots after those; the bundle's own table has their values, by item.
        vectors: The Feast views of the text vectors that the network reads.
        feast: The online store that it is read from; a secret in it stays an environment variable.
        slots: S, the ids of a row.
        llm_size: L, the numbers of the M-LLM's representation of a row that a gain network reads; 0 for a vanilla network.
        opset: Of the ONNX file.
        cost: What a request costs; None where it was not measured.
        files: Each other file of the bundle, relative to it, and its SHA-256.
        digest: SHA-256 of this manifest without this line.
    """

    schema_version: Literal[1, 2, 3, 4] = 4
    bundle_id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}-\d{8}T\d{6}-[0-9a-f]{12}$")]
    dataset: str
    network: NetworkName = "vanilla"
    student: Student = "vanilla"
    split: bool = False
    precision: Precision = Precision()
    inputs: tuple[str, ...] = ("slots",)
    user: str
    item: str
    fields: tuple[FieldSpec, ...]
    crossed: tuple[CrossedField, ...] = ()
    semantic_ids: tuple[str, ...] = ()
    vectors: VectorViews | None = None
    feast: FeastSpec = FeastSpec()
    slots: int = Field(ge=1)
    llm_size: int = Field(default=0, ge=0)
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


def inputs_of(student: Student, network: NetworkName) -> tuple[str, ...]:
    """What a network is given for a row, in its order."""
    return ("slots", *(("llm",) if network == "gain" else ()), *(("vectors",) if student == "vectors" else ()))


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
            f"{origin}: its inputs, semantic ids and vectors are not those of the student '{manifest.student}' "
            f"and its {manifest.network} network; it is refused"
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
        and manifest.inputs == inputs_of(manifest.student, manifest.network)
        and (manifest.llm_size > 0) is (manifest.network == "gain")
        and not (manifest.split and manifest.network == "gain")
    )


def _digest(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(orjson.dumps(content, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _inside(name: str) -> bool:
    """Whether a name is that of a plain file below the bundle, and not the manifest itself."""
    parts = PurePosixPath(name).parts
    return bool(parts) and name != MANIFEST and "/".join(parts) == name and all(_NAME.fullmatch(part) for part in parts)
