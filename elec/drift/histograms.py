"""What is kept of a window of the log, so that a later one can be compared with it: counts, never rows."""

import hashlib
from collections.abc import Mapping
from datetime import datetime
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict

#: Values of a categorical field that are counted one by one; the rest is counted together.
TOP_VALUES = 50
#: Quantile bins of a numeric field.
NUMERIC_BINS = 10
#: Hash buckets of a key.
KEY_BUCKETS = 32
#: How many of a key's hashes are kept, the smallest: a fair sample of the keys, the same keys in every window.
KEY_SAMPLE = 4096

ProfileKind = Literal["key", "categorical", "numeric", "multivalued", "text"]


class _Kept(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class FieldProfile(_Kept):
    """One field's distribution.

    Attributes:
        kind: The spec's kind; `key` for the user's and the item's key. A text field is profiled by its length.
        of: Whom it describes.
        edges: Numeric: upper edges of the bins, the last bin is open. The first edge is just below the smallest value, so
            that values out of the window's range have bins of their own.
        values: Categorical: the values that are counted one by one, the most frequent first.
        counts: Numeric: a count per bin. Categorical: per value, then the others together. Key: per hash bucket. Always
            last: missing.
        in_reference: The same counts, in the bins of the reference that the profile was made against.
        distinct: How many values there are.
        key_hashes: Key: the smallest hashes (63 bits) of the window's keys, ascending.
        known: Key: the share of rows whose key the reference knows, estimated on its sample of keys.
    """

    kind: ProfileKind
    of: Literal["user", "item", "context"]
    edges: tuple[float, ...] = ()
    values: tuple[str, ...] = ()
    counts: tuple[int, ...]
    in_reference: tuple[int, ...] | None = None
    distinct: int
    key_hashes: tuple[int, ...] = ()
    known: float | None = None

    @property
    def missing(self) -> float:
        """The share of missing values."""
        total = sum(self.counts)
        return self.counts[-1] / total if total else 0.0


class Window(_Kept):
    """The time that a profile covers: first and last event."""

    first: datetime
    last: datetime


class Profile(_Kept):
    """A window's profile.

    Attributes:
        schema_version: Of this format.
        dataset: The data set's name.
        rows: Of the training window.
        rows_a_day: Rows over the window's days; None if all rows bear the same time.
        window: First and last event.
        label_rate: Share of clicks.
        fields: By name, in the spec's order.
        against: The fingerprint of the profile whose bins `in_reference` counts in.
    """

    schema_version: Literal[1] = 1
    dataset: str
    rows: int
    rows_a_day: float | None
    window: Window
    label_rate: float
    fields: Mapping[str, FieldProfile]
    against: str | None = None

    def as_reference(self) -> Self:
        """The profile by itself, without what it was compared with."""
        alone = {name: field.model_copy(update={"in_reference": None, "known": None}) for name, field in self.fields.items()}
        return self.model_copy(update={"against": None, "fields": alone})

    @property
    def fingerprint(self) -> str:
        """Identifies the profile by its content."""
        return hashlib.sha256(self.as_reference().model_dump_json().encode()).hexdigest()
