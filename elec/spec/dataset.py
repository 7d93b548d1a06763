"""A data set, said once: where the log is, what a click is, which fields describe the user, the item and the context.

Everything else is derived from it: Feast's definitions, the text of a record, the vocabularies, the bundle's manifest.
"""

import difflib
from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from elec.spec.aggregates import Aggregate, AggregateView, check_aggregates
from elec.spec.fields import Cross, CrossedField, Entity, FieldSpec, Kind, Name
from elec.spec.frozen import Frozen, Share
from elec.spec.rules import Rule
from elec.spec.sources import Clicks, SideTable, Source, Tables

#: Column names that elec adds to every table.
RESERVED = frozenset({"row_id", "label", "event_timestamp", "split", "user_index", "slots"})


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
                if known[name].kind is Kind.TEXT:
                    raise ValueError(f"`crossed` names '{name}', which is text; cross fields of another kind")
            if cross.max_values is not None and not any(known[name].kind is Kind.MULTIVALUED for name in cross.fields):
                raise ValueError(f"`max_values` is for crosses of a multivalued field, and '{cross.crossed_name}' has none")
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
        known = {field.name: field for field in self.all_fields}
        return tuple(CrossedField.of_parents(cross, [known[name] for name in cross.fields]) for cross in self.crossed)

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
