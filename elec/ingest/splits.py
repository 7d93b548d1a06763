"""Splits rows into train, valid and test: by time, by a hash of the row, or as a column says."""

# ruff: noqa: S608 - names and paths are quoted by elec.ingest.sql, everything else is a number of ours

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from elec.errors import InputError
from elec.ingest.report import SPLITS
from elec.ingest.sql import Sql
from elec.ingest.times import Times
from elec.spec import Split

Int8 = npt.NDArray[np.int8]

#: What a split column may say, besides `train`, `valid` and `test` themselves.
SYNONYMS = {
    "train": 0,
    "training": 0,
    "valid": 1,
    "val": 1,
    "validation": 1,
    "dev": 1,
    "test": 2,
    "testing": 2,
}


@dataclass(frozen=True)
class Boundaries:
    """The first valid event and the first test event, microseconds since 1970."""

    valid: int
    test: int

    def split_of(self, times: npt.NDArray[np.int64]) -> Int8:
        """Position in `SPLITS` of each row."""
        return (times >= self.valid).astype(np.int8) + (times >= self.test)


def by_column(cells: pa.Array) -> Int8:
    """Position in `SPLITS` of each row, as its cell says; -1 where it says something else."""
    words = pc.utf8_lower(pc.utf8_trim_whitespace(cells))
    position = pc.index_in(words, pa.array(list(SYNONYMS))).fill_null(-1).to_numpy(zero_copy_only=False)
    codes: Int8 = np.array([*SYNONYMS.values(), -1], dtype=np.int8)[position]
    return codes


def by_hash(rows: pa.Table, split: Split, database: Sql) -> Int8:
    """Position in `SPLITS` of each row by a hash of its content, so that order, format and other rows do not matter.

    Args:
        rows: The columns that make the row.
        split: The shares and the seed.
        database: Computes MD5.
    """
    hashed = hash_rows(rows, database, salt=f"split {split.seed}")
    share = hashed.astype(np.float64) / 2.0**64
    return (share < split.valid + split.test).astype(np.int8) + (share < split.test)


def hash_rows(rows: pa.Table, database: Sql, salt: str = "") -> npt.NDArray[np.uint64]:
    """64 bits of the MD5 of each row's cells: the same whatever the format, the machine and the version."""
    numbered = rows.rename_columns([f"c{position}" for position in range(rows.num_columns)])
    cells = ", ".join(f"coalesce({column}::VARCHAR, chr(0))" for column in numbered.column_names)
    found = database.query(
        f"SELECT md5_number_lower(concat_ws(chr(31), '{salt}', {cells})) AS hash FROM numbered", numbered=numbered
    )
    hashes: npt.NDArray[np.uint64] = found["hash"].to_numpy()
    return hashes


def identities(rows: pa.Table, database: Sql) -> npt.NDArray[np.uint64]:
    """DuckDB's hash of each row's cells, a tenth of MD5's cost; among 10^8 distinct rows, two collide with probability 3e-4.

    Equal for equal rows of one format and one version of DuckDB.
    """
    numbered = rows.rename_columns([f"c{position}" for position in range(rows.num_columns)])
    # As a list, NULL, [] and [NULL] have one hash.
    cells = [f"{column.name}::VARCHAR" if pa.types.is_nested(column.type) else column.name for column in numbered.schema]
    found = database.query(f"SELECT hash({', '.join(cells)}) AS hash FROM numbered", numbered=numbered)
    hashes: npt.NDArray[np.uint64] = found["hash"].to_numpy()
    return hashes


def boundaries(times: Times, split: Split, path: str) -> Boundaries:
    """Where valid and test begin, so that their shares are as close to the asked ones as equal times allow.

    Args:
        times: Of the kept rows.
        split: The shares.
        path: The log, for messages.

    Raises:
        InputError: If there are fewer than three distinct times.
    """
    second = times.after(times.first)
    third = times.after(second) if second is not None else None
    if second is None or third is None:
        distinct = 1 if second is None else 2
        raise InputError(
            f"{path}: its rows have {distinct} distinct event time{'s' if distinct > 1 else ''}, too few to split by time; "
            "set `split: {by: random}`, or check `timestamp`"
        )
    test, before = _boundary(times, times.total, round(times.total * split.test), least=third)
    valid, _ = _boundary(times, before, round(times.total * split.valid), least=second)
    return Boundaries(valid=valid, test=test)


def _boundary(times: Times, total: int, wanted: int, *, least: int) -> tuple[int, int]:
    """The time from which on there are about `wanted` of the earliest `total` rows, at the least `least`.

    Returns:
        The time, and how many rows are earlier.
    """
    wanted = min(max(wanted, 1), total - 1)
    at = times.at(total - wanted)
    earlier, upto = times.before(at), times.before(at + 1)
    if total > upto and abs(total - earlier - wanted) > abs(total - upto - wanted):
        following = times.after(at)
        assert following is not None, "there are rows after it"
        at, earlier = following, upto
    return (at, earlier) if at >= least else (least, times.before(least))


def check_splits(path: str, split: Split, rows: dict[str, int], clicks: dict[str, int]) -> None:
    """Makes sure that each split can do its work.

    Raises:
        InputError: If a split is empty, or holds one class only.
    """
    way_out = {
        "time": "change the shares in `split`, or set `split: {by: random}`",
        "random": "change the shares or the seed in `split`, or give more rows",
        "column": f"check the column '{split.column}'",
    }[split.by]
    for name in SPLITS:
        if rows[name] == 0:
            raise InputError(f"{path}: no row is in the {name} split; {way_out}")
    for name in SPLITS:
        if clicks[name] in {0, rows[name]}:
            only = "only clicks" if clicks[name] else "no click"
            raise InputError(
                f"{path}: the {name} split ({rows[name]:,} rows) holds {only}, and both classes are needed; {way_out}"
            )
