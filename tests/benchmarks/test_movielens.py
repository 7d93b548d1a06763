"""MovieLens-1M as a log: the fields and rows of the published figures."""

import os
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from benchmarks.evidence.movielens import PROTOCOLS, data_folder, main, make
from elec.errors import InputError
from elec.spec import Kind, load_spec


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    columns = {
        "user_id": [1, 1, 2],
        "movie_id": [5, 6, 5],
        "rating": [5, 3, 1],
        "label": [1, 0, 0],
        "split": ["train", "valid", "test"],
    }
    pq.write_table(
        pa.table({**columns, "timestamp": pa.array([None, 978300760, 978302109], pa.int64())}), folder / "ratings.parquet"
    )
    (folder / "users.dat").write_text("1::F::1::10::48067\n2::M::56::16::70072\n")
    (folder / "movies.dat").write_bytes("5::L'Été: a \"film\" (1995)::Drama|Children's\n6::No year::Comedy\n".encode("latin-1"))
    return folder


def test_the_tables(files: Path, tmp_path: Path) -> None:
    make(files, tmp_path / "log", "time")
    users, items, log = (pq.read_table(tmp_path / "log" / f"{name}.parquet") for name in ("users", "items", "log"))
    assert users.to_pylist() == [
        {"user_id": "1", "gender": "female", "age": "under 18", "occupation": "K-12 student"},
        {"user_id": "2", "gender": "male", "age": "56 or older", "occupation": "self-employed"},
    ]
    assert items.to_pylist() == [
        {"movie_id": "5", "title": 'L\'Été: a "film"', "release_year": "1995", "genres": "Drama|Children's"},
        {"movie_id": "6", "title": "No year", "release_year": None, "genres": "Comedy"},
    ]
    assert log["split"].to_pylist() == ["train", "valid", "test"]
    # No row has a history, in no window.
    assert len(set(log["timestamp"].to_pylist())) == 1


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_spec_has_the_published_fields(protocol: str, files: Path, tmp_path: Path) -> None:
    make(files, tmp_path / "log", protocol)
    dataset = load_spec(tmp_path / "log" / "spec.yaml").dataset
    tabular = {field.name for field in dataset.tabular_fields}
    assert tabular == {"user_id", "movie_id", "gender", "age", "occupation", "genres", "release_year"}
    assert [field.name for field in dataset.fields if field.kind is Kind.TEXT] == ["title"]
    assert dataset.split.by == {"random": "random", "time": "column"}[protocol]


def test_what_is_wrong_is_one_sentence(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (files / "users.dat").write_text("no columns\n")
    with pytest.raises(InputError, match="not MovieLens-1M's"):
        make(files, tmp_path / "log", "time")
    (files / "users.dat").unlink()
    monkeypatch.setattr(
        "sys.argv", ["movielens", "--data", str(files), "--output", str(tmp_path / "log"), "--protocol", "time"]
    )
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert "users.dat: no such file" in capsys.readouterr().err
    assert not (tmp_path / "log").exists()


@pytest.mark.skipif(not os.environ.get("ELEC_SHARED_DATA"), reason="set ELEC_SHARED_DATA to the folder with movielens-1m")
def test_the_real_files(tmp_path: Path) -> None:
    make(data_folder(None), tmp_path / "log", "time")
    log = pq.read_table(tmp_path / "log" / "log.parquet")
    assert pc.sum(pc.not_equal(log["rating"], 3)).as_py() == 739_012
    assert len(pq.read_table(tmp_path / "log" / "items.parquet")) == 3883
    assert pq.read_table(tmp_path / "log" / "users.parquet").column("occupation").null_count == 0
