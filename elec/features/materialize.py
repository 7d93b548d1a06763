"""Brings Feast's online store up to a moment: only what is new where that is enough, everything where it is not.

Feast's own incremental mode starts a year before now for a view without time to live, and never looks at earlier rows
again. Here a fingerprint of the rows that were written tells whether they are still the same.

The rows are written by `elec.features.online_writers`, as Feast would write them, and Feast's registry is told so.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from elec import storage
from elec.features.engine import duckdb_connection, quoted
from elec.features.library import quiet
from elec.features.online_writers import BATCH_ROWS, online_writer
from elec.progress import Progress

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Keys that are looked up to see whether the online store still has what was written to it.
_PROBED_KEYS = 16
# What DuckDB may hold of keys before it spills.
_MEMORY_LIMIT = "600MB"


@dataclass(frozen=True)
class ViewRows:
    """The rows behind a view.

    Attributes:
        name: The view.
        keys: The entity's join keys.
        features: The view's features.
        file: Parquet: the keys, `event_timestamp`, the features.
    """

    name: str
    keys: tuple[str, ...]
    features: tuple[str, ...]
    file: Path


class Written(BaseModel):
    """What the online store holds of a view.

    Attributes:
        as_of: The newest values up to here.
        fingerprint: Of the rows up to here.
    """

    as_of: datetime
    fingerprint: str


class OnlineState(BaseModel):
    """`online.json`: what was written, by view."""

    views: dict[str, Written] = {}


def materialize(store: Any, views: Sequence[ViewRows], state_file: str, as_of: datetime) -> dict[str, str]:
    """Writes the newest values up to a moment into the online store. Safe to repeat.

    A moment before the last one leaves the online store as it is: what serves does not go back in time.

    Args:
        store: The `feast.FeatureStore` that the definitions were applied to.
        views: What to write.
        state_file: Path or URI of `online.json`, which is read and written.
        as_of: Later rows stay invisible.

    Returns:
        For each view what was written: `all`, `new` or `none`.
    """
    state = OnlineState()
    if storage.exists(state_file):
        state = OnlineState.model_validate_json(storage.read_bytes(state_file))
    done = {}
    for view in views:
        before = state.views.get(view.name)
        if before is not None and not _still_there(store, view):
            before = None
        start = _start(before, as_of, _fingerprint(view, before.as_of) if before is not None else "")
        done[view.name] = "none" if start is None else "all" if start == _EPOCH else "new"
        if start is not None:
            write_online(store, view, start, as_of)
            state.views[view.name] = Written(as_of=as_of, fingerprint=_fingerprint(view, as_of))
            # After each view, so that a run that is stopped between two of them does not do the first again.
            storage.write_bytes(state_file, state.model_dump_json(indent=2).encode())
    return done


def write_online(store: Any, view: ViewRows, start: datetime, as_of: datetime) -> None:
    """Writes the newest row of each key that is of a time from `start` to `as_of`, as `FeatureStore.materialize` does.

    Args:
        store: The `feast.FeatureStore` that the definitions were applied to.
        view: What to write.
        start: Earlier rows are not looked at.
        as_of: Nor are later ones.
    """
    keys = ", ".join(quoted(key) for key in view.keys)
    columns = ", ".join(quoted(name) for name in (*view.keys, "event_timestamp", *view.features))
    there = " AND ".join(f"{quoted(key)} IS NOT NULL" for key in view.keys)
    rows = f"FROM read_parquet($file) WHERE event_timestamp BETWEEN $start AND $until AND {there}"
    given = {"file": str(view.file), "start": start, "until": as_of}
    with duckdb_connection(_MEMORY_LIMIT) as connection:
        ((total,),) = connection.execute(f"SELECT count(DISTINCT ({keys})) {rows}", given).fetchall()
        newest = connection.sql(
            f"""
            SELECT {columns} {rows}
            QUALIFY row_number() OVER (PARTITION BY {keys} ORDER BY event_timestamp DESC) = 1
            """,
            params=given,
        )
        started = time.monotonic()
        with (
            online_writer(store.config) as writer,
            Progress("write online store", unit="keys", total=total) as progress,
        ):
            for batch in newest.to_arrow_reader(BATCH_ROWS):
                writer.write(view.name, view.keys, batch)
                rate = (progress.done + batch.num_rows) / (time.monotonic() - started)
                progress.advance(batch.num_rows, note=f"{view.name}, {rate:,.0f} keys/s")
            writer.flush()
    with quiet():
        store.registry.apply_materialization(store.get_feature_view(view.name), store.project, start, as_of)


def _start(before: Written | None, as_of: datetime, fingerprint: str) -> datetime | None:
    """From which moment on rows have to be written; None if none have to."""
    if before is None:
        return _EPOCH
    if as_of < before.as_of:
        return None
    if fingerprint != before.fingerprint:
        return _EPOCH
    return before.as_of if as_of > before.as_of else None


def _fingerprint(view: ViewRows, until: datetime) -> str:
    """A hash over the rows of a view up to a moment, whatever their order."""
    names = [*view.keys, "event_timestamp", *view.features]
    with duckdb_connection() as connection:
        rows, digest = connection.execute(
            f"""
            SELECT count(*), bit_xor(hash({", ".join(quoted(name) for name in names)}))
            FROM read_parquet($file) WHERE event_timestamp <= $until
            """,  # noqa: S608 - names are quoted
            {"file": str(view.file), "until": until},
        ).fetchone()
    return f"{','.join(names)}:{rows}:{digest}"


def _still_there(store: Any, view: ViewRows) -> bool:
    """Whether the online store answers for any of a few keys; a flushed or deleted one does not."""
    if not store.get_feature_view(view.name).materialization_intervals:
        return False
    distinct = ", ".join(quoted(key) for key in view.keys)
    has_value = " OR ".join(f"{quoted(name)} IS NOT NULL" for name in view.features)
    with duckdb_connection() as connection:
        keys = connection.execute(
            f"SELECT DISTINCT {distinct} FROM read_parquet($file) WHERE {has_value} LIMIT {_PROBED_KEYS}",  # noqa: S608
            {"file": str(view.file)},
        ).fetchall()
    if not keys:
        return True
    with quiet():
        answer = store.get_online_features(
            features=[f"{view.name}:{name}" for name in view.features],
            entity_rows=[dict(zip(view.keys, found, strict=True)) for found in keys],
        ).to_dict()
    return any(value is not None for name in view.features for value in answer[name])
