"""The shipped specs: MovieLens-100K as fetched, MovieLens-1M in both layouts on made files."""

from pathlib import Path

import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
import pytest

from elec.ingest import Ingested, ingest
from elec.spec import cache_folder, load_spec, shipped_specs
from tests.ingest.made import AS_OF, NOW


def test_movielens_100k(tmp_path: Path) -> None:
    if not (cache_folder() / "datasets" / "movielens-100k" / "ml-100k.inter").exists():
        pytest.skip("MovieLens-100K is not in the cache: elec data fetch movielens-100k")
    report = ingest(load_spec("movielens-100k").dataset, tmp_path / "out", as_of=AS_OF, now=NOW)
    assert (report.rows_read, report.rows_kept, report.users, report.items) == (100_000, 100_000, 943, 1682)
    assert report.split_rows["train"] == pytest.approx(80_000, abs=10)
    assert report.split_rows["test"] == pytest.approx(10_000, abs=10)
    data = Ingested(tmp_path / "out")
    users, items = pq.read_table(data.users), pq.read_table(data.items)
    assert (len(users), len(items)) == (943, 1682)
    assert "T8H1N" in users["zip_code"].to_pylist(), "zip codes are text"
    assert any(code.startswith("0") for code in users["zip_code"].to_pylist())
    toy_story = items.filter(pa.compute.equal(items["item_id"], "1")).to_pylist()[0]
    assert toy_story["genres"] == ["Animation", "Children's", "Comedy"]
    train = pq.read_table(data.train)
    clicks = pa.compute.sum(train["label"]).as_py()
    assert clicks / len(train) == pytest.approx(report.label_rate["train"])
    assert report.last_event["train"] < report.first_event["valid"] <= report.last_event["valid"] < report.first_event["test"]


def _side_files(folder: Path) -> None:
    users = [f"{user}::{'FM'[user % 2]}::25::10::0{user}067" for user in range(1, 11)]
    (folder / "users.dat").write_text("\n".join(users))
    movies = [f"{movie}::Cit\xe9 {movie}, The (1995)::Comedy|Children's" for movie in range(1, 21)]
    (folder / "movies.dat").write_bytes("\r\n".join(movies).encode("latin-1"))


def _check_side_tables(folder: Path) -> None:
    items = pq.read_table(Ingested(folder).items).to_pylist()
    assert items[0] == {**items[0], "movie_id": "1", "title": "Cit\xe9 1, The (1995)", "genres": ["Comedy", "Children's"]}
    assert pq.read_table(Ingested(folder).users)["zip_code"][0].as_py() == "01067"


def test_movielens_1m_official_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELEC_MOVIELENS_1M", str(tmp_path))
    ratings = [f"{1 + i % 10}::{1 + i % 20}::{1 + i % 5}::{978_300_000 + i}" for i in range(1000)]
    (tmp_path / "ratings.dat").write_text("\n".join(ratings))
    _side_files(tmp_path)
    report = ingest(load_spec("movielens-1m").dataset, tmp_path / "out", as_of=AS_OF, now=NOW)
    assert (report.rows_read, report.rows_dropped, report.rows_kept) == (1000, 200, 800)
    assert report.split_rows == {"train": 640, "valid": 80, "test": 80}
    assert report.label_rate["train"] == 0.5
    _check_side_tables(tmp_path / "out")


def test_movielens_1m_parquet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELEC_MOVIELENS_1M_PARQUET", str(tmp_path))
    splits = ["train"] * 800 + ["valid"] * 100 + ["test"] * 100
    table = pa.table(
        {
            "user_id": pa.array([1 + i % 10 for i in range(1000)], pa.int32()),
            "movie_id": pa.array([1 + i % 20 for i in range(1000)], pa.int32()),
            "rating": pa.array([1 + i % 5 for i in range(1000)], pa.int8()),
            "split": pa.array(splits, pa.large_string()),
            "timestamp": pa.array([None if i < 800 else 978_300_000 + i for i in range(1000)], pa.int64()),
        }
    )
    pq.write_table(table, tmp_path / "ratings.parquet")
    _side_files(tmp_path)
    report = ingest(load_spec("movielens-1m-parquet").dataset, tmp_path / "out", as_of=AS_OF, now=NOW)
    assert report.split_rows == {"train": 640, "valid": 80, "test": 80}
    assert report.first_event["train"] == report.last_event["train"] < report.first_event["valid"]
    _check_side_tables(tmp_path / "out")


@pytest.mark.parametrize("name", sorted(shipped_specs()))
def test_shipped_specs_load_and_name_no_place_of_ours(name: str) -> None:
    spec = load_spec(name).dataset
    assert spec.name == name
    assert spec.description
    assert Path(spec.source.path).is_absolute()
    assert "/work" not in shipped_specs()[name].read_text()
