"""The log's rows, checked and labelled."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elec.ingest import fields
from elec.ingest.batches import Needed, RawBatch
from elec.ingest.cells import to_labels, to_text
from elec.ingest.checked import Found, Moments, found
from elec.ingest.quarantine import Checks, Reason
from elec.ingest.splits import SYNONYMS, by_column, by_hash
from elec.ingest.sql import Sql
from elec.spec import DatasetSpec, Entity, FieldSpec, Rule, Source

#: Columns of a segment that are not the user's; a field's name cannot have a hyphen.
SPLIT = "row-split"
REQUEST = "row-request"


def log_fields(spec: DatasetSpec) -> list[FieldSpec]:
    """The fields that are columns of the log: the context's, and those of users and items without a file of their own."""
    own = [field for entity in (Entity.USER, Entity.ITEM) if spec.table_of(entity) is None for field in spec.fields_of(entity)]
    return [*own, *spec.fields_of(Entity.CONTEXT)]


@dataclass(frozen=True)
class LogRows:
    """How the log's rows are checked; a `checked.Checker`.

    Attributes:
        spec: What the data set is.
    """

    spec: DatasetSpec

    @property
    def source(self) -> Source:
        """The log."""
        return self.spec.source

    @property
    def schema(self) -> pa.Schema:
        """The columns of the rows that wait for the split; times as microseconds."""
        spec = self.spec
        return pa.schema(
            [
                ("row_id", pa.int64()),
                ("label", pa.int8()),
                ("event_timestamp", pa.int64()),
                (spec.user, pa.string()),
                (spec.item, pa.string()),
                *((field.name, fields.ARROW_TYPES[field.kind]) for field in log_fields(spec)),
                *([(REQUEST, pa.string())] if spec.label.clicks is not None else []),
                *([(SPLIT, pa.int8())] if spec.split.by != "time" else []),
            ]
        )

    @property
    def needed(self) -> list[Needed]:
        """The columns that the spec names."""
        spec = self.spec
        needed = [
            Needed(spec.user, "user", required=True),
            Needed(spec.item, "item", required=True),
            Needed(spec.timestamp.column, "timestamp.column", required=spec.timestamp.missing is None),
        ]
        if spec.label.column is not None:
            needed.append(Needed(spec.label.column, "label.column", required=True))
        if spec.label.rule is not None:
            needed.append(Needed(Rule.parse(spec.label.rule).column, "label.rule", required=True))
        if spec.label.clicks is not None:
            needed.append(Needed(spec.label.clicks.request, "label.clicks.request", required=True))
        if spec.label.drop is not None:
            needed.append(Needed(Rule.parse(spec.label.drop).column, "label.drop"))
        if spec.split.column is not None:
            needed.append(Needed(spec.split.column, "split.column", required=True))
        return fields.distinct([*needed, *fields.needed_fields(log_fields(spec))])

    @property
    def settings(self) -> object:
        """What decides about a row."""
        spec = self.spec
        label = spec.label.model_dump(mode="json", exclude={"clicks"})
        request = spec.label.clicks.request if spec.label.clicks is not None else None
        return [
            "log",
            spec.source.model_dump(mode="json", exclude={"path"}),
            [label, request],
            spec.timestamp.model_dump(mode="json"),
            [spec.user, spec.item],
            [[field.name, field.kind, field.separator] for field in log_fields(spec)],
            spec.split.model_dump(mode="json", exclude={"negatives"}) if spec.split.by != "time" else "time",
        ]

    @property
    def _bare(self) -> dict[Entity, str]:
        """The keys of users and items of which only the key is known."""
        spec = self.spec
        bare = [one for one in (Entity.USER, Entity.ITEM) if spec.table_of(one) is None and not spec.fields_of(one)]
        return {entity: spec.key_of(entity) for entity in bare}

    def check(self, database: Sql, now: int, batch: RawBatch) -> Found:
        """Checks the rows of a batch and labels them.

        Args:
            database: For times and hashes.
            now: Later times are mistakes, microseconds since 1970.
            batch: The rows.
        """
        spec = self.spec
        checks = Checks(len(batch.table))
        moments = Moments(batch, spec.timestamp, now, checks, database)
        rows: dict[str, pa.Array] = {"row_id": pa.array(batch.index), "event_timestamp": pa.array(moments.times)}
        for key in (spec.user, spec.item):
            rows[key] = fields.keys(batch, key, checks)
        rows["label"] = pa.array(_labels(spec, batch, checks))
        dropped = np.zeros(len(batch.table), dtype=bool)
        if spec.label.drop is not None:
            dropped, _ = fields.holds(batch, Rule.parse(spec.label.drop), "label.drop", checks)
        if spec.split.column is not None:
            rows[SPLIT] = _split_cells(spec.split.column, batch, checks)
        if spec.label.clicks is not None:
            rows[REQUEST] = fields.keys(batch, spec.label.clicks.request, checks)
        for field in log_fields(spec):
            rows[field.name] = fields.field(batch, field, checks)
        if spec.split.by == "random":
            # A label that is not known yet does not decide.
            last = "label" if spec.label.clicks is None else REQUEST
            content = pa.table({key: rows[key] for key in (spec.user, spec.item, "event_timestamp", last)})
            rows[SPLIT] = pa.array(by_hash(content, spec.split, database))
        return found(batch, moments, checks, dropped, pa.table(rows), database, self._bare)


def _labels(spec: DatasetSpec, batch: RawBatch, checks: Checks) -> npt.NDArray[np.int8]:
    if spec.label.clicks is not None:
        # The log of clicks says it, when the rows are put together.
        return np.zeros(len(batch.table), dtype=np.int8)
    if spec.label.rule is not None:
        rule = Rule.parse(spec.label.rule)
        clicked, missing = fields.holds(batch, rule, "label.rule", checks)
        column, labels = rule.column, clicked.astype(np.int8)
    else:
        column = spec.label.column or ""
        labels, missing, bad = to_labels(batch.table[column], fields.where(batch, column))
        checks.refuse(bad, Reason(f"{column}: not 0 or 1", f"say what a click is with `label: {{rule: {column} > ...}}`"))
    checks.refuse(missing, Reason(f"{column}: no value", f"check the column '{column}'"))
    return labels


def _split_cells(column: str, batch: RawBatch, checks: Checks) -> pa.Array:
    cells, _ = to_text(batch.table[column], fields.where(batch, column))
    position = by_column(cells)
    checks.refuse(position < 0, Reason(f"{column}: not one of {', '.join(SYNONYMS)}", "correct the column, or split by time"))
    return pa.array(position)
