"""The quarantine: which rows are refused and why, counted, with an example of each reason."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from elec.errors import BlockedError, InputError
from elec.ingest.batches import RAW_LENGTH, Int64, RawBatch
from elec.ingest.cells import Mask
from elec.ingest.window import Outside
from elec.ingest.writing import RowWriter

SCHEMA = pa.schema([("file", pa.string()), ("line", pa.int64()), ("reason", pa.string()), ("raw", pa.string())])
#: Refused rows of one file while they wait; `time` says whether a run sees them.
REFUSED = pa.schema([("line", pa.int64()), ("reason", pa.string()), ("raw", pa.string()), ("time", pa.int64())])
#: The time of a row that has none: every run sees it.
UNKNOWN = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Reason:
    """Why a row is refused.

    Attributes:
        text: The column and what is wrong with it, the same for all such rows.
        way_out: What to change if all rows are like this.
    """

    text: str
    way_out: str


class Checks:
    """What was found wrong with the rows of one batch; the first finding counts.

    Args:
        rows: How many rows.
    """

    def __init__(self, rows: int) -> None:
        self._code = np.zeros(rows, dtype=np.int16)
        self.reasons: list[Reason] = []

    def refuse(self, mask: Mask, reason: Reason) -> None:
        """Refuses the marked rows."""
        if mask.any():
            self.reasons.append(reason)
            self._code[mask & (self._code == 0)] = len(self.reasons)

    def pardon(self, mask: Mask) -> None:
        """Takes back what was found wrong with the marked rows."""
        self._code[mask] = 0

    @property
    def refused(self) -> Mask:
        """Which rows are refused."""
        return self._code > 0

    def reason_of(self, positions: np.ndarray) -> list[Reason]:
        """The reasons of refused rows."""
        return [self.reasons[code - 1] for code in self._code[positions].tolist()]


def refused_rows(batch: RawBatch, checks: Checks, times: Int64 | None = None) -> tuple[pa.Table, dict[str, str]]:
    """The refused rows of a batch, in the order of their lines.

    Args:
        batch: The rows.
        checks: What is wrong with them.
        times: When they happened, [N] microseconds since 1970, `UNKNOWN` where that is not known.

    Returns:
        The rows as `REFUSED` says, and the way out of each reason.
    """
    positions = np.flatnonzero(checks.refused)
    if len(positions) == 0 and not batch.broken:
        return REFUSED.empty_table(), {}
    reasons = checks.reason_of(positions)
    lines = [*batch.lines[positions].tolist(), *(row.line for row in batch.broken)]
    raw = [*(batch.raw(positions) if len(positions) else []), *(row.raw for row in batch.broken)]
    known = np.full(len(lines), UNKNOWN, dtype=np.int64)
    if times is not None:
        known[: len(positions)] = times[positions]
    table = pa.table(
        {
            "line": pa.array(lines, pa.int64()),
            "reason": pa.array([*(reason.text for reason in reasons), *(row.reason for row in batch.broken)], pa.string()),
            "raw": pa.array([text[:RAW_LENGTH] for text in raw], pa.string()),
            "time": pa.array(known),
        }
    )
    ways_out = {row.reason: "correct the lines, or `path`, `format` and `encoding`" for row in batch.broken}
    ways_out.update((reason.text, reason.way_out) for reason in checks.reasons)
    return table.take(pa.array(np.argsort(np.array(lines), kind="stable"))), ways_out


class Quarantine:
    """Writes refused rows to a file, and keeps count per source.

    Args:
        path: The Parquet file.
    """

    def __init__(self, path: Path) -> None:
        self._writer = RowWriter(path, SCHEMA)

    @property
    def rows(self) -> int:
        """How many rows are in it."""
        return self._writer.rows

    def close(self) -> None:
        """Completes the file."""
        self._writer.close()

    def add(self, file: str, rows: pa.Table, ways_out: dict[str, str], account: "Account") -> None:
        """Writes refused rows of a file, and counts them.

        Args:
            file: The file.
            rows: As `refused_rows` gives them.
            ways_out: Of each reason.
            account: Of the file's source.
        """
        if len(rows) == 0:
            return
        found = pc.value_counts(rows["reason"].combine_chunks())
        for count in found.to_pylist():
            reason = count["values"]
            if reason not in account.reasons:
                first = rows.slice(pc.index(rows["reason"], reason).as_py(), 1).to_pylist()[0]
                account.examples[reason] = Example(Reason(reason, ways_out[reason]), file, first["line"], first["raw"])
            account.reasons[reason] += count["counts"]
        self._writer.write(rows.append_column("file", pa.repeat(pa.scalar(file), len(rows))))


@dataclass(frozen=True)
class Example:
    """The first row that was refused for a reason."""

    reason: Reason
    file: str
    line: int
    raw: str

    def shown(self, path: str) -> str:
        """The line for a message that names the source already."""
        raw = self.raw if len(self.raw) <= 80 else f"{self.raw[:77]}..."
        return f"{'' if self.file == path else f'{self.file}, '}line {self.line}: '{raw}'"


class Account:
    """Counts the rows of one source: the log, or a side table."""

    def __init__(self) -> None:
        self.read = 0
        self.kept = 0
        self.dropped = 0
        self.outside = Outside()
        self.reasons: Counter[str] = Counter()
        self.examples: dict[str, Example] = {}

    @property
    def refused(self) -> int:
        """Rows in the quarantine."""
        return self.reasons.total()

    def judge(self, path: str, max_bad_share: float) -> None:
        """Ends the run if too much of a source is refused.

        Args:
            path: The source, for messages.
            max_bad_share: The largest share of refused rows that is let through.

        Raises:
            InputError: If every row is refused for the same reason: the spec does not fit the file.
            BlockedError: If the share is larger.
        """
        if self.refused == 0:
            return
        top = self.reasons.most_common(3)
        if self.refused == self.read and len(self.reasons) == 1:
            example = self.examples[top[0][0]]
            raise InputError(
                f"{path}: every row ({self.read:,}) is refused, {top[0][0]} ({example.shown(path)}); {example.reason.way_out}"
            )
        share = self.refused / self.read
        if share > max_bad_share:
            why = "; ".join(f"{count:,} x {reason} ({self.examples[reason].shown(path)})" for reason, count in top)
            more = f"; and {len(self.reasons) - 3} more reasons" if len(self.reasons) > 3 else ""
            raise BlockedError(
                f"{path}: {self.refused:,} of {self.read:,} rows ({share:.1%}) are refused, more than max_bad_share "
                f"({max_bad_share:.1%}): {why}{more}; correct them, or raise `max_bad_share`"
            )
