"""`encoder.json`: the state of an encoder beside its vocabularies, and how it is read."""

from collections.abc import Sequence
from pathlib import Path
from typing import Self, TypeAlias

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from elec.errors import InputError
from elec.features.buckets import Buckets
from elec.features.crossed import CrossedVocabulary
from elec.features.hashed import HashBuckets
from elec.features.lookup import SUFFIX
from elec.features.vocabulary import Vocabulary
from elec.spec import CrossedField, Entity, FieldSpec, Kind

#: Of the saved state; raised whenever a reader of the old state would encode differently, or not at all.
SCHEMA_VERSION = 4
#: Before multi-valued fields were crossed; still written where none is.
_WITHOUT_CROSSED_LISTS = 3

#: What this code reads, and how the vocabularies' names end in each.
SUFFIXES = {1: ".parquet", 2: SUFFIX, _WITHOUT_CROSSED_LISTS: SUFFIX, SCHEMA_VERSION: SUFFIX}

#: What gives a field's values their ids: of a crossed field one of the last two.
Code: TypeAlias = Vocabulary | Buckets | HashBuckets | CrossedVocabulary


class FieldState(BaseModel):
    """A field in `encoder.json`: how to read its raw values, and the number of its ids."""

    model_config = ConfigDict(extra="forbid")

    name: str
    of: Entity
    kind: Kind
    width: int
    size: int
    separator: str
    edges: tuple[float, ...] | None = None
    hash_buckets: int | None = None
    parents: tuple[str, ...] | None = None

    @model_validator(mode="after")
    def _is_a_field(self) -> Self:
        assert self.spec.width == self.width, f"a {self.kind} field has {self.spec.width} slots, not {self.width}"
        return self

    @property
    def spec(self) -> FieldSpec:
        """The field, as far as reading its raw values needs it."""
        if self.parents is not None:
            return CrossedField(
                name=self.name,
                of=self.of,
                kind=self.kind,
                hash_buckets=self.hash_buckets,
                max_values=self._max_values,
                parents=self.parents,
            )
        return FieldSpec(
            name=self.name,
            of=self.of,
            kind=self.kind,
            separator=self.separator,
            hash_buckets=self.hash_buckets,
            max_values=self._max_values,
        )

    @property
    def _max_values(self) -> int:
        return self.width if self.kind is Kind.MULTIVALUED else 1


class EncoderState(BaseModel):
    """`encoder.json`."""

    model_config = ConfigDict(extra="forbid")

    schema_version: int
    fields: tuple[FieldState, ...]

    @model_validator(mode="after")
    def _parents_are_there(self) -> Self:
        kinds = {field.name: field.kind for field in self.fields if field.parents is None}
        for field in self.fields:
            if field.parents is None:
                continue
            for name in field.parents:
                assert name in kinds, f"'{field.name}' is made of '{name}', which is not there"
            kind = Kind.MULTIVALUED if Kind.MULTIVALUED in {kinds[name] for name in field.parents} else Kind.CATEGORICAL
            assert field.kind is kind, f"'{field.name}' is {field.kind}, and what it is made of makes it {kind}"
        return self


def version_of(fields: Sequence[FieldState]) -> int:
    """The schema version of the fields' state: the oldest whose readers encode them."""
    lists = any(field.parents is not None and field.kind is Kind.MULTIVALUED for field in fields)
    return SCHEMA_VERSION if lists else _WITHOUT_CROSSED_LISTS


def read_state(file: Path) -> EncoderState:
    """Reads `encoder.json`.

    Raises:
        InputError: If it is not there, is damaged, or is of a schema version that this code does not know.
    """
    try:
        content = orjson.loads(file.read_bytes())
    except FileNotFoundError:
        raise InputError(f"{file}: there is no such file; give the folder of a vocabulary") from None
    except orjson.JSONDecodeError as error:
        raise InputError(f"{file}: not valid JSON ({error}); take the folder from a whole bundle") from None
    version = content.get("schema_version") if isinstance(content, dict) else None
    if not isinstance(version, int) or version not in SUFFIXES:
        known = ", ".join(map(str, SUFFIXES))
        raise InputError(
            f"{file}: schema_version is {version!r}, this code knows {known}; use the version of elec that wrote it"
        )
    try:
        return EncoderState.model_validate(content)
    except ValidationError as error:
        problem = error.errors()[0]
        where = ".".join(str(part) for part in problem["loc"])
        raise InputError(f"{file}: '{where}' is wrong ({problem['msg']}); take the folder from a whole bundle") from None


def code_of(field: FieldState, file: Path) -> Code:
    """A field's code, from the file if it has one."""
    if field.kind is Kind.NUMERIC:
        return Buckets(field.edges)
    if field.hash_buckets is not None:
        return HashBuckets(field.hash_buckets)
    return Vocabulary.load(file, field.size) if field.parents is None else CrossedVocabulary.load(file)
