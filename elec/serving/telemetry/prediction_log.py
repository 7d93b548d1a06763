"""The prediction log: what was scored, as Parquet files that any reader of tables can take, and the drift check does.

A row is a scored record: `request_id`, `time` (microseconds, UTC), the fields' raw values under their own names (the keys of
user and item are fields), `score`, `version` (the bundle), and `degraded`: the feature store did not answer, so that values are
missing which it may well have. Where a field has one of these names, the log's own column ends in an underscore.

A request leaves its rows in a bounded queue and goes on; a thread gathers them in memory and closes a file when it has enough
of them, or when they are old enough. Whoever dies in between loses the rows in memory, and leaves no part of a file.
"""

import logging
import random
import threading
import time as clock
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from elec.features.raw import raw_table
from elec.serving.manifest import Manifest
from elec.serving.telemetry.prediction_files import PredictionFiles
from elec.spec.fields import FieldSpec
from elec.spec.serving import ServingSpec

log = logging.getLogger("elec.prediction_log")

#: The log's own columns: the request, when it was scored, the probability, the bundle, and whether features were left out.
OWN = ("request_id", "time", "score", "version", "degraded")

# Requests, and the memory of their records, that may wait for the writer.
_QUEUE = 1024
_QUEUE_BYTES = 64 * 2**20
# A client may make an id as long as a body may be, and it stands in every row.
_ID_LETTERS = 128
# A file is closed before its rows take more memory than this, in Arrow's own form.
_FILE_BYTES = 64 * 2**20
# Bundles that predictions may be of: requests in progress may be of one that has just left.
_BUNDLES = 4


class LogFigures(NamedTuple):
    """What a prediction log has done.

    Attributes:
        rows: Written.
        dropped: Not written: the queue was full, or the disk failed.
        files: In the folder now.
        bytes: In the folder now.
    """

    rows: int
    dropped: int
    files: int
    bytes: int


@dataclass(frozen=True)
class _Offer:
    request_id: str
    records: pa.Table
    scores_N: np.ndarray
    manifest: Manifest
    time: datetime
    degraded: bool
    bytes: int


class _Parts:
    """What will be a file: its tables, their rows and bytes, and when the first of them came."""

    def __init__(self) -> None:
        self.tables: list[pa.Table] = []
        self.rows = 0
        self.bytes = 0
        self.opened = 0.0

    def add(self, table: pa.Table) -> None:
        if not self.tables:
            self.opened = clock.monotonic()
        self.tables.append(table)
        self.rows += table.num_rows
        self.bytes += table.nbytes


class PredictionLog:
    """Writes the predictions of a share of the requests.

    Args:
        folder: Where the files go; it is made. Several servers may write to one folder.
        settings: `log_share`, and the bounds `log_rows`, `log_seconds` and `log_bytes`.
        manifest: Of the bundle that serves; `serves` tells of another.

    Raises:
        InputError: If the folder cannot be written to.
    """

    def __init__(self, folder: str | Path, settings: ServingSpec, manifest: Manifest) -> None:
        self._settings = settings
        self._files = PredictionFiles(Path(folder), settings.log_bytes)
        self._manifests: dict[str, Manifest] = {}
        self._waiting: deque[_Offer] = deque()
        self._waiting_bytes = 0
        self._changed = threading.Condition()
        self._closing = False
        self._rows = self._dropped = 0
        self.serves(manifest)
        # A daemon, for it must not keep a process alive whose disk hangs.
        self._writer = threading.Thread(target=self._write, name="prediction-log", daemon=True)
        self._writer.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def serves(self, manifest: Manifest) -> None:
        """Takes a bundle whose predictions will be offered."""
        with self._changed:
            self._manifests.pop(manifest.bundle_id, None)
            self._manifests[manifest.bundle_id] = manifest
            while len(self._manifests) > _BUNDLES:
                del self._manifests[next(iter(self._manifests))]

    def sampled(self) -> bool:
        """Whether this request is one of those to offer: drawn with the probability `log_share`."""
        share = self._settings.log_share
        return share >= 1 or (share > 0 and random.random() < share)  # noqa: S311

    def offer(
        self,
        request_id: str,
        records: pa.Table,
        scores_N: np.ndarray,
        bundle_id: str,
        time: datetime,
        *,
        degraded: bool = False,
    ) -> bool:
        """Takes the predictions of a request that `sampled` has drawn; never waits.

        Args:
            request_id: Of the request.
            records: The raw values of its N records, with a column for every field of the bundle.
            scores_N: float32.
            bundle_id: The bundle that scored.
            time: When.
            degraded: Whether features were left out, because the feature store did not answer.

        Returns:
            False if they were dropped, which is counted.
        """
        rows, used = len(scores_N), records.nbytes
        with self._changed:
            manifest = self._manifests.get(bundle_id)
            full = len(self._waiting) >= _QUEUE or self._waiting_bytes + used > _QUEUE_BYTES
            if full or self._closing or manifest is None:
                self._dropped += rows
                return False
            self._waiting.append(_Offer(request_id, records, scores_N, manifest, time, degraded, used))
            self._waiting_bytes += used
            self._changed.notify()
        return True

    def figures(self) -> LogFigures:
        """What it has done so far."""
        files, used = self._files.usage()
        with self._changed:
            return LogFigures(rows=self._rows, dropped=self._dropped, files=files, bytes=used)

    def close(self, seconds: float = 10.0) -> None:
        """Writes what is waiting, for as long as that may take, and stops."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._writer.join(seconds)

    def _write(self) -> None:
        """The writer's thread: a file ends when it is full or old, or when rows of another schema come."""
        parts = _Parts()
        while True:
            left = max(parts.opened + self._settings.log_seconds - clock.monotonic(), 0.0) if parts.tables else None
            offer = self._next(left)
            table = self._table(offer) if offer is not None else None
            if parts.tables and (offer is None or (table is not None and table.schema != parts.tables[0].schema)):
                self._end_file(parts.tables)
                parts = _Parts()
            if table is not None:
                parts.add(table)
                if parts.rows >= self._settings.log_rows or parts.bytes >= min(_FILE_BYTES, self._settings.log_bytes // 4):
                    self._end_file(parts.tables)
                    parts = _Parts()
            elif offer is None and left is None:
                return

    def _next(self, seconds: float | None) -> _Offer | None:
        """The next offer; None when the seconds are over, or when the log closes and none is left."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closing, seconds)
            if not self._waiting or seconds == 0.0:
                return None
            offer = self._waiting.popleft()
            self._waiting_bytes -= offer.bytes
            return offer

    def _table(self, offer: _Offer) -> pa.Table | None:
        """The rows of an offer; None, and a line in the server's log, if they do not fit."""
        try:
            return _rows(offer)
        # Whatever is wrong with one request's records, the next ones are still to be written.
        except Exception:
            log.warning("the predictions of a request cannot be logged; they are left out", exc_info=True)
            self._lose(len(offer.scores_N))
            return None

    def _end_file(self, parts: Sequence[pa.Table]) -> None:
        table = pa.concat_tables(parts)
        buffer = pa.BufferOutputStream()
        try:
            pq.write_table(table, buffer, compression="zstd")
            self._files.add(buffer.getvalue())
        except (OSError, ValueError):
            log.warning("a file of the prediction log cannot be written; its %d rows are left out", len(table), exc_info=True)
            self._lose(len(table))
            return
        with self._changed:
            self._rows += len(table)

    def _lose(self, rows: int) -> None:
        with self._changed:
            self._dropped += rows


def own_columns(fields: Sequence[FieldSpec]) -> dict[str, str]:
    """The names of the log's own columns beside those of a bundle's fields, by what they are (`OWN`)."""
    taken = {field.name.lower() for field in fields}
    return {name: f"{name}_" if name in taken else name for name in OWN}


def _rows(offer: _Offer) -> pa.Table:
    """The rows of a request.

    Raises:
        InputError: If a column is missing or cannot be read as its field's kind.
        ValueError: If there are more or fewer records than scores.
    """
    rows, manifest, own = len(offer.scores_N), offer.manifest, own_columns(offer.manifest.fields)
    table = raw_table(manifest.fields, {field.name: offer.records.column(field.name) for field in manifest.fields})
    table = table.add_column(0, own["time"], pa.repeat(pa.scalar(offer.time, pa.timestamp("us", tz="UTC")), rows))
    table = table.add_column(0, own["request_id"], pa.repeat(offer.request_id[:_ID_LETTERS], rows))
    table = table.append_column(own["score"], pa.array(offer.scores_N, pa.float32()))
    table = table.append_column(own["version"], pa.repeat(manifest.bundle_id, rows))
    return table.append_column(own["degraded"], pa.repeat(offer.degraded, rows))
