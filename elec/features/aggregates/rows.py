"""The rows of an aggregate's view: of each of its keys what the numbers became at every tick at which they changed.

A tick stands at each whole multiple of `every` since 1970. An impression enters the numbers at the first tick after its label
is known, and leaves them one window later. A key that falls silent gets its last row when its last impression leaves; what the
online store answers then decays as the training frame does.

The prior of a rate is the share of clicks among all impressions, whoever's, that had entered by the tick of the row: nothing
later is in it, and it does not change until the key's own numbers do. Where `window.days` moves the first day on, every prior
is another one, and so is every rate: such a run writes the whole view online, as it has to.

It takes two rounds, so that memory does not grow with the log: pieces of the log are counted by key and tick, each into a file
in order of the keys, and then ranges of keys are summed up over all of these files. What the ranges give, one after the other,
is the view in order of its keys.
"""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from pathlib import Path

from elec.engine import Engine, LocalEngine
from elec.engine.exchange import Exchange, Shared, fetch, put
from elec.engine.pieces import Piece, cut, splice
from elec.features.aggregates.impressions import MEMORY_LIMIT, CountImpressions, Run
from elec.features.aggregates.ranges import KeyRange, key_ranges
from elec.features.aggregates.sums import SumUp
from elec.features.engine import duckdb_connection
from elec.ingest.report import NEGATIVES, SPLITS
from elec.progress import Progress
from elec.spec import DatasetSpec, Entity
from elec.spec.aggregates import Aggregate


@dataclass(frozen=True)
class Sizes:
    """What is worked on at once.

    Attributes:
        piece_rows: Rows of the log.
        range_rows: Counts of a range of keys, with what leaves the windows; see `key_ranges`.
    """

    piece_rows: int = 2_000_000
    range_rows: int = 2_000_000


def aggregate_rows(
    dataset: DatasetSpec,
    ingested: Path,
    folder: Path,
    as_of: datetime,
    engine: Engine | None = None,
    sizes: Sizes = Sizes(),
) -> dict[str, Path]:
    """Writes the rows of all views of a data set's aggregates, each in order of its keys and `event_timestamp`.

    Args:
        dataset: The spec.
        ingested: The folder that ingest wrote.
        folder: Gets a file for each view, in a folder `aggregates`.
        as_of: Later ticks have no rows.
        engine: Whose workers count and sum up; this process when left out.
        sizes: Of pieces and ranges.

    Returns:
        The files, by view: join keys, `event_timestamp` and features, one row a key and tick.
    """
    if not dataset.aggregates:
        return {}
    engine = engine or LocalEngine()
    (folder / "aggregates").mkdir(exist_ok=True)
    written: dict[str, Path] = {}
    with engine.exchange() as exchange:
        counted = _counted(dataset, ingested, as_of, engine, exchange, sizes)
        ranges = [
            key_ranges(runs, sizes.range_rows // (1 + len(aggregate.windows)))
            for aggregate, runs in zip(dataset.aggregates, counted, strict=True)
        ]
        summed = engine.map(SumUp(dataset, as_of), _work(dataset, counted, ranges, exchange))
        with Progress("sum up aggregates", unit="ranges", total=sum(map(len, ranges))) as progress:
            for aggregate, view, cuts in zip(dataset.aggregates, dataset.aggregate_views, ranges, strict=True):
                written[view.name] = folder / "aggregates" / f"{view.name}.parquet"
                splice(((uri, None) for uri in islice(summed, len(cuts))), written[view.name])
                progress.advance(len(cuts), note=aggregate.title)
    return written


def _counted(
    dataset: DatasetSpec, ingested: Path, as_of: datetime, engine: Engine, exchange: Exchange, sizes: Sizes
) -> list[list[Run]]:
    """Counts the pieces of the log; gives their runs for every aggregate."""
    tables = {Entity.USER: ingested / "users.parquet", Entity.ITEM: ingested / "items.parquet"}
    described = {entity: exchange.share(file, file.name) for entity, file in tables.items() if file.exists()}
    pieces = []
    for name in (*SPLITS, NEGATIVES):
        file = ingested / f"{name}.parquet"
        if file.exists():
            shared = exchange.share(file, file.name)
            pieces += [Piece(shared, first, count) for first, count in cut(file, engine.pieces, sizes.piece_rows)]
    work = CountImpressions(dataset, described, as_of, exchange.uri)
    found = []
    with Progress("count aggregates", unit="pieces", total=len(pieces)) as progress:
        for runs in engine.map(work, enumerate(pieces)):
            found.append(runs)
            progress.advance(1)
    return [list(runs) for runs in zip(*found, strict=True)]


def _work(
    dataset: DatasetSpec, counted: Sequence[Sequence[Run]], ranges: Sequence[Sequence[KeyRange]], exchange: Exchange
) -> Iterator[tuple[Aggregate, KeyRange, Shared, str]]:
    """What there is to sum up: of every aggregate the ranges in their order."""
    for place, (aggregate, runs, cuts) in enumerate(zip(dataset.aggregates, counted, ranges, strict=True)):
        rates = Shared(exchange.at(f"rates{place}.parquet"))
        with tempfile.TemporaryDirectory(prefix="elec-rates-") as scratch:
            put(_rates(runs, Path(scratch)), rates.uri)
        for number, keys in enumerate(cuts):
            yield aggregate, keys, rates, exchange.at(f"rows{place}-{number:06d}.parquet")


def _rates(runs: Sequence[Run], scratch: Path) -> Path:
    """Writes the share of clicks among all impressions that had entered by a tick, those without a key included."""
    for number, run in enumerate(runs):
        fetch(run.rates, scratch / f"{number:06d}.parquet")
    rates = scratch / "rates.parquet"
    with duckdb_connection(MEMORY_LIMIT) as connection:
        connection.execute(
            f"""
            COPY (
                SELECT tick, (sum(sum(clicked)) OVER past)::DOUBLE / (sum(sum(shown)) OVER past)::DOUBLE AS rate
                FROM read_parquet($counts) GROUP BY tick WINDOW past AS (ORDER BY tick)
            ) TO '{rates}' (FORMAT parquet)
            """,  # noqa: S608 - the path is our own
            {"counts": [str(scratch / f"{number:06d}.parquet") for number in range(len(runs))]},
        )
    return rates
