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
    """64 bits of the MD5 of each row's cells; among 10^8 distinct rows, two collide with probability 3e-4."""
    numbered = rows.rename_columns([f"c{position}" for position in range(rows.num_columns)])
    cells = ", ".join(f"coalesce({column}::VARCHAR, chr(0))" for column in numbered.column_names)
    found = database.query(
        f"SELECT md5_number_lower(concat_ws(chr(31), '{salt}', {cells})) AS hash FROM numbered", numbered=numbered
    )
    hashes: npt.NDArray[np.uint64] = found["hash"].to_numpy()
    return hashes


def boundaries(database: Sql, split: Split, path: str) -> Boundaries:
    """Where valid and test begin, so that their shares are as close to the asked ones as equal times allow.

    Args:
        database: Has the kept rows as `rows`.
        split: The shares.
        path: The log, for messages.

    Raises:
        InputError: If there are fewer than three distinct times.
    """
    (total,) = database.one("SELECT count(*) FROM rows")
    (distinct,) = database.one("SELECT count(*) FROM (SELECT DISTINCT event_timestamp FROM rows LIMIT 3)")
    if distinct < 3:
        raise InputError(
            f"{path}: its rows have {distinct} distinct event time{'s' if distinct > 1 else ''}, too few to split by time; "
            "set `split: {by: random}`, or check `timestamp`"
        )
    test = _boundary(database, "true", total, round(total * split.test), at_least_before=2)
    (before,) = database.one(f"SELECT count(*) FROM rows WHERE event_timestamp < {test}")
    valid = _boundary(database, f"event_timestamp < {test}", before, round(total * split.valid), at_least_before=1)
    return Boundaries(valid=valid, test=test)


def _boundary(database: Sql, among: str, total: int, wanted: int, *, at_least_before: int) -> int:
    """The time from which on there are about `wanted` rows, with enough distinct times before it for the other splits."""
    wanted = min(max(wanted, 1), total - 1)
    (at,) = database.one(
        f"SELECT event_timestamp FROM rows WHERE {among} ORDER BY event_timestamp LIMIT 1 OFFSET {total - wanted}"
    )
    (earlier, upto, after) = database.one(
        f"""SELECT count(*) FILTER (event_timestamp < {at}), count(*) FILTER (event_timestamp <= {at}),
            min(event_timestamp) FILTER (event_timestamp > {at}) FROM rows WHERE {among}"""
    )
    (lowest,) = database.one(
        f"""SELECT max(event_timestamp) FROM (SELECT DISTINCT event_timestamp FROM rows
            ORDER BY event_timestamp LIMIT {at_least_before + 1})"""
    )
    with_equal, without_equal = total - earlier, total - upto
    first = at if after is None or abs(with_equal - wanted) <= abs(without_equal - wanted) else after
    return int(max(first, lowest))


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
