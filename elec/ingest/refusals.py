"""What is in a quarantine, for people: how many rows of each reason, and what some of them look like."""

# ruff: noqa: S608 - names and paths are quoted by elec.ingest.sql, everything else is a number of ours

import tempfile
from dataclasses import dataclass
from pathlib import Path

from elec.ingest.sql import Sql, text


@dataclass(frozen=True)
class Refusal:
    """A reason.

    Attributes:
        reason: In words.
        rows: How many rows are refused for it.
        examples: File, line and text of the first ones.
    """

    reason: str
    rows: int
    examples: tuple[tuple[str, int, str], ...]


def refusals(path: Path, examples: int = 2) -> list[Refusal]:
    """Summarises a quarantine, the most frequent reason first; memory stays bounded whatever its size.

    Args:
        path: `quarantine.parquet`.
        examples: Rows to show of each reason.
    """
    with tempfile.TemporaryDirectory(prefix="elec-quarantine-") as spill:
        database = Sql(Path(spill))
        try:
            found = database.query(
                f"""SELECT reason, count(*) AS rows,
                        min({{'file': file, 'line': line, 'raw': raw}}, {examples}) AS examples
                    FROM read_parquet({text(str(path))}) GROUP BY reason ORDER BY rows DESC, reason"""
            ).to_pylist()
        finally:
            database.close()
    return [
        Refusal(row["reason"], row["rows"], tuple((one["file"], one["line"], one["raw"]) for one in row["examples"]))
        for row in found
    ]
