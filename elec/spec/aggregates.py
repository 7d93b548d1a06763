"""Aggregates: how often a user, an item, or values of theirs together were shown and clicked of late.

An entry of `aggregates` becomes a Feast view of its own, and numeric fields of the model; both are named here.
"""

import hashlib
import json
from typing import TYPE_CHECKING, Annotated, Literal, Self

from pydantic import Field, model_validator

from elec.spec.fields import LONGEST_NAME
from elec.spec.frozen import Frozen

if TYPE_CHECKING:
    from elec.spec.dataset import DatasetSpec

#: What stands before the name of a field that is a join key of a view: Feast would not have a feature and a key of one name.
JOIN_KEY = "by_"

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}

Duration = Annotated[str, Field(pattern=r"^[1-9][0-9]{0,5}[smhd]$")]


def microseconds(duration: str) -> int:
    """A duration such as `30m`, `12h` or `7d` in microseconds."""
    return int(duration[:-1]) * _SECONDS[duration[-1]] * 1_000_000


class Aggregate(Frozen):
    """Counts and click-through rates over look-back windows, as known strictly before the event.

    They are computed from all rows of the log that a run sees, and stand on a grid of moments, the ticks: an event has the
    values of the newest tick that is not later than itself, and those are made of impressions from before that tick.
    An impression counts from the moment on at which its label is known: at once, or, with a log of clicks, when the time in
    which a click counts is over. `missing` means that nothing was known yet.

    Attributes:
        by: `user`, `item`, and names of categorical fields; several together count the impressions that agree in all of them.
        windows: How far back, `1d` or `12h`; whole multiples of `every`.
        what: `count`: impressions; `ctr`: (clicks + smoothing x prior) / (impressions + smoothing), where the prior is the rate
            of all clicks known at the tick, whoever's they are.
        smoothing: How many impressions the prior weighs as much as; 0 gives the plain rate, missing without impressions.
        every: From tick to tick.
        buckets: Quantile buckets of each of the fields.
    """

    by: Annotated[tuple[str, ...], Field(min_length=1, max_length=4)]
    windows: Annotated[tuple[Duration, ...], Field(min_length=1, max_length=8)]
    what: Annotated[tuple[Literal["count", "ctr"], ...], Field(min_length=1)] = ("count", "ctr")
    smoothing: float = Field(default=20.0, ge=0, le=1e9)
    every: Duration = "1h"
    buckets: int = Field(default=32, ge=2, le=1024)

    @model_validator(mode="after")
    def _possible(self) -> Self:
        for name, given in (("by", self.by), ("what", self.what)):
            for one in given:
                if given.count(one) > 1:
                    raise ValueError(f"`{name}` lists '{one}' more than once")
        spans = [microseconds(window) for window in self.windows]
        for window, span in zip(self.windows, spans, strict=True):
            if span % microseconds(self.every):
                raise ValueError(f"the window '{window}' is no whole multiple of `every`, '{self.every}'; change one of them")
            if spans.count(span) > 1:
                raise ValueError(f"`windows` lists '{window}' more than once")
        return self

    @property
    def title(self) -> str:
        """What its fields' names begin with."""
        return "_x_".join(self.by)

    @property
    def features(self) -> tuple[str, ...]:
        """The names of its fields."""
        return tuple(self.feature(what, window) for what in self.what for window in self.windows)

    def feature(self, what: str, window: str) -> str:
        """The name of one of its fields, such as `item_ctr_7d`."""
        return f"{self.title}_{what}_{window}"

    def view(self, user: str, item: str) -> "AggregateView":
        """Its Feast view.

        Args:
            user: The user's key.
            item: The item's key.
        """
        columns = tuple({"user": user, "item": item}.get(name, name) for name in self.by)
        # Other settings mean other numbers: they get a view of their own, and a model in service never meets them.
        meaning = json.dumps([columns, microseconds(self.every), self.smoothing])
        return AggregateView(
            name=f"{self.title}_aggregates_{hashlib.sha256(meaning.encode()).hexdigest()[:8]}",
            columns=columns,
            join_keys=tuple(column if column in {user, item} else JOIN_KEY + column for column in columns),
            features=self.features,
        )


class AggregateView(Frozen):
    """The Feast view of an aggregate.

    Attributes:
        name: The view's.
        columns: Of a record: what it is looked up by.
        join_keys: Of the view: what these columns are called there.
        features: The numbers that it gives.
    """

    name: str
    columns: tuple[str, ...]
    join_keys: tuple[str, ...]
    features: tuple[str, ...]

    @property
    def named(self) -> tuple[tuple[str, str], ...]:
        """Its join keys, each with the column that it is."""
        return tuple(zip(self.join_keys, self.columns, strict=True))


def check_aggregates(dataset: "DatasetSpec") -> None:
    """Makes sure that a data set's aggregates can be made, and that no name is taken twice.

    Raises:
        ValueError: If a field is none to count by, a window is longer than what a run sees, or a name is taken or too long.
    """
    countable = {"user", "item", *(field.name for field in dataset.all_fields if field.kind == "categorical")}
    taken = {field.name.lower() for field in dataset.all_fields}
    views: set[str] = set()
    for aggregate in dataset.aggregates:
        for name in aggregate.by:
            if name in {dataset.user, dataset.item} and name not in {"user", "item"}:
                word = "user" if name == dataset.user else "item"
                raise ValueError(f"`aggregates` counts by the key '{name}'; write `{word}`")
            if name not in countable:
                raise ValueError(f"`aggregates` counts by '{name}', which is neither user nor item nor a categorical field")
        days = dataset.window.days
        for window in aggregate.windows:
            if days is not None and microseconds(window) > days * microseconds("1d"):
                raise ValueError(
                    f"`aggregates` looks back '{window}', and a run sees {days} days; shorten that, or raise `window.days`"
                )
        view = aggregate.view(dataset.user, dataset.item).name
        if view in views:
            raise ValueError(f"`aggregates` counts by {list(aggregate.by)} twice; put the windows into one entry")
        views.add(view)
        for name in (*aggregate.features, *aggregate.view(dataset.user, dataset.item).join_keys):
            if name in {dataset.user, dataset.item}:
                continue
            if len(name) > LONGEST_NAME:
                raise ValueError(f"the aggregate '{name}' has a name of more than {LONGEST_NAME} characters; count by less")
            if name.lower() in taken:
                raise ValueError(f"the name of the aggregate '{name}' is taken; rename the other field with `columns`")
        taken |= {name.lower() for name in aggregate.features}
