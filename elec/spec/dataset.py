"""A data set, said once: where the log is, what a click is, which fields describe the user, the item and the context.

Everything else is derived from it: Feast's definitions, the text of a record, the vocabularies, the bundle's manifest.
"""

import codecs
import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from elec.spec.rules import Rule

#: Column names that elec adds to every table.
RESERVED = frozenset({"row_id", "label", "event_timestamp", "split", "user_index", "slots"})

Name = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]


class Frozen(BaseModel):
    """Settings: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Entity(StrEnum):
    """Whom a field describes."""

    USER = "user"
    ITEM = "item"
    CONTEXT = "context"


class Kind(StrEnum):
    """What a field holds. Text is read by the LLM only; the other kinds are also columns of the tabular network."""

    CATEGORICAL = "categorical"
    NUMERIC = "numeric"
    MULTIVALUED = "multivalued"
    TEXT = "text"


class Source(Frozen):
    """A file, a glob, a folder or an `s3://` URI, and how to read it.

    Attributes:
        path: Where. `${NAME}` and `${NAME:-default}` come from the environment; a relative path starts at the spec's folder.
        format: Left out, it follows from the file's name (`.csv`, `.tsv`, `.parquet`, `.jsonl`, text also `.csv.gz`,
            `.csv.zst`, `.csv.bz2`).
        delimiter: Between columns of CSV or TSV; more than one character is allowed (`::`).
        header: Whether the first line names the columns.
        columns: Names for the columns, in order; with a header they replace it.
        encoding: Of CSV, TSV and JSON lines.
    """

    path: str = Field(min_length=1)
    format: Literal["csv", "tsv", "parquet", "jsonl"] | None = None
    delimiter: Annotated[str, Field(min_length=1, max_length=4)] | None = None
    header: bool = True
    columns: tuple[str, ...] | None = None
    encoding: str = "utf-8"

    @model_validator(mode="after")
    def _columns_without_header(self) -> Self:
        if not self.header and not self.columns:
            raise ValueError("header is false, so `columns` has to name the columns")
        for column in self.columns or ():
            if (self.columns or ()).count(column) > 1:
                raise ValueError(f"`columns` names '{column}' more than once")
        return self

    @model_validator(mode="after")
    def _known_encoding(self) -> Self:
        try:
            codecs.lookup(self.encoding)
            # Python has codecs that are not of text, such as zlib and hex.
            "".encode(self.encoding)
        except (LookupError, ValueError):
            raise ValueError(
                f"`encoding` = '{self.encoding}' is not known; use utf-8, latin-1, cp1252 or utf-16, say"
            ) from None
        return self


class SideTable(Source):
    """Users or items in a file of their own, joined to the log by key.

    Attributes:
        key: The key's column in this file; the same name as in the log when left out.
        timestamp: When a row of this file became true; left out, its rows have always been true.
        unit: The timestamp's unit.
    """

    key: str | None = None
    timestamp: str | None = None
    unit: Literal["s", "ms", "us", "ns", "iso"] = "s"


class Clicks(Source):
    """A log of clicks: an impression is a click if this log has its request id within a time.

    Attributes:
        request: The column of both logs that holds the request id.
        key: Its name in the log of clicks, if that is another one.
        timestamp: When the click happened; clicks later than `as_of` are invisible.
        unit: The timestamp's unit.
        within: The attribution window: `30m`, `12h`, `1d`; a later click does not count.
        open: What happens to impressions whose attribution window is not over at `as_of`: `drop` them, for a click may still
            come, or `keep` them with the label known by then. Counted in both cases.
    """

    request: str
    key: str | None = None
    timestamp: str
    unit: Literal["s", "ms", "us", "ns", "iso"] = "s"
    within: Annotated[str, Field(pattern=r"^[1-9][0-9]{0,5}[smhd]$")] = "1d"
    open: Literal["keep", "drop"] = "drop"

    @property
    def within_us(self) -> int:
        """The attribution window in microseconds."""
        return int(self.within[:-1]) * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[self.within[-1]] * 1_000_000


class Label(Frozen):
    """What counts as a click.

    Attributes:
        column: A column of 0 and 1 (or false and true), or
        rule: one comparison, `rating > 3`, that is true for a click, or
        clicks: a log of clicks of its own.
        drop: Rows for which this comparison is true are left out, and counted.
    """

    column: str | None = None
    rule: str | None = None
    clicks: Clicks | None = None
    drop: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        if sum(way is not None for way in (self.column, self.rule, self.clicks)) != 1:
            raise ValueError(
                "give one of `column` (a column of 0 and 1), `rule` (such as 'rating > 3') and `clicks` (a log of clicks)"
            )
        for text in (self.rule, self.drop):
            if text is not None:
                Rule.parse(text)
        return self


class Timestamp(Frozen):
    """When the event happened.

    Attributes:
        column: The column of the log.
        unit: Seconds, milliseconds, microseconds or nanoseconds since 1970, or ISO 8601 text (UTC unless it says otherwise).
        missing: What an unknown time counts as; left out, a row without a time is quarantined.
    """

    column: str
    unit: Literal["s", "ms", "us", "ns", "iso"] = "s"
    missing: datetime | None = None


class FieldSpec(Frozen):
    """One field of a record.

    Attributes:
        name: The column, and the field's name everywhere.
        of: Whom it describes.
        kind: What it holds.
        separator: Between the values of a multi-valued field held as text.
        title: Its name in the text that the LLM reads; `release_year` becomes `Release year` when left out.
        min_count: A value seen less often in the training rows is out of vocabulary.
        buckets: Quantile buckets of a numeric field.
        max_values: How many values of a multi-valued field count.
        in_text: Whether the LLM reads it.
    """

    name: Name
    of: Entity = Entity.CONTEXT
    kind: Kind = Kind.CATEGORICAL
    separator: Annotated[str, Field(min_length=1, max_length=4)] = "|"
    title: str | None = None
    min_count: int = Field(default=2, ge=1)
    buckets: int = Field(default=32, ge=2, le=1024)
    max_values: int = Field(default=8, ge=1, le=256)
    in_text: bool = True

    @property
    def display(self) -> str:
        """The field's name as the LLM reads it."""
        return self.title or self.name.replace("_", " ").strip().capitalize()

    @property
    def width(self) -> int:
        """How many id slots the field takes in an encoded row; 0 for text."""
        return {Kind.TEXT: 0, Kind.MULTIVALUED: self.max_values}.get(self.kind, 1)


class Tables(Frozen):
    """Files that describe users and items; without one, their fields are columns of the log."""

    users: SideTable | None = None
    items: SideTable | None = None


class Split(Frozen):
    """How rows become train, valid and test.

    Attributes:
        by: `time`: the newest rows are test, those before them valid, and equal timestamps stay together; `random`: by a
            hash of the row, the same in every run; `column`: as a column of the log says.
        valid: Share of rows.
        test: Share of rows.
        column: For `column`: the column of the log that holds `train`, `valid` or `test`.
        seed: For `random`.
        negatives: Share of the train part's rows without a click that is kept, by a hash of the row. Probabilities stay those
            of the full log: training corrects the networks' logits by its logarithm.
    """

    by: Literal["time", "random", "column"] = "time"
    valid: Share = 0.1
    test: Share = 0.1
    column: str | None = None
    seed: int = 0
    negatives: float = Field(default=1.0, gt=0, le=1)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if (self.by == "column") != (self.column is not None):
            raise ValueError("`column` goes with `by: column`, and only with it")
        if self.by != "column" and not (self.valid > 0 and self.test > 0 and self.valid + self.test < 1):
            raise ValueError("`valid` and `test` have to be above 0 and leave rows to train on")
        return self


class LookBack(Frozen):
    """Which part of the log a run sees.

    Attributes:
        days: Rows that are not of the last so many days before `as_of` are left out, and counted; all are seen when left out.
    """

    days: int | None = Field(default=None, ge=1, le=36_500)


class DatasetSpec(Frozen):
    """One data set.

    Attributes:
        name: Lower case, digits and hyphens; it names the data set's runs and bundles.
        source: The log: one row an impression.
        label: What counts as a click.
        timestamp: When the event happened.
        user: The user's key in the log; also a field of the model.
        item: The item's key in the log; also a field of the model.
        fields: All other fields.
        tables: Users and items in files of their own.
        window: Which part of the log a run sees.
        split: How rows become train, valid and test.
        duplicates: What happens to rows that are equal in every column: counted in both cases.
        max_bad_share: A larger share of quarantined rows blocks the run.
    """

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")]
    description: str = ""
    source: Source
    label: Label
    timestamp: Timestamp
    user: Name
    item: Name
    fields: tuple[FieldSpec, ...] = ()
    tables: Tables = Tables()
    window: LookBack = LookBack()
    split: Split = Split()
    duplicates: Literal["keep", "drop"] = "keep"
    max_bad_share: Share = 0.05

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        names = [field.name for field in self.fields]
        # DuckDB, and with it Feast's store, takes `Age` and `age` for the same column.
        lower = [name.lower() for name in dict.fromkeys([*names, self.user, self.item])]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"field '{name}' is listed more than once")
            if lower.count(name.lower()) > 1:
                raise ValueError(f"field '{name}' differs from another column in case only; rename one of them with `columns`")
        for name in [*names, self.user, self.item]:
            if name.lower() in RESERVED:
                raise ValueError(
                    f"'{name}' is a column that elec adds itself; rename the field, with `columns` if the file has a header"
                )
        if self.user.lower() == self.item.lower():
            raise ValueError("`user` and `item` name the same column")
        answer = self.label.column if self.label.rule is None else Rule.parse(self.label.rule).column
        if answer is not None and answer in names:
            raise ValueError(f"field '{answer}' is what the label is made of, so the model would read the answer; leave it out")
        for field in self.fields:
            if field.name in {self.user, self.item} and field.kind is not Kind.CATEGORICAL:
                raise ValueError(f"'{field.name}' is a key, so its kind is categorical")
            of_key = {self.user: Entity.USER, self.item: Entity.ITEM}.get(field.name)
            if of_key is not None and field.of is not of_key:
                raise ValueError(f"'{field.name}' is the key of the {of_key}; give it `of: {of_key}`")
        return self

    @property
    def key_fields(self) -> tuple[FieldSpec, FieldSpec]:
        """The user's and the item's key as fields of the model; the LLM does not read them unless the spec lists them so."""
        listed = {field.name: field for field in self.fields}
        return (
            listed.get(self.user, FieldSpec(name=self.user, of=Entity.USER, in_text=False)),
            listed.get(self.item, FieldSpec(name=self.item, of=Entity.ITEM, in_text=False)),
        )

    @property
    def all_fields(self) -> tuple[FieldSpec, ...]:
        """The keys, then every other field in the spec's order."""
        keys = {self.user, self.item}
        return (*self.key_fields, *(field for field in self.fields if field.name not in keys))

    @property
    def tabular_fields(self) -> tuple[FieldSpec, ...]:
        """What the collaborative module reads: everything but text."""
        return tuple(field for field in self.all_fields if field.kind is not Kind.TEXT)

    def fields_of(self, entity: Entity) -> tuple[FieldSpec, ...]:
        """The fields of the user, the item or the context, without the keys."""
        keys = {self.user, self.item}
        return tuple(field for field in self.fields if field.of is entity and field.name not in keys)

    def key_of(self, entity: Entity) -> str:
        """The key column of the user or the item."""
        return {Entity.USER: self.user, Entity.ITEM: self.item}[entity]

    def table_of(self, entity: Entity) -> SideTable | None:
        """The file that describes the users or the items, if there is one."""
        return {Entity.USER: self.tables.users, Entity.ITEM: self.tables.items}[entity]

    @property
    def feature_service(self) -> str:
        """The name of the Feast feature service that training and serving read."""
        return re.sub(r"\W", "_", self.name) + "_v1"
