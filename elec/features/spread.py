"""The frame and the encoded rows made by the workers of an engine, a piece of a split a task."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal

import pyarrow as pa
import pyarrow.parquet as pq

from elec.engine import Engine
from elec.engine.exchange import Shared
from elec.engine.pieces import map_file
from elec.errors import RunFailedError
from elec.features.asof import TimedView, asof_join
from elec.features.encoded import encode_file
from elec.features.encoding import FeatureEncoder
from elec.features.frame import BATCH_ROWS, CHUNK_ROWS, SPREAD_CHUNK_ROWS, timed_views, write_frame, write_joined
from elec.features.lookup import Lookup, one_array
from elec.features.repository import Published
from elec.progress import Progress
from elec.spec import DatasetSpec


@dataclass(frozen=True)
class _Join:
    """Joins a piece with the views, which every worker has whole."""

    dataset: DatasetSpec
    views: tuple[tuple[TimedView, Shared], ...]

    def __call__(self, rows: Path, target: Path) -> int:
        views = [replace(view, file=str(shared.here())) for view, shared in self.views]
        with Progress("join", unit="rows") as progress:
            return write_joined(asof_join(rows, views, BATCH_ROWS), self.dataset, rows, target, progress)


@dataclass(frozen=True)
class _Encode:
    """Encodes a piece."""

    vocabulary: Shared
    user: str
    users: Shared

    def __call__(self, frame: Path, target: Path) -> tuple[int, dict[str, float]]:
        encoder = FeatureEncoder.load(self.vocabulary.here())
        users = Lookup(one_array(pq.read_table(self.users.here())["user"]))
        with Progress("encode", unit="rows") as progress:
            unknown = encode_file(encoder, self.user, users, frame, target, progress)
        return int(pq.read_metadata(frame).num_rows), unknown


def spread_frame(
    engine: Engine,
    published: Published,
    dataset: DatasetSpec,
    rows: Path,
    target: Path,
    progress: Progress,
    *,
    join: Literal["fast", "feast"] = "fast",
) -> int:
    """Writes what `elec.features.frame.write_frame` writes; of Feast's own join Feast's offline store is the engine.

    Args:
        engine: Where.
        published: The store, and the feature service's version.
        dataset: The spec.
        rows: The split's Parquet file, for workers in order of row_id.
        target: The Parquet file to write.
        progress: Counts rows.
        join: Over the views' files, or by Feast.

    Returns:
        The number of rows written.

    Raises:
        RunFailedError: If the join gives back other rows than it was given.
    """
    store, service = published.store, published.service
    if engine.pieces == 1 or join == "feast":
        chunk_rows = CHUNK_ROWS if engine.pieces == 1 else SPREAD_CHUNK_ROWS
        return write_frame(store, service, dataset, rows, target, progress, join=join, chunk_rows=chunk_rows)
    _check_order(rows)
    with engine.exchange() as exchange:
        views = timed_views(store, service, dataset)
        shared = [(view, exchange.share(Path(view.file), f"view{number}")) for number, view in enumerate(views)]
        counts = map_file(engine, _Join(dataset, tuple(shared)), rows, target)
    progress.advance(sum(counts), note=target.stem)
    return sum(counts)


@contextmanager
def spread_encoding(
    engine: Engine, encoder: FeatureEncoder, user: str, users: Lookup, vocabulary: Path
) -> Iterator[Callable[[Path, Path, Progress], dict[str, float]]]:
    """Makes the encoder and the users known to all workers.

    Args:
        engine: Where.
        encoder: Of all fields.
        user: The column of the user's key.
        users: All users.
        vocabulary: The folder that `encoder.save` wrote.

    Yields:
        `encode_file` of a split's frame, the file to write and what counts rows.
    """
    if engine.pieces == 1:
        yield partial(encode_file, encoder, user, users)
        return
    with engine.exchange() as exchange, tempfile.TemporaryDirectory(prefix="elec-users-") as scratch:
        file = Path(scratch, "users.parquet")
        pq.write_table(pa.table({"user": users.values}), file)
        work = _Encode(exchange.share(vocabulary, "vocabulary"), user, exchange.share(file, file.name))

        def encode(frame: Path, target: Path, progress: Progress) -> dict[str, float]:
            found = map_file(engine, work, frame, target)
            total = sum(rows for rows, _ in found)
            progress.advance(total)
            # A share of a piece is a count of its rows.
            return {name: sum(round(one[name] * rows) for rows, one in found) / max(total, 1) for name in found[0][1]}

        yield encode


def _check_order(rows: Path) -> None:
    """Makes sure that row groups follow each other."""
    metadata = pq.read_metadata(rows)
    column = metadata.schema.names.index("row_id")
    last = -1
    for number in range(metadata.num_row_groups):
        found = metadata.row_group(number).column(column).statistics
        if found is None or not found.has_min_max or found.min <= last:
            raise RunFailedError(f"{rows.name}: its rows are not in order of row_id; ingest the log again")
        last = found.max
