"""Raw rows in batches, as the readers of all formats give them, and the checks on column names that they share."""

import difflib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from elec.errors import InputError

Int64 = npt.NDArray[np.int64]

#: Characters of a refused row that the quarantine keeps.
RAW_LENGTH = 2000


@dataclass(frozen=True)
class Needed:
    """A column that the spec names.

    Attributes:
        column: Its name in the file.
        key: The spec's key that names it, for messages (`label.rule`).
        required: Whether a row without it is of no use.
        separator: Between the values of a multi-valued field held as text; None for all other columns.
    """

    column: str
    key: str
    required: bool = False
    separator: str | None = None


@dataclass(frozen=True)
class Broken:
    """A row that has no columns to speak of: its line, why, and what it looked like."""

    line: int
    reason: str
    raw: str


@dataclass
class RawBatch:
    """Consecutive rows of one file.

    Attributes:
        file: Where they come from.
        table: The rows that could be read, [N]: text columns from text formats, the file's own types from Parquet.
        identity: Columns that are equal for rows that are equal, [N].
        lines: Line (or, for Parquet, row) numbers from 1, [N].
        index: Positions among all rows of the batch, broken ones included, [N].
        rows: How many rows, broken ones included.
        raw: Gives the text of the rows at the asked positions of `table`.
        broken: The others.
    """

    file: str
    table: pa.Table
    identity: pa.Table
    lines: Int64
    index: Int64
    rows: int
    raw: Callable[[Int64], Sequence[str]]
    broken: list[Broken] = field(default_factory=list)


def check_columns(file: str, found: Sequence[str], needed: Sequence[Needed], hint: str = "") -> None:
    """Makes sure that a file has the columns that the spec names.

    Args:
        file: The file, for messages.
        found: Its columns.
        needed: The columns that the spec names.
        hint: What else may be wrong, for the message.

    Raises:
        InputError: If one is missing, or a name is there twice.
    """
    for column in needed:
        if column.column not in found:
            close = difflib.get_close_matches(column.column, found, n=1)
            meant = f"did you mean '{close[0]}'? " if close else ""
            raise InputError(
                f"{file}: there is no column '{listed([column.column])}' (named by {column.key}); "
                f"{meant}found: {listed(found)}{hint}"
            )
        if found.count(column.column) > 1:
            raise InputError(f"{file}: the column '{column.column}' is there twice; rename one, or name all with `columns`")


def listed(names: Sequence[str], most: int = 20) -> str:
    """Names for a message, not too many and not too long."""
    shown = ", ".join(name if len(name) <= 40 else f"{name[:37]}..." for name in names[:most])
    return f"{shown} and {len(names) - most} more" if len(names) > most else shown
