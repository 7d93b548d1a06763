"""The point-in-time join without Feast, over the Parquet files that Feast's views read.

It gives what `get_historical_features` of Feast gives: of the rows of a key that are not later than the event the newest, null
where there is none, or where the view has a time to live and the newest is older than that. A view's files hold one row a key
and moment, so there are no ties (`FeatureRepository.publish_rows`).

DuckDB joins what is large by its ASOF JOIN, and puts the log in order of row_id where it is not; it spills to disk within the
memory of `duckdb_connection`, so neither the log nor the views have to fit. A view that is small enough is held in memory
instead, and its values are found batch by batch, which is several times as fast.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Self

import pyarrow as pa

from elec.features.engine import duckdb_connection, quoted
from elec.features.library import quiet
from elec.features.ordered import batches, in_order
from elec.features.timelines import Timeline

#: Of a view that is held in memory, by Parquet's count of its bytes before compression.
MOST_BYTES_HELD = 256 * 2**20

_MICROSECOND = timedelta(microseconds=1)


@dataclass(frozen=True)
class TimedView:
    """What the join has to know of a feature view.

    Attributes:
        file: The Parquet file that it reads.
        timestamp: The column that says since when a row is true.
        keys: The join keys: the columns of the view, and of the log, or of another view.
        features: The features that are asked for.
        ttl: How old a row may be at the event; zero for any age.
    """

    file: str
    timestamp: str
    keys: tuple[tuple[str, str], ...]
    features: tuple[str, ...]
    ttl: timedelta = timedelta(0)

    @classmethod
    def of_service(cls, store: Any, service: Any, columns: Mapping[str, str] | None = None) -> list[Self]:
        """The views of a feature service, as Feast's registry has them.

        Args:
            store: The `feast.FeatureStore`.
            service: The `feast.FeatureService`.
            columns: What join keys are called in the log, or in another view, if not the same.
        """
        found = []
        for projection in service.feature_view_projections:
            with quiet():
                view = store.get_feature_view(projection.name)
            keys = projection.join_key_map or {column.name: column.name for column in view.entity_columns}
            found.append(
                cls(
                    file=view.batch_source.path,
                    timestamp=view.batch_source.timestamp_field,
                    keys=tuple((key, (columns or {}).get(asked, asked)) for key, asked in keys.items()),
                    features=tuple(feature.name for feature in projection.features),
                    ttl=view.ttl or timedelta(0),
                )
            )
        return found


def asof_join(
    rows: Path, views: Sequence[TimedView], batch_rows: int, *, most_bytes_held: int = MOST_BYTES_HELD
) -> Iterator[dict[str, pa.Array]]:
    """Joins a log with the features that its keys had at each row's own moment.

    Args:
        rows: The log's Parquet file with `row_id`, `event_timestamp` and the views' keys, in any order.
        views: No two features of all of them, nor of the log, have the same name.
        batch_rows: Rows of a batch.
        most_bytes_held: Of a view that is held in memory.

    Yields:
        The log's columns and the views' features of so many rows, in order of row_id; texts may be dictionary arrays.
    """
    held: list[tuple[str, Timeline]] = []
    large: list[TimedView] = []
    # What DuckDB joins by has to be there by then.
    needed: set[str] = set()
    for view in reversed(_in_order(views)):
        timeline = None if needed.intersection(view.features) else _held(view, most_bytes_held)
        if timeline is None:
            large.insert(0, view)
            needed.update(asked for _, asked in view.keys)
        else:
            held.insert(0, (view.keys[0][1], timeline))
    with _log(rows, large, batch_rows) as reader:
        for batch in reader:
            columns = dict(zip(batch.schema.names, batch.columns, strict=True))
            for key, timeline in held:
                columns |= timeline.at(columns[key], columns["event_timestamp"])
            yield columns


def _in_order(views: Sequence[TimedView]) -> list[TimedView]:
    """The views that are joined by the log's columns, then those that are joined by features of theirs."""
    features = {name for view in views for name in view.features}
    return sorted(views, key=lambda view: any(asked in features for _, asked in view.keys))


def _held(view: TimedView, most_bytes: int) -> Timeline | None:
    if len(view.keys) > 1:
        return None
    return Timeline.read(
        view.file,
        key=view.keys[0][0],
        timestamp=view.timestamp,
        features=view.features,
        ttl=view.ttl,
        most_bytes=most_bytes,
    )


@contextmanager
def _log(rows: Path, views: list[TimedView], batch_rows: int) -> Iterator[Iterable[pa.RecordBatch]]:
    """The log in order of row_id, with what DuckDB has to join."""
    if not views and in_order(rows):
        yield batches(rows, batch_rows)
        return
    with _joined_by_duckdb(rows, views, batch_rows) as reader:
        yield reader


@contextmanager
def _joined_by_duckdb(rows: Path, views: list[TimedView], batch_rows: int) -> Iterator[pa.RecordBatchReader]:
    selected = ["log.*"]
    joins = []
    found: dict[str, str] = {}
    for number, view in enumerate(views):
        name = f"view_{number}"
        since = f"{name}.{quoted(view.timestamp)}"
        for feature in view.features:
            value = f"{name}.{quoted(feature)}"
            if view.ttl:
                lived = f"epoch_us(log.event_timestamp) - epoch_us({since})"
                value = f"CASE WHEN {lived} <= {view.ttl // _MICROSECOND} THEN {value} END"
            selected.append(f"{value} AS {quoted(feature)}")
            found[feature] = value
        equal = " AND ".join(f"{found.get(asked, f'log.{quoted(asked)}')} = {name}.{quoted(key)}" for key, asked in view.keys)
        joins.append(f"ASOF LEFT JOIN read_parquet($file_{number}) AS {name} ON {equal} AND log.event_timestamp >= {since}")
    query = f"SELECT {', '.join(selected)} FROM read_parquet($rows) AS log {' '.join(joins)} ORDER BY log.row_id"  # noqa: S608
    files = {f"file_{number}": view.file for number, view in enumerate(views)}
    with duckdb_connection() as connection:
        yield connection.sql(query, params={"rows": str(rows), **files}).to_arrow_reader(batch_rows)
