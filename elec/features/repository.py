"""Feast's state in the workspace: its registry, the rows that its views read, and what its online store holds.

<feast folder>/feature_store.yaml          for Feast's own commands
<feast folder>/registry.db                 definitions
<feast folder>/data/<project>/*.parquet    the rows of the views, one per key and moment; text vectors, one per key
<feast folder>/data/<project>/online.json  what was written to the online store, and from which rows
<feast folder>/online_store.db             SQLite; with Redis there is none
"""

import fcntl
import shutil
import tempfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from elec import s3, storage
from elec.engine import Engine
from elec.features.aggregates.rows import aggregate_rows
from elec.features.definitions import (
    apply,
    check_names,
    data_file,
    definitions,
    project_name,
    vector_definitions,
    wanted_views,
)
from elec.features.engine import duckdb_connection, quoted
from elec.features.feast_registry import read_registry
from elec.features.materialize import ViewRows, materialize
from elec.features.store_config import (
    feast_root,
    feature_store_settings,
    feature_store_yaml,
    online_store_errors,
    open_store,
)
from elec.features.vectors import VECTOR, VectorViews, write_vectors
from elec.features.versions import Versions, View, versions
from elec.spec import DatasetSpec, Entity
from elec.spec.run import DataEngineSpec, FeastSpec

_SQL_TYPES = {pa.string(): "VARCHAR", pa.float64(): "DOUBLE", pa.list_(pa.string()): "VARCHAR[]"}


def write_feature_store(
    dataset: DatasetSpec, folder: str | Path, settings: FeastSpec, data: DataEngineSpec | None = None
) -> str:
    """Writes `feature_store.yaml`, with which Feast's own commands work on the folder.

    Args:
        dataset: Gives the project its name.
        folder: The Feast folder, a path or `s3://`.
        settings: Of the online store.
        data: Where the offline store joins; this process when left out.

    Returns:
        Where the file is.

    Raises:
        InputError: If the settings do not fit each other or the folder.
    """
    file = storage.join(feast_root(folder), "feature_store.yaml")
    content = feature_store_settings(project_name(dataset.name), folder, settings, data=data)
    storage.write_bytes(file, feature_store_yaml(content).encode())
    return file


@dataclass(frozen=True)
class Published:
    """What `FeatureRepository.published` put in place.

    Attributes:
        store: The `feast.FeatureStore`, to join with.
        online: For each view, which rows went to the online store: `all`, `new` or `none`.
        service: The version of the feature service that has the fields of the spec, no more and no less; None if it has none.
        views: Where the fields of users and items, and what else the spec describes, are: names of Feast's views, by ours.
    """

    store: Any
    online: dict[str, str]
    service: str | None = None
    views: dict[str, str] = field(default_factory=dict)


class FeatureRepository:
    """The Feast project of one data set.

    Args:
        dataset: The spec.
        folder: The Feast folder, a path or `s3://`.
        settings: Of the online store.
        data: Where the offline store joins; this process when left out.

    Raises:
        InputError: If the settings do not fit each other or the folder, or a field's name cannot be used.
    """

    def __init__(
        self, dataset: DatasetSpec, folder: str | Path, settings: FeastSpec, data: DataEngineSpec | None = None
    ) -> None:
        check_names(dataset)
        self.dataset = dataset
        self.root = feast_root(folder)
        self.settings = settings
        self.data = data
        self.project = project_name(dataset.name)
        self.data_folder = storage.join(self.root, "data", self.project)
        self._registry: str = feature_store_settings(self.project, self.root, settings)["registry"]["path"]

    @contextmanager
    def published(self, ingested: Path, as_of: datetime, engine: Engine | None = None) -> Iterator[Published]:
        """Puts rows, definitions and online store in place; safe to repeat, and after a run that was killed.

        On disk the folder is held until the block ends, since another run replaces the rows that this one still joins. On S3
        there is no lock; there the block joins local copies, as DuckDB reads S3 only with an extension that it downloads.

        Args:
            ingested: The folder with `users.parquet` and `items.parquet`.
            as_of: Rows that became true later stay invisible online.
            engine: Whose workers compute aggregates; this process when left out.

        Raises:
            OnlineStoreError: If the online store cannot be reached.
            InputError: If S3 refuses.
        """
        with self._lock(), tempfile.TemporaryDirectory(prefix="elec-feast-") as scratch:
            found = self.versions()
            counted = aggregate_rows(self.dataset, ingested, Path(scratch), as_of, engine)
            rows = self.publish_rows(found, ingested, Path(scratch), counted)
            made = self._put_online(lambda folder: definitions(self.dataset, found, folder), rows, Path(scratch), as_of)
            yield replace(made, service=found.service, views=dict(found.chosen))

    def versions(self) -> Versions:
        """The views and services of the spec beside those that are there.

        Raises:
            InputError: If the registry cannot be read, or S3 refuses.
        """
        return versions(self.project, wanted_views(self.dataset), read_registry(self._registry, self.project))

    def publish_vectors(self, vectors: VectorViews, rows: dict[Entity, Path], as_of: datetime) -> dict[str, str]:
        """Puts the text vectors of users and items in place and online, in the views of their own projection.

        Args:
            vectors: Which views.
            rows: For users and items a Parquet file with the key, the column `vector`, and `event_timestamp` where a vector
                has one.
            as_of: Vectors that are newer stay invisible online.

        Returns:
            For each view, which rows went to the online store: `all`, `new` or `none`.

        Raises:
            OnlineStoreError: If the online store cannot be reached.
            InputError: If S3 refuses, or a vector has another length.
        """
        with self._lock(), tempfile.TemporaryDirectory(prefix="elec-feast-") as scratch:
            views = []
            for entity, file in rows.items():
                key, name = self.dataset.key_of(entity), vectors.name(entity)
                copy = Path(scratch, f"{name}.parquet")
                write_vectors(file, copy, key, vectors.size)
                _publish_file(copy, vectors.file(self.data_folder, entity))
                views.append(ViewRows(name, (key,), (VECTOR,), copy))
            made = self._put_online(
                lambda folder: vector_definitions(self.dataset, vectors, folder), views, Path(scratch), as_of
            )
            return made.online

    def _put_online(
        self, objects: Callable[[str], list[Any]], views: Sequence[ViewRows], scratch: Path, as_of: datetime
    ) -> Published:
        """Applies definitions and writes the views' rows to the online store.

        Args:
            objects: Makes the definitions of a folder of data.
            views: What they read; on S3 there is a copy of it in `scratch`.
            scratch: For local copies.
            as_of: Later rows stay invisible.
        """
        on_s3 = storage.is_s3(self.root)
        # Feast writes its registry file in place, and a run killed meanwhile would leave half of it.
        registry = scratch / "registry.db"
        if storage.exists(self._registry):
            registry.write_bytes(storage.read_bytes(self._registry))
        store = self._store(str(registry))
        with online_store_errors(self.settings):
            apply(store, objects(str(scratch) if on_s3 else self.data_folder))
            online = materialize(store, views, storage.join(self.data_folder, "online.json"), as_of)
            final = registry
            if on_s3:
                final = scratch / "final.db"
                shutil.copyfile(registry, final)
                apply(self._store(str(final)), objects(self.data_folder))
        storage.write_bytes(self._registry, final.read_bytes())
        write_feature_store(self.dataset, self.root, self.settings, self.data)
        return Published(store, online)

    def _store(self, registry: str) -> Any:
        return open_store(feature_store_settings(self.project, self.root, self.settings, registry=registry, data=self.data))

    @contextmanager
    def _lock(self) -> Iterator[None]:
        if storage.is_s3(self.root):
            yield
            return
        Path(self.root).mkdir(parents=True, exist_ok=True)
        with Path(self.root, ".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def publish_rows(
        self, found: Versions, ingested: Path, scratch: Path, counted: Mapping[str, Path] | None = None
    ) -> list[ViewRows]:
        """Puts the rows of users, items and aggregates where the views read them, each file in one step.

        Args:
            found: The views.
            ingested: The folder with a file of each wanted view: `users.parquet` and `items.parquet`.
            scratch: A folder for a copy of what is written.
            counted: The rows of the aggregates' views, by view, in their final order.

        Returns:
            What there is to write online, from the copies.
        """
        written = []
        for view in found.views.values():
            if view.rows is not None:
                file = scratch / f"{view.name}.parquet"
                there = (counted or {}).get(view.rows)
                _write_rows(view, there or ingested / f"{view.rows}.parquet", file, in_order=there is not None)
                _publish_file(file, data_file(self.data_folder, view.name))
                written.append(ViewRows(view.name, view.keys, view.filled, file))
        return written


def _write_rows(view: View, source: Path, target: Path, *, in_order: bool) -> None:
    """Writes a view's rows, sorted; what is not filled any more is null.

    Of rows with the same key and moment the last one stays: Feast would take any of them.

    Args:
        view: The view.
        source: Its rows, a file that stays as it is.
        target: The file to write.
        in_order: Whether they are sorted, each with a key and a moment of its own.
    """
    if in_order and set(pq.read_schema(source).names) == {*view.keys, "event_timestamp", *view.features}:
        target.hardlink_to(source)
        return
    keys = ", ".join(quoted(key) for key in view.keys)
    known = " AND ".join(f"{quoted(key)} IS NOT NULL" for key in view.keys)
    columns = ", ".join(
        quoted(name) if name in view.filled else f"CAST(NULL AS {_SQL_TYPES[kind]}) AS {quoted(name)}"
        for name, kind in view.features.items()
    )
    chosen = f"""
        WHERE {known}
        QUALIFY row_number() OVER (PARTITION BY {keys}, event_timestamp ORDER BY file_row_number DESC) = 1
        ORDER BY {keys}, event_timestamp
    """
    with duckdb_connection() as connection:
        connection.execute(
            f"""
            COPY (
                SELECT {keys}, event_timestamp, {columns} FROM read_parquet($rows, file_row_number = true)
                {"" if in_order else chosen}
            ) TO '{target}' (FORMAT parquet)
            """,  # noqa: S608 - names are quoted, and the path is our own
            {"rows": str(source)},
        )


def _publish_file(file: Path, target: str) -> None:
    """Puts a copy of a file in its place, in one step."""
    if storage.is_s3(target):
        from pyarrow import fs

        fs.copy_files(str(file), target.removeprefix("s3://"), destination_filesystem=s3.filesystem())
        return
    path = Path(target)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    try:
        shutil.copyfile(file, temporary)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
