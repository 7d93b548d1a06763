"""Feast's offline store on Ray: `get_historical_features`, each task some of the rows.

`feature_store.yaml` names it where `run.data.engine` is ray, so Feast's own commands and notebooks use it, too. It is Feast's
DuckDB store: what that store gives for a row does not depend on the other rows, so they are cut into pieces, workers give
theirs to the DuckDB store, and the answers are put together. Values and types are those of one process. What is no join
(materialisation, saved data sets) the DuckDB store does in this process.

Feast has a store of type `ray` as well, which loses rows: docs/distributed.md.

Only Feast imports this module, by the name in its settings; `elec.features.store_config` has the name.
"""

import copy
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import ibis  # type: ignore[import-untyped, unused-ignore]
import pyarrow as pa
import pyarrow.parquet as pq
from feast.data_format import ParquetFormat
from feast.infra.offline_stores.duckdb import DuckDBOfflineStore, DuckDBOfflineStoreConfig
from feast.infra.offline_stores.file_source import FileSource

from elec import storage
from elec.engine import Engine, started
from elec.engine.exchange import Exchange, Shared, fetch
from elec.engine.pieces import map_file
from elec.errors import InputError
from elec.features.library import feast, own_tables, quiet
from elec.spec.run import DataEngineSpec

if TYPE_CHECKING:
    import pandas as pd

#: Of a task: below, Feast's planning and the reading of the views take longer than the join.
_FEWEST_ROWS = 20_000

_MOMENT = pa.timestamp("us", tz="UTC")


class RayTasksOfflineStoreConfig(DuckDBOfflineStoreConfig):  # type: ignore[misc, unused-ignore]
    """The settings of `offline_store` in `feature_store.yaml`.

    Attributes:
        type: Names the store.
        workers: Processes of this machine, where neither a Ray runs already nor RAY_ADDRESS names a cluster.
        exchange: A folder or an `s3://` URI that all machines of a cluster reach.
    """

    type: str = "elec.features.ray_store.RayTasksOfflineStore"
    workers: int = 2
    exchange: str = ""


class RayTasksOfflineStore(DuckDBOfflineStore):  # type: ignore[misc, unused-ignore]
    """See the module."""

    @staticmethod
    def get_historical_features(
        config: Any,
        feature_views: Sequence[Any],
        feature_refs: Sequence[str],
        entity_df: "pd.DataFrame | str | None",
        registry: Any,
        project: str,
        full_feature_names: bool = False,
        filter_by_created_timestamp: bool = False,
        **period: Any,
    ) -> Any:
        """Joins at once; see Feast's `OfflineStore.get_historical_features`.

        Args:
            config: Feast's, with the store's settings.
            feature_views: All that are asked for.
            feature_refs: As `view:feature`.
            entity_df: The rows.
            registry: Feast's.
            project: Feast's.
            full_feature_names: Whether columns are called `view__feature`.
            filter_by_created_timestamp: Whether rows count that were written later.
            period: Given where no rows are.

        Returns:
            Feast's retrieval job; the rows are in no order.

        Raises:
            InputError: If no frame is given, an on-demand view is asked for, a source is no Parquet file, or Ray cannot be
                reached.
        """
        if entity_df is None or isinstance(entity_df, str) or period:
            raise InputError("the offline store on Ray joins rows that it is given; give entity_df as a DataFrame")
        _check(feature_views, feature_refs, registry, project)
        settings = DataEngineSpec(engine="ray", workers=config.offline_store.workers)
        asked = {
            "feature_refs": list(feature_refs),
            "full_feature_names": full_feature_names,
            "filter_by_created_timestamp": filter_by_created_timestamp,
        }
        with (
            tempfile.TemporaryDirectory(prefix="elec-feast-") as scratch,
            started(settings, config.offline_store.exchange) as engine,
        ):
            rows, joined = Path(scratch, "rows.parquet"), Path(scratch, "joined.parquet")
            _write_rows(entity_df, rows, engine)
            with engine.exchange() as exchange:
                views = [
                    (view, _source(view, config.repo_path, exchange, Path(scratch, f"{number}.parquet")))
                    for number, view in enumerate(feature_views)
                ]
                # It is not run here, but knows what Feast wants to know of a job.
                job = DuckDBOfflineStore.get_historical_features(
                    config=config,
                    feature_views=[_reading(view, shared.here()) for view, shared in views],
                    entity_df=entity_df,
                    registry=registry,
                    project=project,
                    **asked,
                )
                map_file(engine, _Join(tuple(views), asked), rows, joined)
            job.table = ibis.memtable(pq.read_table(joined))
        return job


@dataclass(frozen=True)
class _Join:
    """Joins a piece by Feast's DuckDB store.

    Attributes:
        views: Feast's, and the file of each.
        asked: The other arguments of the DuckDB store.
    """

    views: tuple[tuple[Any, Shared], ...]
    asked: dict[str, Any]

    def __call__(self, rows: Path, target: Path) -> int:
        library = feast()
        table = pq.read_table(rows)
        with quiet(), own_tables():
            config = library.RepoConfig(
                project="piece",
                provider="local",
                registry=str(target.with_suffix(".db")),
                offline_store={"type": "duckdb"},
                entity_key_serialization_version=3,
            )
            joined = DuckDBOfflineStore.get_historical_features(
                config=config,
                feature_views=[_reading(view, shared.here()) for view, shared in self.views],
                entity_df=table.to_pandas(),
                registry=SimpleNamespace(list_on_demand_feature_views=lambda *_, **__: []),
                project="piece",
                **self.asked,
            ).to_arrow()
        # What a piece holds must not decide its types: it may have no key at all.
        for field in table.schema:
            kind = _MOMENT if pa.types.is_timestamp(field.type) else field.type
            position = joined.schema.get_field_index(field.name)
            joined = joined.set_column(position, field.name, joined[field.name].cast(kind))
        pq.write_table(joined, target)
        return int(joined.num_rows)


def _check(views: Sequence[Any], asked: Sequence[str], registry: Any, project: str) -> None:
    on_demand = {view.name for view in registry.list_on_demand_feature_views(project)}
    for name in (one.partition(":")[0] for one in asked):
        if name in on_demand:
            raise InputError(
                f"feature view '{name}': the offline store on Ray has no on-demand views; ask for those it is made of"
            )
    for view in views:
        source = view.batch_source
        if not isinstance(source, FileSource) or not isinstance(source.file_format, ParquetFormat | None):
            raise InputError(f"feature view '{view.name}': the offline store on Ray reads Parquet files; give it a FileSource")


def _write_rows(frame: "pd.DataFrame", file: Path, engine: Engine) -> None:
    """Writes the rows so that they can be cut into pieces; a row group is one."""
    table = pa.Table.from_pandas(frame, preserve_index=False)
    pq.write_table(table, file, row_group_size=max(_FEWEST_ROWS, -(-table.num_rows // engine.pieces)))


def _source(view: Any, repo_path: Any, exchange: Exchange, copy_here: Path) -> Shared:
    """The file that a view reads, for all workers."""
    uri = FileSource.get_uri_for_file_path(repo_path, view.batch_source.path)
    if storage.is_s3(uri):
        # The next run puts another file there.
        fetch(uri, copy_here)
        return exchange.share(copy_here, copy_here.name)
    return exchange.share(storage.local_path(uri), copy_here.name)


def _reading(view: Any, file: Path) -> Any:
    """A view that reads a file of this machine."""
    found = copy.copy(view)
    found.batch_source = copy.deepcopy(view.batch_source)
    found.batch_source.file_options.uri = str(file)
    # A copy's name does not tell.
    found.batch_source.file_options.file_format = ParquetFormat()
    return found
