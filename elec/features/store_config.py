"""Feast's configuration, from the spec's `run.feast`: once as an object for our own code, once as YAML for Feast's own.

Both have the same content, but for secrets: they stay environment variables in the YAML.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from elec import storage
from elec.errors import ElecError, InputError
from elec.features.library import feast, quiet
from elec.spec.run import DataEngineSpec, FeastSpec

#: Rows written to the online store at a time. It has to be set: without it Feast writes the first Arrow batch only.
WRITE_BATCH = 2_000

#: Feast's DuckDB store, in the workers of Ray; a class, as Feast imports it.
RAY_STORE = "elec.features.ray_store.RayTasksOfflineStore"

_SECONDS_TO_WAIT_FOR_REDIS = 2
_VARIABLE = re.compile(r"\$\{?([A-Za-z_][A-Za-z0-9_]*)\}?")


class OnlineStoreError(ElecError):
    """The online store cannot be reached, or refuses."""


def feast_root(folder: str | Path) -> str:
    """The Feast folder as Feast needs it: absolute, or a URI."""
    return str(folder) if storage.is_s3(folder) else str(storage.local_path(folder).resolve())


def feature_store_settings(
    project: str,
    folder: str | Path,
    settings: FeastSpec,
    *,
    registry: str | None = None,
    data: DataEngineSpec | None = None,
) -> dict[str, Any]:
    """The content of `feature_store.yaml`.

    Args:
        project: Feast's project.
        folder: The Feast folder: registry, SQLite and data lie below it.
        settings: Of the online store.
        registry: The registry's file, if not `registry.db` in the folder.
        data: Where the offline store joins; this process when left out.

    Raises:
        InputError: If the settings do not fit each other or the folder.
    """
    root = feast_root(folder)
    return {
        "project": project,
        "provider": "local",
        "registry": {
            "path": registry or storage.join(root, "registry.db"),
            # Read once: a server answers by the definitions that it started with.
            "cache_ttl_seconds": 0,
            "serve_features_while_materializing": True,
        },
        "online_store": _online_store(root, settings),
        "offline_store": _offline_store(root, data),
        "entity_key_serialization_version": 3,
        "materialization": {"online_write_batch_size": WRITE_BATCH},
    }


def feature_store_yaml(content: dict[str, Any]) -> str:
    """The settings as Feast's YAML."""
    return "# Written by elec from the spec; the next run writes it again.\n" + yaml.safe_dump(content, sort_keys=False)


def open_store(content: dict[str, Any]) -> Any:
    """A `feast.FeatureStore` of the settings, with the environment's secrets in place.

    Raises:
        InputError: If a variable that the settings name is not set.
    """
    content = {**content, "online_store": with_secrets(content["online_store"])}
    with quiet():
        library = feast()
        return library.FeatureStore(config=library.RepoConfig(**content))


def with_secrets(online_store: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of an online store with the environment's variables in place of their names.

    Raises:
        InputError: If a variable is not set.
    """
    return {name: _expanded(value) for name, value in online_store.items()}


@contextmanager
def online_store_errors(settings: FeastSpec) -> Iterator[None]:
    """Turns what the online store refuses into one sentence, without the password.

    Raises:
        OnlineStoreError: In place of the store's own error.
    """
    try:
        yield
    except Exception as error:
        said = _said(error, settings)
        if said is None:
            raise
        raise OnlineStoreError(said) from error


def _said(error: Exception, settings: FeastSpec) -> str | None:
    """What an error of the online store means; None for one that is not the store's."""
    if settings.online_store == "sqlite":
        import sqlite3

        return f"the online store, SQLite beside the workspace, refuses ({error})" if isinstance(error, sqlite3.Error) else None
    from redis.exceptions import RedisError

    if not isinstance(error, RedisError):
        return None
    return (
        f"the online store, Redis at {_address(settings)}, does not answer ({type(error).__name__}); "
        "check that it runs, and run.feast.redis of the spec"
    )


def _offline_store(root: str, data: DataEngineSpec | None) -> dict[str, Any]:
    if data is None or data.engine == "local":
        return {"type": "duckdb"}
    return {"type": RAY_STORE, "workers": data.workers, "exchange": storage.join(root, "exchange")}


def _online_store(root: str, settings: FeastSpec) -> dict[str, Any]:
    if settings.online_store == "sqlite":
        if settings.redis is not None:
            raise InputError("run.feast.redis is given, but run.feast.online_store is sqlite; set online_store: redis")
        if storage.is_s3(root):
            raise InputError(
                f"{root}: run.feast.online_store is sqlite, which needs a workspace on disk; "
                "set run.feast.online_store to redis for a workspace on S3"
            )
        return {"type": "sqlite", "path": str(Path(root, "online_store.db"))}
    if settings.redis is None:
        raise InputError("run.feast.online_store is redis, but run.feast.redis does not say where; set it to host:port")
    options = {part.split("=", 1)[0] for part in settings.redis.split(",") if "=" in part}
    waits = "".join(
        f",{name}={_SECONDS_TO_WAIT_FOR_REDIS}" for name in ("socket_timeout", "socket_connect_timeout") if name not in options
    )
    # A corrected row keeps its timestamp: with Feast's check for newer timestamps Redis would never take it.
    return {"type": "redis", "connection_string": settings.redis + waits, "skip_dedup": True}


def _address(settings: FeastSpec) -> str:
    nodes = [part for part in (settings.redis or "").split(",") if "=" not in part]
    return ",".join(nodes) or "no address"


def _expanded(value: Any) -> Any:
    if not isinstance(value, str):
        return value

    def content_of(match: re.Match[str]) -> str:
        name = match.group(1)
        if name not in os.environ:
            raise InputError(f"run.feast.redis needs the environment variable {name}; export {name}=...")
        return os.environ[name]

    return _VARIABLE.sub(content_of, value)
