"""Feast's online stores as a server reads them: all keys and all views of an entity in one exchange, and nothing decoded.

Both lay values out as Feast 0.67 does: infra/online_stores/{redis,sqlite}.py. Time to live is Feast's: its reads do not look at
that of a view, and Redis itself lets go of keys that were written with one.
"""

import itertools
import json
import sqlite3
import struct
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeAlias

import mmh3

#: Keys of an entity, and which of its features are asked for, as view and name.
Asked: TypeAlias = tuple[Sequence[bytes], Sequence[tuple[str, str]]]

#: For each feature its stored values, one a key; None where there is none.
Stored: TypeAlias = list[Sequence[bytes | None]]


class OnlineStore(Protocol):
    """Where values are read."""

    def read(self, asked: Sequence[Asked]) -> list[Stored]:
        """The stored values of each entity that is asked for, all of them in one exchange."""


def online_store(content: Mapping[str, Any], project: str) -> OnlineStore:
    """The store of Feast's settings.

    Args:
        content: `online_store` of `feature_store.yaml`, with its variables replaced.
        project: Feast's project.
    """
    if content["type"] == "redis":
        return RedisStore(content["connection_string"], project)
    return SqliteStore(Path(content["path"]), project)


class RedisStore:
    """Redis: a hash for every entity, with a field for every view and feature.

    Args:
        connection_string: As Feast reads it: `host:port,name=value,...`.
        project: Feast's project, the last part of every key.
    """

    def __init__(self, connection_string: str, project: str) -> None:
        import redis
        from redis.backoff import NoBackoff
        from redis.retry import Retry

        parts = connection_string.split(",")
        host, _, port = next(part for part in parts if "=" not in part).partition(":")
        options = dict(part.split("=", 1) for part in parts if "=" in part)
        # A store that is gone is said at once; who asks decides whether to ask again.
        client = redis.Redis(
            host=host,
            port=int(port or 6379),
            retry=Retry(NoBackoff(), 0),
            **{name: _value(value) for name, value in options.items()},
        )
        self._pool = client.connection_pool
        self._lost = redis.ConnectionError
        self._project = project.encode()
        self._fields: dict[tuple[tuple[str, str], ...], tuple[bytes, bytes]] = {}

    def read(self, asked: Sequence[Asked]) -> list[Stored]:
        """As `OnlineStore` says.

        Raises:
            redis.RedisError: If Redis cannot be reached, or refuses.
        """
        project = self._project
        commands: list[bytes] = []
        for keys, features in asked:
            start, end = self._command(tuple(features))
            named = [key + project for key in keys]
            # One HMGET a key, as the protocol writes it (https://redis.io/docs/latest/develop/reference/protocol-spec/):
            # redis-py packs a command in ten times as long.
            commands += [b"%b$%d\r\n%b%b" % (start, len(key), key, end) for key in named]
        answers = iter(self._exchange(b"".join(commands), len(commands)) if commands else ())
        return [
            list(zip(*itertools.islice(answers, len(keys)), strict=True)) if keys else [() for _ in features]
            for keys, features in asked
        ]

    def _command(self, features: tuple[tuple[str, str], ...]) -> tuple[bytes, bytes]:
        """What stands before the key, and behind it."""
        if features not in self._fields:
            # Feast's name of a field: the hash of view and feature, four bytes.
            names = [struct.pack("<I", mmh3.hash(f"{view}:{name}", signed=False)) for view, name in features]
            start = b"*%d\r\n$5\r\nHMGET\r\n" % (len(names) + 2)
            self._fields[features] = (start, b"\r\n" + b"".join(b"$4\r\n" + name + b"\r\n" for name in names))
        return self._fields[features]

    def _exchange(self, commands: bytes, answers: int) -> list[list[bytes | None]]:
        for last in (False, True):
            connection: Any = self._pool.get_connection()
            try:
                connection.send_packed_command([commands])
                return [connection.read_response() for _ in range(answers)]
            except self._lost:
                # A connection that lay idle may have been closed from the other side; a new one tells.
                connection.disconnect()
                if last:
                    raise
            except BaseException:
                # Answers that were not read would be taken for those of the next question.
                connection.disconnect()
                raise
            finally:
                self._pool.release(connection)
        raise AssertionError("not reached")


class SqliteStore:
    """SQLite: a table for every view, with a row for every entity and feature.

    Args:
        path: The file.
        project: Feast's project, the first part of every table's name.
    """

    def __init__(self, path: Path, project: str) -> None:
        self._path = path
        self._project = project
        self._lock = threading.Lock()
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None

    def read(self, asked: Sequence[Asked]) -> list[Stored]:
        """As `OnlineStore` says.

        Raises:
            sqlite3.Error: If the file is not there, has no table of a view, or cannot be read.
        """
        with self._lock:
            connection = self._current()
            return [self._read(connection, keys, features) for keys, features in asked]

    def _read(self, connection: sqlite3.Connection, keys: Sequence[bytes], features: Sequence[tuple[str, str]]) -> Stored:
        found: dict[tuple[str, bytes, str], bytes] = {}
        places = ",".join("?" * len(keys))
        for view in dict.fromkeys(view for view, _ in features):
            table = f"{self._project}_{view}".replace('"', '""')
            rows = connection.execute(
                f'SELECT entity_key, feature_name, value FROM "{table}" WHERE entity_key IN ({places})',  # noqa: S608 - quoted
                keys,
            )
            found |= {(view, key, name): value for key, name, value in rows}
        return [[found.get((view, key, name)) for key in keys] for view, name in features]

    def _current(self) -> sqlite3.Connection:
        """A connection to the file that is there now: one that was put in its place is another file."""
        try:
            status = self._path.stat()
        except OSError as error:
            raise sqlite3.OperationalError(f"{self._path}: {error.strerror}") from None
        there = (status.st_dev, status.st_ino)
        if self._connection is None or there != self._opened:
            if self._connection is not None:
                self._connection.close()
            uri = f"{self._path.resolve().as_uri()}?mode=ro"
            self._connection = sqlite3.connect(uri, uri=True, check_same_thread=False)
            self._opened = there
        return self._connection


def _value(text: str) -> Any:
    """The value of an option as Feast reads it: JSON, or else the text."""
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
