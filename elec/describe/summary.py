"""The description of a data set: counts alone, small whatever the log's size, kept beside a run as JSON."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from elec.ingest.report import IngestReport
from elec.spec import Entity, Kind

#: How a number's range is cut: one bin a value, equal widths, equal widths of the logarithm, or of the logarithm of 1 + value.
Scale = Literal["values", "linear", "log", "log1p"]


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Counted(_Kept):
    """How many rows, and how many of them are clicks."""

    rows: int
    clicks: int


class Value(Counted):
    """A value of a field.

    Attributes:
        value: Its first characters.
    """

    value: str


class Bin(Counted):
    """Rows whose number lies between two edges; the first and the last bin hold what is beyond them too.

    Attributes:
        low: The lower edge, which is in the bin.
        high: The upper edge, which is not; the same as `low` where the bin is one value.
    """

    low: float
    high: float


class Numbers(_Kept):
    """How numbers are distributed over the rows that have one.

    Attributes:
        distinct: Different numbers.
        mean: Over the rows.
        least: The smallest.
        p1: The 1st percentile: the smallest number that at least 1% of the rows do not exceed. The others alike.
        p25: The lower quartile.
        median: Half of the rows do not exceed it.
        p75: The upper quartile.
        p99: The 99th percentile.
        most: The largest.
        scale: How the bins are cut.
        bins: From low to high, empty ones included.
    """

    distinct: int
    mean: float
    least: float
    p1: float
    p25: float
    median: float
    p75: float
    p99: float
    most: float
    scale: Scale
    bins: tuple[Bin, ...]


class FieldSummary(_Kept):
    """A field, over the kept rows: what the user, the item and the moment were when the row was logged.

    Attributes:
        name: The field.
        of: Whom it describes.
        kind: What it holds.
        key: Whether it is the user's or the item's key.
        made_of: Of a crossed field the fields that it is made of, of an aggregate those that it is counted by.
        rows: Kept rows.
        missing: Those without a value.
        distinct: Different values; of a multi-valued field, different single values.
        top: The most frequent values; numbers have none.
        numbers: Of numbers the values, of text its words, of multi-valued fields how many values a row has.
    """

    name: str
    of: Entity
    kind: Kind
    key: bool
    made_of: tuple[str, ...] = ()
    rows: int
    missing: Counted
    distinct: int
    top: tuple[Value, ...] = ()
    numbers: Numbers | None = None


class Span(_Kept):
    """What happened from one moment to the next.

    Attributes:
        start: The moment.
        parts: Of train, valid and test.
    """

    start: datetime
    parts: tuple[Counted, Counted, Counted]


class Timeline(_Kept):
    """Rows over time.

    Attributes:
        seconds: How long each span is.
        spans: One after the other, empty ones included.
    """

    seconds: int
    spans: tuple[Span, ...]


class Activity(_Kept):
    """How rows spread over users, or over items.

    Attributes:
        keys: How many users or items the rows have.
        once: Those with one row.
        median: Rows of the one in the middle.
        most: Rows of the most active one.
        top_1: Share of rows of the most active 1%.
        top_10: Share of rows of the most active 10%.
        ranks: (rank, rows) of some, the most active first.
        shares: (share of keys, share of rows), the most active first: from (0, 0) to (1, 1).
    """

    keys: int
    once: int
    median: int
    most: int
    top_1: float
    top_10: float
    ranks: tuple[tuple[int, int], ...]
    shares: tuple[tuple[float, float], ...]


class Unseen(_Kept):
    """What a part has that train does not.

    Attributes:
        rows: Of the part.
        keys: Users or items in it.
        new_keys: Those that have no row in train.
        new_rows: Their rows.
    """

    rows: int
    keys: int
    new_keys: int
    new_rows: int


class Refused(_Kept):
    """A reason for which rows were refused.

    Attributes:
        reason: In words.
        rows: How many.
        examples: File, line and first characters of some.
    """

    reason: str
    rows: int
    examples: tuple[tuple[str, int, str], ...]


class DataSummary(_Kept):
    """A data set.

    Attributes:
        schema_version: Of this format.
        dataset: Its name.
        about: What the spec says of it.
        as_of: The moment it stands at.
        report: The account of every row that was read.
        timeline: Rows over time.
        users: How rows spread over users.
        items: How rows spread over items.
        unseen: By part (`valid`, `test`), then by `user` and `item`.
        fields: The keys, then every other field in the spec's order, the crossed ones, and of a run the aggregates.
        refused: Why rows were refused, those of side tables included, the most frequent reason first.
    """

    schema_version: Literal[1, 2] = 2
    dataset: str
    about: str
    as_of: datetime
    report: IngestReport
    timeline: Timeline
    users: Activity
    items: Activity
    unseen: dict[str, dict[Entity, Unseen]]
    fields: tuple[FieldSummary, ...]
    refused: tuple[Refused, ...]
