"""The training frame: every row of a split, with the features that its user and item had at the row's own moment.

`elec.features.asof` makes it. Feast's own join stays as the reference and is selected by the spec (`run.feast.join`): its
DuckDB store, with `run.data.engine: ray` in Ray's workers (`elec.features.ray_store`). It gets a bounded number of rows at a
time, and keeps neither their order nor, in some of its stores, duplicate rows; so each row carries its `row_id`, and what comes
back has to be exactly the rows that went in.
"""

import uuid
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from elec.errors import RunFailedError
from elec.features.asof import MOST_BYTES_HELD, TimedView, asof_join
from elec.features.engine import duckdb_connection
from elec.features.library import own_tables, quiet
from elec.features.raw import TYPES
from elec.progress import Progress
from elec.spec import DatasetSpec

#: Rows of one join by Feast.
CHUNK_ROWS = 200_000

#: Rows of one join by Feast in the workers of an engine, which share them.
SPREAD_CHUNK_ROWS = 500_000

#: Rows of a row group of the frame; those of one batch and one step of progress too.
BATCH_ROWS = 122_880

_MOMENT = pa.timestamp("us", tz="UTC")

# Of the log's columns those that go through Feast's join with the keys.
_CARRIED = ("row_id", "event_timestamp")


def frame_schema(dataset: DatasetSpec) -> pa.Schema:
    """The columns of the training frame: row_id, label, event_timestamp, the keys, all other fields in order, aggregates."""
    return pa.schema(
        [
            ("row_id", pa.int64()),
            ("label", pa.int8()),
            ("event_timestamp", _MOMENT),
            *((field.name, TYPES[field.kind]) for field in (*dataset.all_fields, *dataset.aggregate_fields)),
        ]
    )


def write_frame(
    store: Any,
    service: str | None,
    dataset: DatasetSpec,
    rows: Path,
    target: Path,
    progress: Progress,
    *,
    join: Literal["fast", "feast"] = "fast",
    chunk_rows: int = CHUNK_ROWS,
    most_bytes_held: int = MOST_BYTES_HELD,
) -> int:
    """Joins a split's rows with the features of their moment.

    Args:
        store: The `feast.FeatureStore` that the definitions were applied to.
        service: The version of the feature service that has the data set's fields; None for a data set without.
        dataset: The spec.
        rows: The split's Parquet file, in any order.
        target: The Parquet file to write, sorted by row_id.
        progress: Counts rows.
        join: Over the views' files (`elec.features.asof`), or by Feast; both give the same rows.
        chunk_rows: Rows of one join by Feast; bounds its memory.
        most_bytes_held: Of a view that the fast join holds in memory; a larger one is joined by DuckDB.

    Returns:
        The number of rows written, which is the number read.

    Raises:
        RunFailedError: If the join gives back other rows than it was given.
    """
    parts = joined_rows(store, service, dataset, rows, join=join, chunk_rows=chunk_rows, most_bytes_held=most_bytes_held)
    return write_joined(parts, dataset, rows, target, progress)


def write_joined(parts: Iterator[dict[str, Any]], dataset: DatasetSpec, rows: Path, target: Path, progress: Progress) -> int:
    """Writes what was joined.

    Args:
        parts: The columns of the frame in order of row_id, so many rows at a time.
        dataset: The spec.
        rows: The split's Parquet file.
        target: The Parquet file to write.
        progress: Counts rows.

    Returns:
        The number of rows written.

    Raises:
        RunFailedError: If they are other rows than the split's.
    """
    schema = frame_schema(dataset)
    count, last = 0, -1
    # One thread writes while this one joins the next rows; at most one part waits.
    with pq.ParquetWriter(target, schema, **_written_as(schema)) as writer, ThreadPoolExecutor(1) as thread:
        written: Future[None] | None = None
        for part in parts:
            table = pa.table([pc.cast(part[name], schema.field(name).type) for name in schema.names], schema)
            last = _check_order(table["row_id"], last, target.name)
            if written is not None:
                written.result()
            written = thread.submit(writer.write_table, table)
            count += table.num_rows
            progress.advance(table.num_rows, note=target.stem)
        if written is not None:
            written.result()
    expected = pq.ParquetFile(rows).metadata.num_rows
    if count != expected:
        raise RunFailedError(f"{target.name}: the training frame has {count} rows where ingest gave {expected}")
    return count


def _written_as(schema: pa.Schema) -> dict[str, Any]:
    """How Parquet is written.

    To look for a dictionary of numbers, which hardly repeat, and for the least and largest text takes longer than all else.
    """
    lists = [f"{field.name}.list.element" for field in schema if pa.types.is_list(field.type)]
    return {
        "use_dictionary": [*(field.name for field in schema if pa.types.is_string(field.type)), *lists],
        "write_statistics": ["row_id", "event_timestamp"],
    }


def joined_rows(
    store: Any,
    service: str | None,
    dataset: DatasetSpec,
    rows: Path,
    *,
    join: Literal["fast", "feast"] = "fast",
    chunk_rows: int = CHUNK_ROWS,
    most_bytes_held: int = MOST_BYTES_HELD,
) -> Iterator[dict[str, Any]]:
    """The columns of the training frame in order of row_id, so many rows at a time; see `write_frame`."""
    if join == "feast":
        return _by_feast(store, _service(store, service), dataset, rows, chunk_rows)
    return asof_join(rows, timed_views(store, service, dataset), BATCH_ROWS, most_bytes_held=most_bytes_held)


def timed_views(store: Any, service: str | None, dataset: DatasetSpec) -> list[TimedView]:
    """The views of a feature service, as the join needs them; see `write_frame`."""
    features = _service(store, service)
    columns = {key: column for view in dataset.aggregate_views for key, column in view.named}
    return TimedView.of_service(store, features, columns) if features is not None else []


def _service(store: Any, service: str | None) -> Any | None:
    if service is None:
        return None
    with quiet():
        return store.get_feature_service(service)


def _check_order(row_ids: pa.ChunkedArray, last: int, name: str) -> int:
    """Gives the last of the row_ids, which have to rise: then none of them is there twice."""
    ids_N = row_ids.to_numpy()
    if len(ids_N) and (ids_N[0] <= last or (ids_N[1:] <= ids_N[:-1]).any()):
        raise RunFailedError(f"{name}: a row_id is in the training frame twice; ingest the log again")
    return int(ids_N[-1]) if len(ids_N) else last


def _by_feast(
    store: Any, service: Any | None, dataset: DatasetSpec, rows: Path, chunk_rows: int
) -> Iterator[dict[str, pa.ChunkedArray]]:
    """The joined rows in order of row_id, so many at a time."""
    for chunk in _sorted_chunks(rows, chunk_rows):
        columns = {name: chunk[name] for name in chunk.column_names}
        for asked, keys in _stages(service, dataset) if service is not None else ():
            entities = {key: columns[column] for key, column in keys.items()}
            columns |= _features(store, asked, pa.table({name: chunk[name] for name in _CARRIED} | entities))
        yield columns


def _stages(service: Any, dataset: DatasetSpec) -> Iterator[tuple[list[str], dict[str, str]]]:
    """A service's features as Feast names them, and the columns that are their join keys: aggregates go by those of others."""
    aggregates = {view.name: view for view in dataset.aggregate_views}
    described: list[str] = []
    counted: list[str] = []
    for projection in service.feature_view_projections:
        asked = [f"{projection.name}:{feature.name}" for feature in projection.features]
        (counted if projection.name in aggregates else described).extend(asked)
    if described:
        yield described, {key: key for key in (dataset.user, dataset.item)}
    if counted:
        yield counted, {key: column for view in aggregates.values() for key, column in view.named}


def _sorted_chunks(rows: Path, chunk_rows: int) -> Iterator[pa.Table]:
    """The rows in order of row_id, so many at a time."""
    with duckdb_connection() as connection:
        reader = connection.sql("SELECT * FROM read_parquet($rows) ORDER BY row_id", params={"rows": str(rows)})
        pending: list[pa.RecordBatch] = []
        for batch in reader.to_arrow_reader(chunk_rows):
            pending.append(batch)
            if sum(part.num_rows for part in pending) >= chunk_rows:
                yield pa.Table.from_batches(pending)
                pending = []
        if pending:
            yield pa.Table.from_batches(pending)


def _features(store: Any, asked: list[str], entities: pa.Table) -> dict[str, pa.ChunkedArray]:
    """The features of N rows (row_id, event_timestamp, keys), in the order of the rows."""
    # The join matches columns without regard to case, so ours has a name that no field has.
    carried = f"row_{uuid.uuid4().hex}"
    frame = entities.rename_columns([carried, *entities.column_names[1:]]).to_pandas()
    with quiet(), own_tables():
        joined = store.get_historical_features(entity_df=frame, features=asked).to_arrow()
    order = pc.sort_indices(joined[carried])
    joined = joined.take(order)
    if not joined[carried].combine_chunks().equals(entities["row_id"].combine_chunks()):
        raise RunFailedError(
            f"Feast's join gave back {joined.num_rows} rows for {entities.num_rows}, or not the same ones; "
            "the training frame would be wrong, so the run stops"
        )
    left_out = {carried, *entities.column_names}
    return {name: joined[name] for name in joined.column_names if name not in left_out}
