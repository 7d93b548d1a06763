"""The quarantine: which rows are refused and why, counted, with an example of each reason."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from elec.errors import BlockedError, InputError
from elec.ingest.batches import RAW_LENGTH, RawBatch
from elec.ingest.cells import Mask
from elec.ingest.writing import RowWriter

SCHEMA = pa.schema([("file", pa.string()), ("line", pa.int64()), ("reason", pa.string()), ("raw", pa.string())])


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


class Quarantine:
    """Writes refused rows to a file, and keeps count per source.

    Args:
        path: The Parquet file.
    """

    def __init__(self, path: Path) -> None:
        self._writer = RowWriter(path, SCHEMA)

    def close(self) -> None:
        """Completes the file."""
        self._writer.close()

    def add(self, batch: RawBatch, checks: Checks, account: "Account") -> None:
        """Writes the refused rows of a batch, in the order of their lines."""
        positions = np.flatnonzero(checks.refused)
        reasons = checks.reason_of(positions)
        found = list(zip(batch.lines[positions].tolist(), reasons, batch.raw(positions) if len(positions) else [], strict=True))
        found += [
            (row.line, Reason(row.reason, "correct the lines, or `path`, `format` and `encoding`"), row.raw)
            for row in batch.broken
        ]
        if not found:
            return
        found.sort(key=lambda row: row[0])
        for line, reason, raw in found:
            account.reasons[reason.text] += 1
            account.examples.setdefault(reason.text, Example(reason, batch.file, line, raw))
        self._writer.write(
            pa.table(
                {
                    "file": pa.array([batch.file] * len(found), pa.string()),
                    "line": pa.array([line for line, _, _ in found], pa.int64()),
                    "reason": pa.array([reason.text for _, reason, _ in found], pa.string()),
                    "raw": pa.array([raw[:RAW_LENGTH] for _, _, raw in found], pa.string()),
                }
            )
        )


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
        self.after_as_of = 0
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
