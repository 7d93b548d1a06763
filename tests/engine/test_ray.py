"""The same million rows in this process and in a real Ray cluster with two workers: equal row for row.

The engine takes the cluster for other machines: files travel through a folder that all of them see, and in another test S3.
"""

import importlib
import os
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from benchmarks.data.made_log import made_spec, write_log
from elec import storage
from elec.engine import Engine, LocalEngine, started
from elec.engine.exchange import Exchange
from elec.errors import InputError, RunFailedError
from elec.features import ray_store
from elec.features.build import FeaturesReport, build_features
from elec.features.definitions import apply, definitions
from elec.features.frame import write_frame
from elec.features.repository import FeatureRepository
from elec.features.store_config import RAY_STORE, feature_store_settings, open_store
from elec.ingest import SPLITS, IngestReport, ingest
from elec.progress import Progress
from elec.spec import Spec
from elec.spec.run import DataEngineSpec, FeastSpec, RunSpec
from tests.serving.made import s3_bucket

ray = pytest.importorskip("ray")

AS_OF = datetime(2026, 1, 1, tzinfo=UTC)
ROWS = 1_000_000
SETTINGS = DataEngineSpec(engine="ray", workers=2)


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    with pytest.MonkeyPatch.context() as patch, s3_bucket(patch) as uri:
        yield uri


@pytest.fixture(scope="module")
def address(s3: str) -> Iterator[str]:
    """A cluster with two workers, which know where S3 is."""
    from elec.engine import on_ray

    cluster_utils = importlib.import_module("ray.cluster_utils")
    head = {"num_cpus": 2, "include_dashboard": False, "object_store_memory": 100 * 2**20}
    cluster = cluster_utils.Cluster()
    for left in reversed(range(3)):
        try:
            cluster.add_node(**head)
            break
        except Exception:  # A busy machine may need longer than Ray waits.
            if not left:
                raise
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv(on_ray.ADDRESS, cluster.address)
            yield cluster.address
    finally:
        cluster.shutdown()


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("exchange")


@pytest.fixture(scope="module")
def engine(address: str, place: Path) -> Iterator[Engine]:
    with started(SETTINGS, str(place)) as found:
        yield found


def spec_of(folder: Path, **dataset: Any) -> Spec:
    """Fields of users and items that change, so that the frame has something to join."""
    content = made_spec(folder, "parquet").model_dump()
    for field in content["fields"]:
        field["of"] = {"word3": "user", "word5": "item", "price": "item"}.get(field["name"], field["of"])
    return Spec.model_validate({"dataset": content | dataset})


def work(spec: Spec, folder: Path, engine: Engine) -> tuple[IngestReport, FeaturesReport]:
    ingested = ingest(spec.dataset, folder / "ingested", as_of=AS_OF, now=AS_OF, engine=engine)
    built = build_features(
        spec, folder / "ingested", folder / "features", feast_folder=folder / "feast", as_of=AS_OF, engine=engine
    )
    return ingested, built.model_copy(update={"seconds": {}})


def check_equal(one: Path, other: Path) -> None:
    """Row for row, and byte for byte what has no rows."""
    for split in SPLITS:
        for name in (f"ingested/{split}", f"features/frame/{split}", f"features/encoded/{split}"):
            assert pq.read_table(one / f"{name}.parquet").equals(pq.read_table(other / f"{name}.parquet")), name
    for name in ("ingested/users.parquet", "ingested/items.parquet", "ingested/quarantine.parquet"):
        assert pq.read_table(one / name).equals(pq.read_table(other / name)), name
    views = sorted(file.relative_to(one) for file in (one / "feast" / "data").rglob("*.parquet"))
    assert views == sorted(file.relative_to(other) for file in (other / "feast" / "data").rglob("*.parquet"))
    for view in views:
        assert pq.read_table(one / view).equals(pq.read_table(other / view)), view
    vocabularies = sorted((one / "features" / "vocabulary").iterdir())
    assert len(vocabularies) > 9
    for file in vocabularies:
        assert file.read_bytes() == (other / "features" / "vocabulary" / file.name).read_bytes(), file.name


def test_a_cluster_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    message = r"the cluster at 127\.0\.0\.1:1 does not start or answer"
    with pytest.raises(InputError, match=message), started(SETTINGS, str(tmp_path)):
        pass


@pytest.mark.slow
def test_a_million_rows_are_equal_row_for_row(engine: Engine, place: Path, tmp_path: Path) -> None:
    write_log(tmp_path / "log", ROWS, 5, "parquet")
    aggregates = [
        {"by": ["item"], "windows": ["1d"], "every": "6h"},
        {"by": ["word3", "word5", "word1"], "windows": ["12h", "2d"], "every": "12h"},
    ]
    spec = spec_of(tmp_path / "log", aggregates=aggregates, crossed=[["word1", "word3"]])
    here, there = work(spec, tmp_path / "local", LocalEngine()), work(spec, tmp_path / "ray", engine)
    assert here == there
    assert here[0].rows_read == ROWS
    check_equal(tmp_path / "local", tmp_path / "ray")
    assert list(place.iterdir()) == []


def test_files_travel_through_s3(engine: Engine, s3: str, tmp_path: Path) -> None:
    """CSV, whose rows nobody counts before they are read; duplicates; a random split; crossed fields; aggregates."""
    log = tmp_path / "log"
    write_log(log, 12_000, 3, "csv")
    for path in sorted(log.iterdir()):
        text = path.read_bytes()
        storage.write_bytes(f"{s3}/log/{path.name}", text + text.splitlines(keepends=True)[-1])
    content = spec_of(log).dataset.model_dump() | {
        "source": {"path": f"{s3}/log/*.csv"},
        "duplicates": "drop",
        "crossed": [["word0", "word1"]],
        "aggregates": [
            {"by": ["item"], "windows": ["1h", "1d"]},
            {"by": ["user", "word5"], "windows": ["1d"], "what": ["ctr"]},
        ],
        "split": {"by": "random"},
    }
    spec = Spec.model_validate({"dataset": content})
    here = work(spec, tmp_path / "local", LocalEngine())
    with started(SETTINGS, f"{s3}/exchange") as through_s3:
        there = work(spec, tmp_path / "ray", through_s3)
    assert here == there
    assert here[0].duplicates_dropped == 3
    check_equal(tmp_path / "local", tmp_path / "ray")
    assert storage.list_files(f"{s3}/exchange") == []


def test_feast_joins_in_the_workers(engine: Engine, s3: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """First within a run, on files that all machines see; then as a notebook would, with all of it on S3."""
    write_log(tmp_path / "log", 12_000, 3, "parquet")
    spec = spec_of(tmp_path / "log")
    joined = spec.model_copy(update={"run": RunSpec(feast=FeastSpec(join="feast"), data=SETTINGS)})
    monkeypatch.setattr(ray_store, "_FEWEST_ROWS", 1_000)
    one, two = tmp_path / "fast", tmp_path / "joined"
    assert work(spec, one, LocalEngine())[0] == work(joined, two, engine)[0]
    check_equal(one, two)
    assert list((two / "feast" / "exchange").iterdir()) == []

    repository = FeatureRepository(spec.dataset, two / "feast", FeastSpec(), SETTINGS)
    content = feature_store_settings(repository.project, two / "feast", FeastSpec(), registry=str(tmp_path / "s3.db"))
    content["offline_store"] = {"type": RAY_STORE, "exchange": f"{s3}/exchange"}
    store, found = open_store(content), repository.versions()
    for view in found.views:
        rows = Path(repository.data_folder, f"{view}.parquet").read_bytes()
        storage.write_bytes(f"{s3}/data/{view}.parquet", rows)
    apply(store, definitions(spec.dataset, found, f"{s3}/data"))
    with Progress("join", unit="rows") as progress:
        rows_of = one / "ingested" / "train.parquet"
        write_frame(store, found.service, spec.dataset, rows_of, tmp_path / "s3.parquet", progress, join="feast")
    assert pq.read_table(tmp_path / "s3.parquet").equals(pq.read_table(one / "features" / "frame" / "train.parquet"))
    assert storage.list_files(f"{s3}/exchange") == []


def double(number: int) -> int:
    return 2 * number


def refuse(number: int) -> int:
    if number == 3:
        raise InputError("row 3 is wrong")
    if number == 5:
        raise ValueError("a bug")
    return number


def die(number: int) -> int:
    os._exit(1)


def test_results_come_in_order(engine: Engine) -> None:
    assert list(engine.map(double, range(50))) == [2 * number for number in range(50)]
    assert engine.pieces == 4


def test_what_a_worker_raises_is_raised_here(engine: Engine) -> None:
    with pytest.raises(InputError, match=r"^row 3 is wrong$"):
        list(engine.map(refuse, range(5)))
    with pytest.raises(ValueError, match=r"^a bug$"):
        list(engine.map(refuse, range(4, 6)))


def test_a_worker_that_is_lost(engine: Engine) -> None:
    with pytest.raises(RunFailedError, match=r"a worker of Ray was lost 4 times .*raise run\.cluster\.memory"):
        list(engine.map(die, [1]))


def test_a_file_that_is_wrong_is_named(engine: Engine, tmp_path: Path) -> None:
    write_log(tmp_path / "log", 3_000, 3, "parquet")
    (tmp_path / "log" / "day0001.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match=r"day0001\.parquet"):
        ingest(spec_of(tmp_path / "log").dataset, tmp_path / "out", as_of=AS_OF, now=AS_OF, engine=engine)
    assert not (tmp_path / "out").exists()


def test_a_cluster_needs_a_place(address: str) -> None:
    with pytest.raises(InputError, match="RAY_ADDRESS is set, but the machines of a cluster share nothing"), started(SETTINGS):
        pass


def test_an_exchange_leaves_nothing(tmp_path: Path) -> None:
    with Exchange.below(str(tmp_path / "here")) as exchange:
        shared = exchange.share(Path(__file__), "a.py")
        assert shared.here().read_bytes() == Path(__file__).read_bytes()
        assert shared.here() != Path(__file__), "other machines do not see this one's files"
    assert list((tmp_path / "here").iterdir()) == []
    with Exchange.below("") as exchange:
        assert exchange.share(Path(__file__), "a.py").here() == Path(__file__).resolve()
