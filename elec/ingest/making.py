"""Writes the segment of a file while its rows are read and checked."""

from pathlib import Path
from types import TracebackType
from typing import IO, Self

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from elec.ingest.checked import Checker, Found
from elec.ingest.duplicates import write_repeated
from elec.ingest.quarantine import REFUSED
from elec.ingest.segment import DROPPED, IDENTITY, META, REFUSED_ROWS, REPEATED, ROWS, Meta, Segment, firsts_name
from elec.ingest.sources import SourceFile
from elec.ingest.writing import RowWriter
from elec.spec import Entity

#: Keys that wait for the same ones, some 100 bytes each.
_WAITING = 250_000


class SegmentWriter:
    """Writes a segment.

    Args:
        file: Whose rows they are.
        folder: An empty folder.
        checker: What the kept rows' columns are.
        base: The `row_id` of the file's first row.
    """

    def __init__(self, file: SourceFile, folder: Path, checker: Checker, base: int) -> None:
        self._file, self._folder, self._base = file, folder, base
        self._rows = RowWriter(folder / ROWS, checker.schema)
        self._refused = RowWriter(folder / REFUSED_ROWS, REFUSED)
        self._identities: IO[bytes] = (folder / IDENTITY).open("wb")
        self._dropped: IO[bytes] = (folder / DROPPED).open("wb")
        self._firsts: dict[Entity, Firsts] = {}
        self._read = self._left_out = 0
        self._ways_out: dict[str, str] = {}
        self._known: list[int] = []
        self._times: list[int] = []
        self._future: list[int] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._identities.close()
        self._dropped.close()

    def add(self, found: Found) -> None:
        """Adds what was found in the next batch."""
        position = found.kept.schema.get_field_index("row_id")
        ids = pa.array(found.kept["row_id"].to_numpy() + (self._base + self._read))
        self._rows.write(found.kept.set_column(position, "row_id", ids))
        found.identity.tofile(self._identities)
        times = found.kept["event_timestamp"].to_numpy()
        self._times += [int(times.min()), int(times.max())] if len(times) else []
        self._refused.write(found.refused)
        found.dropped.tofile(self._dropped)
        for entity, table in found.firsts.items():
            if entity not in self._firsts:
                self._firsts[entity] = Firsts(self._folder / firsts_name(entity), table.schema)
            self._firsts[entity].add(table)
        self._ways_out.update(found.ways_out)
        self._read += found.rows
        self._left_out += len(found.dropped)
        self._known += [time for time in (found.first, found.last) if time is not None]
        self._future += [found.future] if found.future is not None else []

    def finish(self, seen: tuple[str, ...]) -> Segment:
        """Completes the segment.

        Args:
            seen: The keys that JSON lines have.
        """
        for writer in (self._rows, self._refused, self._identities, self._dropped):
            writer.close()
        for firsts in self._firsts.values():
            firsts.close()
        folder = self._folder
        meta = Meta(
            base=self._base,
            read=self._read,
            kept=self._rows.rows,
            refused=self._refused.rows,
            dropped=self._left_out,
            repeated=0,
            low=min(self._times, default=None),
            high=max(self._times, default=None),
            first=min(self._known, default=None),
            last=max(self._known, default=None),
            future=min(self._future, default=None),
            ways_out=self._ways_out,
            clicks=_clicks(folder / ROWS),
            seen=seen,
            sizes={},
        )
        found = meta.kept + meta.refused + meta.dropped
        assert meta.read == found, f"{self._file.uri}: {meta.read} rows read, {found} accounted for"
        repeated = write_repeated(Segment(self._file, folder, meta), folder / REPEATED)
        sizes = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
        meta = meta.model_copy(update={"repeated": repeated, "sizes": sizes})
        (folder / META).write_bytes(meta.model_dump_json().encode())
        return Segment(self._file, folder, meta)


class Firsts:
    """Writes when each key was first seen. Of no more keys than `_WAITING` each is written once, of more some more often.

    Args:
        path: The Parquet file.
        schema: The key and the time.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._writer = pq.ParquetWriter(path, schema, compression="zstd", use_dictionary=False)
        self._schema = schema
        self._waiting: list[pa.Table] = []
        self._rows = 0

    def add(self, table: pa.Table) -> None:
        """Adds keys."""
        self._waiting.append(table)
        self._rows += len(table)
        if self._rows > 2 * _WAITING:
            self._merge()
            if self._rows > _WAITING:
                self._write()

    def close(self) -> None:
        """Writes what is left and completes the file."""
        if self._waiting:
            self._merge()
            self._write()
        self._writer.close()

    def _merge(self) -> None:
        key, moment = self._schema.names
        # One thread: the order of the keys is that in which they come up.
        grouped = pa.concat_tables(self._waiting).group_by(key, use_threads=False).aggregate([(moment, "min")])
        merged = pa.table([grouped[key], grouped[f"{moment}_min"]], schema=self._schema)
        self._waiting, self._rows = [merged], len(merged)

    def _write(self) -> None:
        for table in self._waiting:
            self._writer.write_table(table)
        self._waiting, self._rows = [], 0


def _clicks(path: Path) -> tuple[int, ...]:
    """Labels that are 1 in each row group; none where rows have no label."""
    with pq.ParquetFile(path) as file:
        if "label" not in file.schema_arrow.names:
            return ()
        labels = (file.read_row_group(number, columns=["label"])["label"] for number in range(file.num_row_groups))
        return tuple(int(pc.sum(column).as_py()) for column in labels)
