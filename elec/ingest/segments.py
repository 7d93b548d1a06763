"""Segments of a source: made as its files are read, and kept by content, so that a later run reads new files only."""

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Callable, Generator, Sequence
from importlib.metadata import version
from itertools import groupby
from operator import itemgetter
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import ValidationError

from elec import storage
from elec.ingest.batches import RawBatch
from elec.ingest.checked import Checker, Found
from elec.ingest.making import SegmentWriter
from elec.ingest.parallel import in_order
from elec.ingest.reading import check_seen, read_file
from elec.ingest.segment import META, ROWS, Meta, Segment
from elec.ingest.sources import SourceFile, file_identity
from elec.ingest.splice import Groups, SplicedWriter
from elec.ingest.sql import Sql
from elec.progress import Progress

#: Raised whenever a segment's content changes its meaning; segments of another one are as good as none.
_SCHEMA = 3

_UNUSED_SECONDS = 30 * 86_400


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
        self._key = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()[:16]

    def of(self, files: list[SourceFile], now: int, what: str) -> list[Segment]:
        """The segments of files, in their order.

        Args:
            files: From `find_files`.
            now: Later times are in the future, microseconds since 1970.
            what: The work's name in the progress.

        Raises:
            InputError: If a file cannot be read as the spec says.
        """
        stored = rows = 0
        found = []
        with Progress(what, unit="KB", total=sum(file.size for file in files) >> 10) as progress:

            def advance(size: int) -> None:
                nonlocal stored
                progress.advance(((stored + size) >> 10) - (stored >> 10), note=f"{rows:,} rows")
                stored += size

            with contextlib.closing(self._each(files, 0, now, advance)) as segments:
                for segment in segments:
                    rows += segment.meta.read
                    found.append(segment)
            if rows > 0:
                seen = dict.fromkeys(key for segment in found for key in segment.meta.seen)
                check_seen(files, self._checker.needed, seen)
        return found

    def keep(self, file: SourceFile, base: int, now: int) -> None:
        """Makes the segment of a file, and keeps it for the run that asks for it, if it is not there.

        Args:
            file: From `find_files`.
            base: The number of its first row.
            now: Later times are in the future, microseconds since 1970.
        """
        assert self._kept is not None, "there is a place to keep it"
        if not storage.exists(storage.join(self._kept, self._key, file_identity(file), META)):
            with contextlib.closing(self._each([file], base, now, lambda size: None)) as segments:
                next(segments)

    def _each(
        self, files: Sequence[SourceFile], base: int, now: int, advance: Callable[[int], None]
    ) -> Generator[Segment, None, None]:
        """The segments of files. While one is written, the rows of the next are read and checked."""
        identities = [file_identity(file) if self._kept is not None else "" for file in files]
        here = [self._work / f"{self._key}-{number}" for number in range(len(files))]
        kept: list[Segment | None] = [None] * len(files)
        if self._kept is not None:
            kept = [self._found(*one, now) for one in zip(files, map(self._place, identities), here, strict=True)]
        seen: list[dict[str, None]] = [{} for _ in files]

        def batches() -> Generator[tuple[int, RawBatch | None], None, None]:
            for number, file in enumerate(files):
                if kept[number] is None:
                    # A file without rows has a segment too.
                    yield number, None
                    for batch in read_file(
                        self._database, file, self._checker.source, self._checker.needed, advance, seen[number]
                    ):
                        yield number, batch

        def check(item: tuple[int, RawBatch | None]) -> tuple[int, Found | None]:
            number, batch = item
            return number, None if batch is None else self._checker.check(self._database, now, batch)

        with contextlib.closing(in_order(check, batches())) as checked:
            made = groupby(checked, key=itemgetter(0))
            for number, file in enumerate(files):
                segment = kept[number]
                if segment is not None:
                    advance(file.size)
                    if segment.meta.base != base:
                        segment = self._moved(segment, base, here[number])
                else:
                    _, parts = next(made)
                    folder = here[number].with_name(f"{here[number].name}-made")
                    folder.mkdir()
                    with SegmentWriter(file, folder, self._checker, base) as writer:
                        for _, found in parts:
                            if found is not None:
                                writer.add(found)
                        segment = writer.finish(tuple(seen[number]))
                    if self._kept is not None:
                        self._publish(segment, identities[number], here[number], now)
                base += segment.meta.read
                yield segment

    def _place(self, identity: str) -> str:
        """Where the segment of a file is kept."""
        assert self._kept is not None, "there is a place to keep it"
        return storage.join(self._kept, self._key, identity)

    def _publish(self, segment: Segment, identity: str, here: Path, now: int) -> None:
        """Keeps a segment."""
        place = self._place(identity)
        # A file that somebody writes to is not what it was; its next state is read anew.
        # Two runs at once make the same segment: the first one's is as good, and in use.
        if file_identity(segment.file) == identity and self._found(segment.file, place, here, now) is None:
            storage.remove_folder(place)
            with contextlib.suppress(FileExistsError):
                storage.publish_folder(segment.folder, place, last=META)

    def _found(self, file: SourceFile, place: str, here: Path, now: int) -> Segment | None:
        """The kept segment, if there is one that is whole and says of no row that it is in the future which is not any more."""
        try:
            meta = Meta.model_validate_json(storage.read_bytes(storage.join(place, META)))
        except (FileNotFoundError, ValidationError):
            return None
        if (meta.last is not None and meta.last > now) or (meta.future is not None and meta.future <= now):
            return None
        folder = storage.fetch_folder(place, here)
        whole = all((folder / name).is_file() and (folder / name).stat().st_size == size for name, size in meta.sizes.items())
        if whole:
            # Its age is since when nobody used it.
            os.utime(folder / META)
        return Segment(file, folder, meta) if whole else None

    def _moved(self, segment: Segment, base: int, here: Path) -> Segment:
        """The segment with other row ids: a file before it has more or fewer rows than it had."""
        here.mkdir(exist_ok=True)
        rows = here / f"moved-{ROWS}"
        writer = SplicedWriter(rows, self._checker.schema)
        with segment.rows.open("rb") as stream, pq.ParquetFile(segment.rows) as file:
            groups = Groups(stream)
            for number in range(file.num_row_groups):
                ids = file.read_row_group(number, columns=["row_id"])["row_id"].to_numpy() + (base - segment.meta.base)
                writer.copy(groups, number, pa.table({"row_id": ids}))
        writer.close()
        for name in segment.meta.sizes:
            if name != ROWS and not (here / name).exists():
                (here / name).symlink_to((segment.folder / name).resolve())
        rows.replace(here / ROWS)
        return Segment(segment.file, here, segment.meta.model_copy(update={"base": base}))


def forget(kept: str) -> None:
    """Removes the segments on disk that no run has used for 30 days; on S3 that is for a lifecycle rule.

    Args:
        kept: Where segments are kept.
    """
    if storage.is_s3(kept):
        return
    oldest = time.time() - _UNUSED_SECONDS
    for meta in storage.local_path(kept).glob(f"*/*/{META}"):
        with contextlib.suppress(FileNotFoundError):
            if meta.stat().st_mtime < oldest:
                # First what makes it a segment: a reader that comes now finds none.
                meta.unlink()
                storage.remove_folder(meta.parent)
