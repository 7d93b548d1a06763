"""Segments: what was read and checked of one file, kept by content, so that a later run reads new files only.

A segment does not depend on `as_of`: it holds every row of its file, and the window is applied when segments are put together.
"""

import contextlib
import hashlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict, ValidationError

from elec import storage
from elec.ingest.batches import Int64
from elec.ingest.checked import Checker
from elec.ingest.parallel import in_order
from elec.ingest.quarantine import REFUSED
from elec.ingest.reading import check_seen, read_file
from elec.ingest.sources import SourceFile, file_identity
from elec.ingest.sql import Sql
from elec.ingest.writing import RowWriter
from elec.progress import Progress

#: Raised whenever a segment's content changes its meaning.
_SCHEMA = 1

_UNUSED_SECONDS = 30 * 86_400

_META = "segment.json"
_ROWS = "rows.parquet"
_REFUSED = "refused.parquet"
_DROPPED = "dropped.bin"
_IDENTITY = "identity.bin"


class Meta(BaseModel):
    """What `segment.json` says.

    Attributes:
        base: The `row_id` of the file's first row.
        read: Rows of the file.
        kept: Of them, right ones.
        refused: Of them, wrong ones.
        dropped: Of them, left out by rule.
        first: Earliest known time.
        last: Latest known time not in the future of the run that read the file.
        future: Earliest time in the future of that run; such rows are among the refused ones.
        ways_out: Of the reasons of refused rows.
        clicks: Labels that are 1, of each row group of the kept rows.
        seen: Keys that JSON lines have.
        sizes: Bytes of the segment's files.
    """

    model_config = ConfigDict(frozen=True)

    base: int
    read: int
    kept: int
    refused: int
    dropped: int
    first: int | None
    last: int | None
    future: int | None
    ways_out: dict[str, str]
    clicks: tuple[int, ...]
    seen: tuple[str, ...]
    sizes: dict[str, int]


@dataclass(frozen=True)
class Segment:
    """One file's rows.

    Attributes:
        file: The file.
        folder: Where the segment is.
        meta: Its counts.
    """

    file: SourceFile
    folder: Path
    meta: Meta

    @property
    def rows(self) -> Path:
        """The kept rows."""
        return self.folder / _ROWS

    def identity(self, begin: int, count: int) -> npt.NDArray[np.uint64]:
        """A hash of each of `count` kept rows from a position on."""
        return np.fromfile(self.folder / _IDENTITY, dtype=np.uint64, count=count, offset=8 * begin)

    def dropped(self) -> Int64:
        """The times of the rows left out by rule."""
        return np.fromfile(self.folder / _DROPPED, dtype=np.int64)

    def refused(self) -> Iterator[pa.Table]:
        """The refused rows, a batch at a time."""
        if self.meta.refused:
            with pq.ParquetFile(self.folder / _REFUSED) as file:
                for batch in file.iter_batches():
                    yield pa.Table.from_batches([batch])


class Segments:
    """Makes the segments of a source, or finds them made.

    Args:
        database: For the readers and the checks.
        checker: What is right.
        work: A folder for what is not kept.
        kept: Where segments are kept between runs, a folder or an `s3://` URI; None for nowhere.
    """

    def __init__(self, database: Sql, checker: Checker, work: Path, kept: str | None) -> None:
        self._database = database
        self._checker = checker
        self._work = work
        self._kept = kept
        settings = [_SCHEMA, version("duckdb"), checker.settings]
        self._key = hashlib.sha256(orjson.dumps(settings, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]

    def of(self, files: list[SourceFile], now: int, what: str) -> list[Segment]:
        """The segments of files, in their order.

        Args:
            files: From `find_files`.
            now: Later times are in the future, microseconds since 1970.
            what: The work's name in the progress.

        Raises:
            InputError: If a file cannot be read as the spec says.
        """
        stored = base = 0
        found = []
        with Progress(what, unit="KB", total=sum(file.size for file in files) >> 10) as progress:

            def advance(size: int) -> None:
                nonlocal stored
                progress.advance(((stored + size) >> 10) - (stored >> 10), note=f"{base:,} rows")
                stored += size

            for number, file in enumerate(files):
                segment = self._one(file, number, base, now, advance)
                base += segment.meta.read
                found.append(segment)
            if base > 0:
                seen = dict.fromkeys(key for segment in found for key in segment.meta.seen)
                check_seen(files, self._checker.needed, seen)
        return found

    def _one(self, file: SourceFile, number: int, base: int, now: int, advance: Callable[[int], None]) -> Segment:
        here = self._work / f"{self._key}-{number}"
        if self._kept is None:
            here.mkdir()
            return Segment(file, here, self._make(file, base, now, here, advance))
        identity = file_identity(file)
        place = storage.join(self._kept, self._key, identity)
        segment = self._found(file, place, here, now)
        if segment is None:
            made = self._work / f"{self._key}-{number}-made"
            made.mkdir()
            meta = self._make(file, base, now, made, advance)
            segment = Segment(file, made, meta)
            # A file that somebody writes to is not what it was; its next state is read anew.
            # Two runs at once make the same segment: the first one's is as good, and in use.
            if file_identity(file) == identity and self._found(file, place, here, now) is None:
                storage.remove_folder(place)
                with contextlib.suppress(FileExistsError):
                    storage.publish_folder(made, place, last=_META)
            return segment
        advance(file.size)
        return segment if segment.meta.base == base else self._moved(segment, base, here)

    def _found(self, file: SourceFile, place: str, here: Path, now: int) -> Segment | None:
        """The kept segment, if there is one that is whole and says of no row that it is in the future which is not any more."""
        try:
            meta = Meta.model_validate_json(storage.read_bytes(storage.join(place, _META)))
        except (FileNotFoundError, ValidationError):
            return None
        if (meta.last is not None and meta.last > now) or (meta.future is not None and meta.future <= now):
            return None
        folder = storage.fetch_folder(place, here)
        whole = all((folder / name).is_file() and (folder / name).stat().st_size == size for name, size in meta.sizes.items())
        if whole:
            # Its age is since when nobody used it.
            os.utime(folder / _META)
        return Segment(file, folder, meta) if whole else None

    def _make(self, file: SourceFile, base: int, now: int, folder: Path, advance: Callable[[int], None]) -> Meta:
        """Reads and checks a file."""
        checker = self._checker
        seen: dict[str, None] = {}
        batches = read_file(self._database, file, checker.source, checker.needed, advance, seen)
        read = dropped = 0
        ways_out: dict[str, str] = {}
        first: list[int] = []
        last: list[int] = []
        future: list[int] = []
        with (
            RowWriter(folder / _ROWS, checker.schema) as rows,
            RowWriter(folder / _REFUSED, REFUSED) as refused,
            (folder / _IDENTITY).open("wb") as identities,
            (folder / _DROPPED).open("wb") as left_out,
        ):
            for found in in_order(partial(checker.check, self._database, now), batches):
                position = found.kept.schema.get_field_index("row_id")
                ids = pa.array(found.kept["row_id"].to_numpy() + (base + read))
                rows.write(found.kept.set_column(position, "row_id", ids))
                found.identity.tofile(identities)
                refused.write(found.refused)
                found.dropped.tofile(left_out)
                ways_out.update(found.ways_out)
                read += found.rows
                dropped += len(found.dropped)
                for values, value in ((first, found.first), (last, found.last), (future, found.future)):
                    if value is not None:
                        values.append(value)
        meta = Meta(
            base=base,
            read=read,
            kept=rows.rows,
            refused=refused.rows,
            dropped=dropped,
            first=min(first, default=None),
            last=max(last, default=None),
            future=min(future, default=None),
            ways_out=ways_out,
            clicks=_clicks(folder / _ROWS),
            seen=tuple(seen),
            sizes={name: (folder / name).stat().st_size for name in (_ROWS, _REFUSED, _IDENTITY, _DROPPED)},
        )
        assert read == meta.kept + meta.refused + meta.dropped, f"{file.uri}: {read} rows read, {meta} accounted for"
        (folder / _META).write_bytes(meta.model_dump_json().encode())
        return meta

    def _moved(self, segment: Segment, base: int, here: Path) -> Segment:
        """The segment with other row ids: a file before it has more or fewer rows than it had."""
        here.mkdir(exist_ok=True)
        rows = here / f"moved-{_ROWS}"
        with RowWriter(rows, self._checker.schema) as writer, pq.ParquetFile(segment.rows) as file:
            for batch in file.iter_batches():
                table = pa.Table.from_batches([batch])
                position = table.schema.get_field_index("row_id")
                ids = pa.array(table["row_id"].to_numpy() + (base - segment.meta.base))
                writer.write(table.set_column(position, "row_id", ids))
        for name in (_REFUSED, _IDENTITY, _DROPPED):
            if not (here / name).exists():
                (here / name).symlink_to((segment.folder / name).resolve())
        rows.replace(here / _ROWS)
        return Segment(segment.file, here, segment.meta.model_copy(update={"base": base}))


def _clicks(path: Path) -> tuple[int, ...]:
    """Labels that are 1 in each row group; none where rows have no label."""
    with pq.ParquetFile(path) as file:
        if "label" not in file.schema_arrow.names:
            return ()
        labels = (file.read_row_group(number, columns=["label"])["label"] for number in range(file.num_row_groups))
        return tuple(int(pc.sum(column).as_py()) for column in labels)


def forget(kept: str) -> None:
    """Removes the segments on disk that no run has used for 30 days; on S3 that is for a lifecycle rule.

    Args:
        kept: Where segments are kept.
    """
    if storage.is_s3(kept):
        return
    oldest = time.time() - _UNUSED_SECONDS
    for meta in storage.local_path(kept).glob(f"*/*/{_META}"):
        with contextlib.suppress(FileNotFoundError):
            if meta.stat().st_mtime < oldest:
                # First what makes it a segment: a reader that comes now finds none.
                meta.unlink()
                storage.remove_folder(meta.parent)
