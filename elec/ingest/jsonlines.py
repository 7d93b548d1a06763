"""Reads JSON lines: every scalar as text, exactly as written (ids beyond 2^53 included), arrays as lists of text."""

# ruff: noqa: S608 - names and paths are quoted by elec.ingest.sql, everything else is a number of ours

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from elec.errors import InputError
from elec.ingest import sql
from elec.ingest.batches import Broken, Needed, RawBatch, check_columns
from elec.ingest.lines import MARK, read_lines
from elec.ingest.sources import SourceFile
from elec.spec import Source

_WHY = {"json": "not valid JSON", "object": "not a JSON object"}


class JsonLines:
    """Reads a JSON-lines file.

    Args:
        database: Parses the lines.
        source: How to read them.
        needed: The columns that the spec names.
        advance: Called with the number of stored bytes read.
        keys: Takes the keys that lines have.
    """

    def __init__(
        self,
        database: sql.Sql,
        source: Source,
        needed: Sequence[Needed],
        advance: Callable[[int], None],
        keys: dict[str, None],
    ) -> None:
        self._database = database
        self._source = source
        self._needed = needed
        self._advance = advance
        self._keys = keys
        self._sql = _cells_sql(needed)

    def read(self, file: SourceFile) -> Iterator[RawBatch]:
        """Reads one file.

        Raises:
            InputError: If the file is no JSON lines, or lacks the label, the time or a key.
        """
        good = 0
        for block in read_lines(file, self._source.encoding, self._advance):
            lines = block.array
            filled = np.flatnonzero(pc.not_equal(pc.utf8_trim_whitespace(lines), "").to_numpy(zero_copy_only=False))
            if len(filled) == 0:
                continue
            batch = self._parse(file.uri, lines.take(pa.array(filled)), filled + block.first, block.marked)
            if good == 0 and len(batch.lines) == 0:
                raise InputError(_no_objects(file, batch.broken[0]))
            if good == 0:
                required = [column for column in self._needed if column.required]
                check_columns(file.uri, list(self._keys), required)
            good += len(batch.lines)
            yield batch

    def _parse(self, file: str, lines: pa.Array, numbers: np.ndarray, marked: bool) -> RawBatch:
        parsed = self._database.query(self._sql, lines=pa.table({"line": lines}))
        self._keys.update(dict.fromkeys(self._found(lines.filter(parsed["state"].combine_chunks().is_null()))))
        state = parsed["state"].combine_chunks()
        if marked:
            broken_bytes = pc.match_substring(lines, MARK)
            state = pc.if_else(broken_bytes, f"bytes that are not {self._source.encoding}", state)
        good = np.flatnonzero(state.is_null().to_numpy(zero_copy_only=False))
        bad = np.flatnonzero(state.is_valid().to_numpy(zero_copy_only=False))
        kept = lines.take(pa.array(good))
        return RawBatch(
            file=file,
            table=parsed.drop_columns("state").rename_columns([column.column for column in self._needed]).take(pa.array(good)),
            identity=pa.table({"line": kept}),
            lines=numbers[good],
            index=good,
            rows=len(lines),
            raw=lambda positions: kept.take(pa.array(positions)).to_pylist(),
            broken=[
                Broken(int(number), _WHY.get(why, why), raw.replace(MARK, "\ufffd"))
                for number, why, raw in zip(
                    numbers[bad].tolist(),
                    state.take(pa.array(bad)).to_pylist(),
                    lines.take(pa.array(bad)).to_pylist(),
                    strict=True,
                )
            ],
        )

    def _found(self, lines: pa.Array) -> list[str]:
        """The keys of JSON objects, in order of appearance."""
        missing = [column for column in self._needed if column.column not in self._keys]
        if self._keys and not missing:
            return []
        keys = self._database.query(
            "SELECT key FROM (SELECT unnest(json_keys(line)) AS key FROM lines) GROUP BY key ORDER BY key",
            lines=pa.table({"line": lines}),
        )
        found: list[str] = keys["key"].to_pylist()
        return found


def _cells_sql(needed: Sequence[Needed]) -> str:
    """One query that parses a line once: why it is refused (or null), then a column for each needed key."""
    pointers = ["/" + column.column.replace("~", "~0").replace("/", "~1") for column in needed]
    paths = "[" + ", ".join(sql.text(pointer) for pointer in pointers) + "]"
    cells = []
    for position, column in enumerate(needed, start=1):
        cell, kind = f"cells[{position}]", f"kinds[{position}]"
        # Writers of floats say 196.0 where they mean 196.
        plain = f"nullif(CASE WHEN {kind} = 'DOUBLE' THEN regexp_replace({cell}, '\\.0$', '') ELSE {cell} END, '')"
        if column.separator is not None:
            plain = (
                f"CASE WHEN {kind} = 'ARRAY' THEN from_json({cell}, '[\"VARCHAR\"]') "
                f"ELSE string_split({plain}, {sql.text(column.separator)}) END"
            )
        cells.append(f"{plain} AS c{position}")
    return f"""
        WITH checked AS (
            SELECT line, CASE WHEN NOT json_valid(line) THEN 'json' WHEN json_type(line) <> 'OBJECT' THEN 'object' END AS state
            FROM lines
        ), parsed AS (
            SELECT state,
                CASE WHEN state IS NULL THEN json_extract_string(line, {paths}) END AS cells,
                CASE WHEN state IS NULL THEN json_type(line, {paths}) END AS kinds
            FROM checked
        )
        SELECT state, {", ".join(cells)} FROM parsed
    """


def _no_objects(file: SourceFile, first: Broken) -> str:
    if first.raw.lstrip().startswith("["):
        return f"{file.uri}: starts with '[', so it is one JSON array; write one object a line (JSON lines)"
    return f"{file.uri}, line {first.line}: no line is a JSON object (the line: '{first.raw[:80]}'); check `path` and `format`"
