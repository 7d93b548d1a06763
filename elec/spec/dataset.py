"""A data set, said once: where the log is, what a click is, which fields describe the user, the item and the context.

Everything else is derived from it: Feast's definitions, the text of a record, the vocabularies, the bundle's manifest.
"""

import codecs
import difflib
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from elec.spec.aggregates import Aggregate, AggregateView, check_aggregates
from elec.spec.rules import Rule

#: Column names that elec adds to every table.
RESERVED = frozenset({"row_id", "label", "event_timestamp", "split", "user_index", "slots"})

#: Characters of a field's name, at most.
LONGEST_NAME = 64

Name = Annotated[str, Field(min_length=1, max_length=LONGEST_NAME, pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
Share = Annotated[float, Field(ge=0.0, lt=1.0)]
HashBucketCount = Annotated[int, Field(ge=2, le=100_000_000)]


class Frozen(BaseModel):
    """Settings: immutable, and an unknown key is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


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
            # Python has codecs that are not of text, such as zlib and hex, and some that read a text only as a whole.
            "".encode(self.encoding)
            codecs.getincrementaldecoder(self.encoding)("backslashreplace").decode(b"", final=True)
        except (LookupError, ValueError):
            raise ValueError(
                f"`encoding` = '{self.encoding}' is not known; use utf-8, latin-1, cp1252 or utf-16, say"
            ) from None
        return self


class SideTable(Source):
    """Users or items in a file of their own, joined to the log by key.

    A row counts until the next one of its key, however old it is by then: there is no time to live, for Feast's online reads do
    not look at one, and training has to read what serving does.

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

    Attributes:
        parents: The fields that it is made of, in order.
    """

    parents: tuple[Name, ...] = Field(min_length=2, max_length=4)


class Cross(Frozen):
    """Fields whose combination is a field of its own; a plain list of their names is enough.

    Attributes:
        fields: Two to four categorical or numeric fields, keys included; a numeric one counts by its bucket.
        name: Of the crossed field; the names with `_x_` between them when left out.
        min_count: A combination seen less often in the training rows is out of vocabulary.
        hash_buckets: Instead of a vocabulary; as for a field.
    """

    fields: tuple[Name, ...] = Field(min_length=2, max_length=4)
    name: Name | None = None
    min_count: int = Field(default=2, ge=1)
    hash_buckets: HashBucketCount | None = None

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
        crossed: Combinations of fields that are fields of their own.
        tables: Users and items in files of their own.
        aggregates: Counts and click-through rates over look-back windows, which are fields of the model too.
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
    crossed: tuple[Cross, ...] = ()
    tables: Tables = Tables()
    aggregates: tuple[Aggregate, ...] = ()
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
            if field.of is Entity.PAIR:
                raise ValueError(f"field '{field.name}' is of a column, so it is of the user, the item or the context")
        check_aggregates(self)
        return self

    @model_validator(mode="after")
    def _crossable(self) -> Self:
        known = {field.name: field for field in self.all_fields}
        taken = {name.lower() for name in (*known, *(field.name for field in self.aggregate_fields))} | RESERVED
        for cross in self.crossed:
            for name in cross.fields:
                if name not in known:
                    close = difflib.get_close_matches(name, known, n=1)
                    hint = f"did you mean '{close[0]}'?" if close else f"fields: {', '.join(known)}"
                    raise ValueError(f"`crossed` names '{name}', which is no field; {hint}")
                if known[name].kind not in {Kind.CATEGORICAL, Kind.NUMERIC}:
                    raise ValueError(
                        f"`crossed` names '{name}', which is {known[name].kind}; cross categorical and numeric fields"
                    )
            if cross.crossed_name.lower() in taken:
                raise ValueError(f"there are two fields '{cross.crossed_name}'; give the crossed one another `name`")
            taken.add(cross.crossed_name.lower())
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
        """What the collaborative module reads: everything but text, and the aggregates."""
        return (*(field for field in self.all_fields if field.kind is not Kind.TEXT), *self.aggregate_fields)

    @property
    def aggregate_fields(self) -> tuple[FieldSpec, ...]:
        """The aggregates' numbers: no columns of the log, but of the training frame."""
        of_column = {field.name: field.of for field in self.all_fields}
        fields = []
        for aggregate, view in zip(self.aggregates, self.aggregate_views, strict=True):
            described = {of_column[column] for column in view.columns}
            # What depends on the context is not known before a request is.
            of = described.pop() if described in ({Entity.USER}, {Entity.ITEM}) else Entity.PAIR
            fields += [
                FieldSpec(name=name, of=of, kind=Kind.NUMERIC, buckets=aggregate.buckets, in_text=False)
                for name in view.features
            ]
        return tuple(fields)

    @property
    def aggregate_views(self) -> tuple[AggregateView, ...]:
        """The Feast views of the aggregates."""
        return tuple(aggregate.view(self.user, self.item) for aggregate in self.aggregates)

    @property
    def crossed_fields(self) -> tuple[CrossedField, ...]:
        """The crossed fields; no record, no file and no feature view has a column of them."""
        of = {field.name: field.of for field in self.all_fields}
        return tuple(
            CrossedField(
                name=cross.crossed_name,
                of=_of_all({of[name] for name in cross.fields}),
                parents=cross.fields,
                min_count=cross.min_count,
                hash_buckets=cross.hash_buckets,
                in_text=False,
            )
            for cross in self.crossed
        )

    @property
    def encoded_fields(self) -> tuple[FieldSpec, ...]:
        """The fields of an encoded row in the order of their slots: the tabular ones, then the crossed ones."""
        return (*self.tabular_fields, *self.crossed_fields)

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


def _of_all(entities: set[Entity]) -> Entity:
    """Whom a combination of fields describes."""
    if len(entities) == 1:
        return next(iter(entities))
    return Entity.PAIR if Entity.ITEM in entities else Entity.CONTEXT
