"""Fields: what a column holds, whom it describes, how it is encoded."""

import math
from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from elec.spec.frozen import Frozen

#: Characters of a field's name, at most.
LONGEST_NAME = 64

# Slots of a crossed multi-valued field, unless it asks for more.
_MOST_COMBINATIONS = 32

Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
HashBucketCount = Annotated[int, Field(ge=2, le=100_000_000)]


class Entity(StrEnum):
    """Whom a field describes.

    `pair` is of fields that elec makes itself of what is known of several of them together, such as a user and an item.
    """

    USER = "user"
    ITEM = "item"
    CONTEXT = "context"
    PAIR = "pair"


class Kind(StrEnum):
    """What a field holds. Text is read by the LLM only; the other kinds are also columns of the tabular network."""

    CATEGORICAL = "categorical"
    NUMERIC = "numeric"
    MULTIVALUED = "multivalued"
    TEXT = "text"


class FieldSpec(Frozen):
    """One field of a record.

    Attributes:
        name: The column, and the field's name everywhere.
        of: Whom it describes.
        kind: What it holds.
        separator: Between the values of a multi-valued field held as text.
        title: Its name in the text that the LLM reads; `release_year` becomes `Release year` when left out.
        min_count: A value seen less often in the training rows is out of vocabulary.
        hash_buckets: Instead of a vocabulary, for values without an end: a value's id is its hash modulo this number. Values
            may share an id, none is out of vocabulary, and nothing is learned from the training rows.
        buckets: Of a numeric field, at most.
        scale: Where its buckets end: `linear` at quantiles, so that each holds about as many rows; `log` at equal steps of
            sign(x) log(1 + |x|) from the least to the largest value of the training rows. (Quantiles are the same on any
            scale, so a logarithm before them would change nothing.)
        max_values: How many values of a multi-valued field count.
        in_text: Whether the LLM reads it.
    """

    name: Name
    of: Entity = Entity.CONTEXT
    kind: Kind = Kind.CATEGORICAL
    separator: Annotated[str, Field(min_length=1, max_length=4)] = "|"
    title: str | None = None
    min_count: int = Field(default=2, ge=1)
    hash_buckets: HashBucketCount | None = None
    buckets: int = Field(default=32, ge=2, le=1024)
    scale: Literal["linear", "log"] = "linear"
    max_values: int = Field(default=8, ge=1, le=256)
    in_text: bool = True

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.hash_buckets is not None and self.kind not in {Kind.CATEGORICAL, Kind.MULTIVALUED}:
            raise ValueError(f"`hash_buckets` is for categorical and multivalued fields, and '{self.name}' is {self.kind}")
        if self.scale != "linear" and self.kind is not Kind.NUMERIC:
            raise ValueError(f"`scale` is for numeric fields, and '{self.name}' is {self.kind}")
        return self

    @property
    def display(self) -> str:
        """The field's name as the LLM reads it."""
        return self.title or self.name.replace("_", " ").strip().capitalize()

    @property
    def width(self) -> int:
        """How many id slots the field takes in an encoded row; 0 for text."""
        return {Kind.TEXT: 0, Kind.MULTIVALUED: self.max_values}.get(self.kind, 1)


class CrossedField(FieldSpec):
    """A field whose value is that of several others at once; it is made of them wherever a record is encoded.

    It is multi-valued if one of them is.

    Attributes:
        parents: The fields that it is made of, in order.
    """

    parents: tuple[Name, ...] = Field(min_length=2, max_length=4)

    @classmethod
    def of_parents(cls, cross: "Cross", parents: Sequence[FieldSpec]) -> Self:
        """The field of a cross, of the fields that it names."""
        own: dict[str, Any] = {}
        if any(parent.kind is Kind.MULTIVALUED for parent in parents):
            possible = math.prod(parent.width for parent in parents)
            own = {"kind": Kind.MULTIVALUED, "max_values": cross.max_values or min(possible, _MOST_COMBINATIONS)}
        return cls(
            name=cross.crossed_name,
            of=of_all({parent.of for parent in parents}),
            parents=cross.fields,
            min_count=cross.min_count,
            hash_buckets=cross.hash_buckets,
            in_text=False,
            **own,
        )


class Cross(Frozen):
    """Fields whose combination is a field of its own; a plain list of their names is enough.

    Attributes:
        fields: Two to four fields that are no text, keys included; a numeric one counts by its bucket, a multi-valued one by
            each of its first `max_values` values.
        name: Of the crossed field; the names with `_x_` between them when left out.
        min_count: A combination seen less often in the training rows is out of vocabulary.
        hash_buckets: Instead of a vocabulary; as for a field.
        max_values: How many combinations of a row count where a field is multi-valued: the first ones, in the order of the
            lists, the last field's values changing fastest. As many as there can be when left out, but not above 32.
    """

    fields: tuple[Name, ...] = Field(min_length=2, max_length=4)
    name: Name | None = None
    min_count: int = Field(default=2, ge=1)
    hash_buckets: HashBucketCount | None = None
    max_values: int | None = Field(default=None, ge=1, le=256)

    @model_validator(mode="before")
    @classmethod
    def _plain_list(cls, value: Any) -> Any:
        return {"fields": value} if isinstance(value, list | tuple) else value

    @model_validator(mode="after")
    def _named(self) -> Self:
        for name in self.fields:
            if self.fields.count(name) > 1:
                raise ValueError(f"crosses '{name}' with itself; name different fields")
        if self.name is None and len(self.crossed_name) > LONGEST_NAME:
            raise ValueError(f"its name, '{self.crossed_name}', has more than {LONGEST_NAME} characters; give it a `name`")
        return self

    @property
    def crossed_name(self) -> str:
        """The crossed field's name."""
        return self.name or "_x_".join(self.fields)


def of_all(entities: set[Entity]) -> Entity:
    """Whom a combination of fields describes."""
    if len(entities) == 1:
        return next(iter(entities))
    return Entity.PAIR if Entity.ITEM in entities else Entity.CONTEXT
