import gzip
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from elec.commands.score import score as score_command
from elec.errors import InputError, RunFailedError
from elec.serving.batch import score_file
from elec.serving.bundle import open_bundle
from elec.serving.predictor import Predictor


@pytest.fixture(scope="module")
def predictor(made: Path) -> Predictor:
    return Predictor(open_bundle(made / "bundle"))


@pytest.fixture(scope="module")
def frame(made: Path) -> pa.Table:
    return pq.read_table(made / "features" / "frame" / "test.parquet")


def joined(frame: pa.Table) -> pa.Table:
    """The frame as a text file can hold it."""
    genres = [None if value is None else "|".join(value) for value in frame["genres"].to_pylist()]
    return frame.set_column(frame.schema.get_field_index("genres"), "genres", pa.array(genres, pa.string()))


def write(frame: pa.Table, path: Path) -> Path:
    name = path.name.removesuffix(".gz")
    plain = path.with_name(name)
    if name.endswith(".parquet"):
        pq.write_table(frame, plain, row_group_size=50)
    elif name.endswith(".jsonl"):
        plain.write_bytes(b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in frame.to_pylist()))
    else:
        pa.csv.write_csv(
            joined(frame), plain, pa.csv.WriteOptions(delimiter="\t" if name.endswith(".tsv") else ",", quoting_style="needed")
        )
    if name != path.name:
        path.write_bytes(gzip.compress(plain.read_bytes()))
    return path


@pytest.mark.parametrize("name", ["rows.parquet", "rows.csv", "rows.tsv", "rows.jsonl", "rows.csv.gz", "rows.jsonl.gz"])
@pytest.mark.parametrize("output", ["scores.parquet", "scores.csv"])
def test_every_format_scores_alike(
    predictor: Predictor, frame: pa.Table, tmp_path: Path, name: str, output: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elec.serving.batch._ROWS", 64)
    monkeypatch.setattr("elec.serving.batch._BLOCK", 4096)
    target = tmp_path / "out" / output
    assert score_file(predictor, str(write(frame, tmp_path / name)), target) == frame.num_rows
    scored = pq.read_table(target) if output.endswith("parquet") else pa.csv.read_csv(target)
    assert scored.column_names == [*frame.column_names, "score"]
    assert [str(value) for value in scored["user_id"].to_pylist()] == frame["user_id"].to_pylist()
    np.testing.assert_allclose(scored["score"].to_numpy(), predictor.score(frame), atol=1e-6, rtol=0)
    assert [path.name for path in target.parent.iterdir()] == [output]


def test_other_columns_stay_as_they_are_in_the_file(predictor: Predictor, frame: pa.Table, tmp_path: Path) -> None:
    zip_codes = [f"0{row:04d}" for row in range(frame.num_rows)]
    source = write(frame.append_column("zip", pa.array(zip_codes)), tmp_path / "rows.csv")
    score_file(predictor, str(source), tmp_path / "scores.parquet")
    assert pq.read_table(tmp_path / "scores.parquet")["zip"].to_pylist() == zip_codes


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
def test_no_rows_give_no_scores(predictor: Predictor, frame: pa.Table, tmp_path: Path, name: str) -> None:
    source = write(frame.slice(0, 0), tmp_path / name)
    assert score_file(predictor, str(source), tmp_path / "scores.parquet") == 0
    assert pq.read_table(tmp_path / "scores.parquet").column_names[-1] == "score"


def refused(predictor: Predictor, source: Path | str, output: Path, message: str) -> None:
    before = sorted(output.parent.iterdir()) if output.parent.is_dir() else []
    with pytest.raises(InputError, match=message) as caught:
        score_file(predictor, str(source), output)
    assert "\n" not in str(caught.value)
    assert (sorted(output.parent.iterdir()) if output.parent.is_dir() else []) == before, "nothing half-written stays"


def test_what_cannot_be_scored_is_refused(predictor: Predictor, frame: pa.Table, tmp_path: Path) -> None:
    output = tmp_path / "scores.parquet"
    refused(predictor, tmp_path / "nowhere.csv", output, r"nowhere\.csv: no such file")
    refused(predictor, write(frame.drop_columns("price"), tmp_path / "a.csv"), output, r"a\.csv: has no column 'price'")
    scored = frame.append_column("score", pa.array(np.zeros(frame.num_rows)))
    refused(predictor, write(scored, tmp_path / "b.parquet"), output, "has a column 'score' already")
    text = (tmp_path / "c.csv").open("w")
    text.write(write(frame, tmp_path / "d.csv").read_text().replace(",7.5,", ",cheap,"))
    text.close()
    refused(predictor, tmp_path / "c.csv", output, r"c\.csv: cannot be read \(.*'cheap'")
    (tmp_path / "e.csv").write_text((tmp_path / "d.csv").read_text() + "1,2\n")
    refused(predictor, tmp_path / "e.csv", output, r"e\.csv: cannot be read")
    (tmp_path / "f.parquet").write_bytes(b"PAR1 no, it is not")
    refused(predictor, tmp_path / "f.parquet", output, r"f\.parquet: cannot be read")
    (tmp_path / "g.csv").write_bytes(b"")
    refused(predictor, tmp_path / "g.csv", output, "empty")
    (tmp_path / "h.jsonl").write_text('{"user_id": 1}\n{"user_id"')
    refused(predictor, tmp_path / "h.jsonl", output, r"h\.jsonl")


def test_outputs_that_cannot_be_written(predictor: Predictor, frame: pa.Table, tmp_path: Path) -> None:
    source = write(frame, tmp_path / "rows.csv")
    refused(predictor, source, tmp_path / "scores.txt", r"give an output that ends in \.parquet or \.csv")
    (tmp_path / "folder.csv").mkdir()
    refused(predictor, source, tmp_path / "folder.csv", "is a folder")
    refused(predictor, source, source / "scores.csv", "cannot be written")
    refused(predictor, source, Path("s3://elec/scores.csv"), "written to a file on disk")


def test_an_older_output_stays_until_the_new_one_is_whole(predictor: Predictor, frame: pa.Table, tmp_path: Path) -> None:
    output = tmp_path / "scores.csv"
    output.write_text("before")
    (tmp_path / "rows.csv").write_text(write(frame, tmp_path / "whole.csv").read_text() + "broken\n")
    with pytest.raises(InputError):
        score_file(predictor, str(tmp_path / "rows.csv"), output)
    assert output.read_text() == "before"
    score_file(predictor, str(tmp_path / "whole.csv"), output)
    assert output.read_text() != "before"


def test_a_full_disk_is_said(predictor: Predictor, frame: pa.Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq.ParquetWriter, "write_table", full)
    with pytest.raises(RunFailedError, match="the disk is full"):
        score_file(predictor, str(write(frame, tmp_path / "rows.csv")), tmp_path / "out" / "scores.parquet")
    assert list((tmp_path / "out").iterdir()) == []


def test_the_command(made: Path, frame: pa.Table, tmp_path: Path) -> None:
    import typer

    app = typer.Typer()
    app.command()(score_command)
    source, output = write(frame, tmp_path / "rows.csv"), tmp_path / "scores.csv"
    arguments = ["--input", str(source), "--output", str(output)]
    done = CliRunner().invoke(app, [*arguments, "--bundle", str(made / "bundle")])
    assert done.exit_code == 0, done.output
    assert "300 records scored" in done.output
    assert output.exists()
    none = CliRunner().invoke(app, [*arguments, "--workspace", str(tmp_path / "empty")])
    assert isinstance(none.exception, InputError)
    assert "no model is in service there yet" in str(none.exception)
