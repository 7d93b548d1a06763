"""Rows into Feast's online stores, many at a time: what stands there afterwards is byte for byte what Feast writes.

Feast makes a protobuf message of every value in Python and hands its store one row after the other; here a batch is made by
column (`elec.features.feast_bytes`), and Redis gets it as one piece. Both lay rows out as Feast 0.67 does:
infra/online_stores/{redis,sqlite}.py, `online_write_batch`.
"""

import itertools
import sqlite3
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

import mmh3
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from elec.features import feast_bytes

#: Rows that are written at a time: one exchange with Redis, one transaction of SQLite.
BATCH_ROWS = 8_192

_BINARY = pa.large_binary()


class OnlineWriter(Protocol):
    """Where rows are written."""

    def write(self, view: str, keys: Sequence[str], rows: pa.RecordBatch) -> None:
        """Writes rows of a view in place of those that their keys have.

        Args:
            view: Its name.
            keys: Its join keys, which are columns of the rows and never null.
            rows: The keys, `event_timestamp` and the features; each key once.
        """

    def flush(self) -> None:
        """Returns when everything has been taken."""


@contextmanager
def online_writer(config: Any) -> Iterator[OnlineWriter]:
    """The writer of a `feast.RepoConfig`, closed at the end."""
    if config.online_store.type == "redis":
        from feast.infra.online_stores.redis import RedisOnlineStore

        client = RedisOnlineStore()._get_client(config.online_store)
        writer = RedisWriter(client, config.project)
        try:
            yield writer
        finally:
            writer.close()
            client.close()
        return
    connection = sqlite3.connect(config.online_store.path)
    try:
        yield SqliteWriter(connection, config.project)
    finally:
        connection.close()


class RedisWriter:
    """Redis: one HSET an entity. While Redis takes one batch, the next is made.

    Args:
        client: A `redis.Redis`.
        project: Feast's project, the last part of every key.
    """

    def __init__(self, client: Any, project: str) -> None:
        self._pool = client.connection_pool
        self._project = pa.scalar(project.encode(), _BINARY)
        self._connection: Any = None
        self._unread = 0

    def write(self, view: str, keys: Sequence[str], rows: pa.RecordBatch) -> None:
        """As `OnlineWriter` says.

        Raises:
            redis.RedisError: If Redis cannot be reached, or refuses.
        """
        commands = self._commands(view, keys, rows)
        self.flush()
        if self._connection is None:
            self._connection = self._pool.get_connection()
        self._unread = rows.num_rows
        self._connection.send_packed_command([commands])

    def flush(self) -> None:
        """As `OnlineWriter` says.

        Raises:
            redis.RedisError: If Redis cannot be reached, or refuses.
        """
        while self._unread:
            self._connection.read_response()
            self._unread -= 1

    def close(self) -> None:
        """Lets go of the connection; answers that were not read are lost with it."""
        if self._connection is not None:
            self._connection.disconnect()
            self._pool.release(self._connection)
            self._connection = None

    def _commands(self, view: str, keys: Sequence[str], rows: pa.RecordBatch) -> bytes:
        """The rows as the protocol writes them, https://redis.io/docs/latest/develop/reference/protocol-spec/."""
        features = [name for name in rows.schema.names if name not in {*keys, "event_timestamp"}]
        key = feast_bytes.joined(feast_bytes.entity_keys({name: rows.column(name) for name in keys}), self._project)
        named = [(f"_ts:{view}".encode(), feast_bytes.moments(rows.column("event_timestamp")))]
        for name in features:
            # Feast's name of a field: the hash of view and feature, four bytes.
            field = struct.pack("<I", mmh3.hash(f"{view}:{name}", signed=False))
            named.append((field, feast_bytes.values(rows.column(name))))
        parts = [pa.scalar(b"*%d\r\n$4\r\nHSET\r\n$" % (2 + 2 * len(named)), _BINARY), *_sized(key)]
        for field, content in named:
            parts += [pa.scalar(b"\r\n$%d\r\n%b\r\n$" % (len(field), field), _BINARY), *_sized(content)]
        commands = feast_bytes.joined(*parts, pa.scalar(b"\r\n", _BINARY))
        return bytes(commands.buffers()[2])


class SqliteWriter:
    """SQLite: a table for every view, with a row for every entity and feature.

    Args:
        connection: To the file in which Feast has made the tables.
        project: Feast's project, the first part of every table's name.
    """

    def __init__(self, connection: sqlite3.Connection, project: str) -> None:
        self._connection = connection
        self._project = project

    def write(self, view: str, keys: Sequence[str], rows: pa.RecordBatch) -> None:
        """As `OnlineWriter` says.

        Raises:
            sqlite3.Error: If there is no table of the view, or the file cannot be written.
        """
        table = f"{self._project}_{view}".replace('"', '""')
        statement = (
            f'INSERT INTO "{table}" (entity_key, feature_name, value, value_text, event_ts, created_ts) '  # noqa: S608 - quoted
            "VALUES (?, ?, ?, ?, ?, NULL) ON CONFLICT (entity_key, feature_name) DO UPDATE SET "
            "value = excluded.value, value_text = excluded.value_text, event_ts = excluded.event_ts, created_ts = NULL"
        )
        key = feast_bytes.entity_keys({name: rows.column(name) for name in keys}).to_pylist()
        since = _sqlite_times(rows.column("event_timestamp"))
        with self._connection:
            for name in rows.schema.names:
                if name in {*keys, "event_timestamp"}:
                    continue
                column = rows.column(name)
                values = feast_bytes.values(column).to_pylist()
                self._connection.executemany(
                    statement, zip(key, itertools.repeat(name), values, _value_texts(column), since, strict=False)
                )

    def flush(self) -> None:
        """As `OnlineWriter` says: every batch is a transaction."""


def _sized(content: pa.Array) -> tuple[pa.Array, pa.Scalar, pa.Array]:
    """A byte string of the protocol, behind its `$`."""
    return feast_bytes.numbers_as_text(pc.binary_length(content).to_numpy()), pa.scalar(b"\r\n", _BINARY), content


def _sqlite_times(moments: pa.Array) -> list[int]:
    """Moments as Feast's own adapter gives them to SQLite: whole seconds, of the time in UTC taken for local time."""
    from feast.infra.online_stores.sqlite import adapt_datetime_epoch

    naive = pc.cast(pc.cast(pc.cast(moments, pa.timestamp("us", tz="UTC")), pa.int64()), pa.timestamp("us"))
    return list(map(adapt_datetime_epoch, naive.to_pylist()))


def _value_texts(column: pa.Array) -> Sequence[str | None]:
    """What Feast keeps beside a value for searches: texts as they are, numbers as Python writes them, of lists nothing."""
    if pa.types.is_string(column.type):
        texts: list[str | None] = column.to_pylist()
        return texts
    if not pa.types.is_floating(column.type):
        return [None] * len(column)
    numbers = column.to_numpy(zero_copy_only=False)
    written = np.array(list(map(str, numbers.tolist())), dtype=object)
    # Feast takes what is not a number for null.
    written[np.isnan(numbers)] = None
    found: list[str | None] = written.tolist()
    return found
