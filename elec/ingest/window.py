"""What a run sees of a log: events of a look-back up to `as_of`, and of those only the ones whose label is known."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

#: Earlier than any event.
ALL = -(1 << 62)


@dataclass(frozen=True)
class Window:
    """Times are microseconds since 1970.

    Attributes:
        as_of: Later events are invisible.
        now: Later events cannot be; they are mistakes.
        since: Events up to here are too old.
        closed: Events after it, up to `as_of`, may still get their label; `as_of` itself where all labels are known.
    """

    as_of: int
    now: int
    since: int = ALL
    closed: int = 1 << 62

    @property
    def last(self) -> int:
        """The latest time of a row that is kept."""
        return min(self.as_of, self.closed)

    def holds(self, first: int, last: int) -> bool:
        """Whether all events between two times are kept."""
        return self.since < first and last <= self.last

    def visible(self, times: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
        """Which of the times are kept."""
        seen: npt.NDArray[np.bool_] = (times > self.since) & (times <= self.last)
        return seen

    def outside(self, times: npt.NDArray[np.int64]) -> "Outside":
        """How many of the times are not kept, and why."""
        late, old = times > self.as_of, times <= self.since
        return Outside(int(late.sum()), int(old.sum()), int(((times > self.last) & ~late & ~old).sum()))

    def condition(self, column: str) -> str:
        """The window as a condition of SQL."""
        return f"({column} > {self.since} AND {column} <= {self.last})"


@dataclass
class Outside:
    """Rows that are not kept because of their time.

    Attributes:
        after_as_of: Later than `as_of`.
        before_window: Older than the look-back.
        open: Their label is not known yet.
    """

    after_as_of: int = 0
    before_window: int = 0
    open: int = 0

    @property
    def total(self) -> int:
        """All of them."""
        return self.after_as_of + self.before_window + self.open

    def add(self, other: "Outside") -> None:
        """Adds counts."""
        self.after_as_of += other.after_as_of
        self.before_window += other.before_window
        self.open += other.open
