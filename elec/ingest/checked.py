"""What the checks of a batch find: rows that are right, rows that are refused, rows that a rule leaves out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elec.ingest import fields
from elec.ingest.batches import Int64, Needed, RawBatch
from elec.ingest.cells import Mask
from elec.ingest.quarantine import UNKNOWN, Checks, refused_rows
from elec.ingest.splits import identities
from elec.ingest.sql import Sql
from elec.spec import Entity, Source, Timestamp

#: Later than any event.
_UNSEEN = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Found:
    """What the checks found in a batch.

    Attributes:
        rows: How many rows, broken ones included.
        kept: The rows that are right, as the kind's schema says; `row_id` is the position in the batch.
        identity: A hash of each kept row, equal for equal rows.
        refused: The others, as `quarantine.REFUSED`.
        ways_out: Of the reasons.
        dropped: The times of rows left out by rule, microseconds since 1970.
        first: The earliest known time that is not in the future.
        last: The latest known time that is not in the future.
        future: The earliest time in the future.
        firsts: Of users or items of which only the key is known, when each was first seen: key and `event_timestamp`.
    """

    rows: int
    kept: pa.Table
    identity: npt.NDArray[np.uint64]
    refused: pa.Table
    ways_out: dict[str, str]
    dropped: Int64
    first: int | None
    last: int | None
    future: int | None
    firsts: dict[Entity, pa.Table] = field(default_factory=dict)


class Checker(Protocol):
    """How the rows of a source become the rows of a segment."""

    @property
    def source(self) -> Source:
        """How its files are read."""

    @property
    def schema(self) -> pa.Schema:
        """The kept rows' columns."""

    @property
    def needed(self) -> list[Needed]:
        """The columns that the spec names."""

    @property
    def settings(self) -> object:
        """All of the spec that decides what is in a segment; JSON."""

    def check(self, database: Sql, now: int, batch: RawBatch) -> Found:
        """Checks a batch; threads call it at the same time."""


class Moments:
    """The event times of a batch.

    Args:
        batch: The rows.
        stamp: Where their times are.
        now: Later times are mistakes, microseconds since 1970.
        checks: Takes what is wrong; nothing else may be in it yet.
        database: Parses ISO 8601.
    """

    def __init__(self, batch: RawBatch, stamp: Timestamp, now: int, checks: Checks, database: Sql) -> None:
        self.times = fields.times(batch, stamp.column, stamp.unit, stamp.missing, now, checks, database)
        refused = checks.refused
        self.known: Mask = ~refused
        self._future = self.times[refused & (self.times > now)]

    @property
    def first(self) -> int | None:
        """The earliest known time that is not in the future."""
        return int(self.times.min(where=self.known, initial=np.iinfo(np.int64).max)) if self.known.any() else None

    @property
    def last(self) -> int | None:
        """The latest known time that is not in the future."""
        return int(self.times.max(where=self.known, initial=np.iinfo(np.int64).min)) if self.known.any() else None

    @property
    def future(self) -> int | None:
        """The earliest time in the future."""
        return int(self._future.min()) if len(self._future) else None


def found(
    batch: RawBatch,
    moments: Moments,
    checks: Checks,
    dropped: Mask,
    rows: pa.Table,
    database: Sql,
    bare: Mapping[Entity, str] | None = None,
) -> Found:
    """Puts together what was found.

    Args:
        batch: The rows as they were read.
        moments: Their times.
        checks: What is wrong with them.
        dropped: Which are left out by rule.
        rows: The rows with their columns in raw types, right or wrong, [N].
        database: Hashes rows.
        bare: The keys of the users or items of which only the key is known.
    """
    wrong = checks.refused
    out = dropped & ~wrong
    keep = ~(wrong | out)
    identity = batch.identity
    if not keep.all():
        chosen = pa.array(np.flatnonzero(keep))
        rows, identity = rows.take(chosen), identity.take(chosen)
    refused, ways_out = refused_rows(batch, checks, np.where(moments.known, moments.times, UNKNOWN))
    return Found(
        rows=batch.rows,
        kept=rows,
        identity=identities(identity, database),
        refused=refused,
        ways_out=ways_out,
        dropped=moments.times[out],
        first=moments.first,
        last=moments.last,
        future=moments.future,
        firsts={entity: _firsts(rows, key) for entity, key in (bare or {}).items()},
    )


def _firsts(rows: pa.Table, key: str) -> pa.Table:
    """When each key was first seen."""
    keys = rows[key].combine_chunks()
    keys = keys if pa.types.is_dictionary(keys.type) else keys.dictionary_encode()
    first = np.full(len(keys.dictionary), _UNSEEN, dtype=np.int64)
    np.minimum.at(first, keys.indices.to_numpy(), rows["event_timestamp"].to_numpy())
    seen = np.flatnonzero(first < _UNSEEN)
    return pa.table({key: keys.dictionary.take(pa.array(seen)), "event_timestamp": pa.array(first[seen])})
