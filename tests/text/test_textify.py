"""The texts of a frame: each distinct one once, every row accounted for, complete or absent."""

import hashlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from elec.spec import Spec
from elec.text.textify import TextReport, textify

ANN = {"user_id": "1", "age": 30.0, "home_town": "Oslo"}
BOB = {"user_id": "2", "age": 30.0, "home_town": "Oslo"}
PEN = {"item_id": "9", "name": "Red pen", "tags": ["ink", "red"], "secret": "x", "hour": 3.0}
CUP = {"item_id": "8", "name": "Cup", "secret": "y", "hour": 4.0}

Shop = Callable[..., Spec]
WriteFrame = Callable[..., Path]


def texts_of(folder: Path, split: str) -> list[tuple[int, list[str]]]:
    """Every row's id and texts, through the numbers."""
    texts = pq.read_table(folder / "texts.parquet")["text"].to_pylist()
    rows = pq.read_table(folder / "rows" / f"{split}.parquet").to_pylist()
    return [(row.pop("row_id"), [texts[number] for number in row.values()]) for row in rows]


def test_entities_have_a_text_each(tmp_path: Path, shop: Shop, write_frame: WriteFrame) -> None:
    features = write_frame(tmp_path / "features", train=[ANN | PEN, BOB | CUP], valid=[ANN | CUP], test=[{}])
    report = textify(shop(), features, tmp_path / "texts")
    person = "Age is 30. Home town is Oslo."
    assert texts_of(tmp_path / "texts", "train") == [
        (0, [person, "Product is Red pen. Tags is ink, red."]),
        (1, [person, "Product is Cup."]),
    ]
    assert texts_of(tmp_path / "texts", "valid") == [(2, [person, "Product is Cup."])]
    assert texts_of(tmp_path / "texts", "test") == [(3, ["", ""])]
    assert report == TextReport(
        roles=("user", "item"),
        unique=4,
        unique_by_role={"user": 2, "item": 3},
        rows={"train": 2, "valid": 1, "test": 1},
        summarised=0,
        summaries_reused=0,
    )
    assert TextReport.model_validate_json((tmp_path / "texts" / "report.json").read_bytes()) == report


def test_samples_have_one_text_of_the_whole_record(tmp_path: Path, shop: Shop, write_frame: WriteFrame) -> None:
    features = write_frame(tmp_path / "features", train=[ANN | PEN, BOB | PEN], valid=[BOB | CUP])
    report = textify(shop(per="sample"), features, tmp_path / "texts")
    first = "Age is 30. Home town is Oslo. Product is Red pen. Tags is ink, red. Hour is 3."
    assert texts_of(tmp_path / "texts", "train") == [(0, [first]), (1, [first])]
    assert report.roles == ("sample",)
    assert report.unique == 2


def test_the_contract_of_the_files(tmp_path: Path, shop: Shop, write_frame: WriteFrame) -> None:
    many = [{"user_id": str(number), "age": float(number % 97), "name": f"Thing {number % 31}"} for number in range(300)]
    textify(shop(), write_frame(tmp_path / "features", train=many, valid=many, test=many), tmp_path / "texts")
    table = pq.read_table(tmp_path / "texts" / "texts.parquet")
    keys, texts = table["key"].to_pylist(), table["text"].to_pylist()
    assert keys == sorted(keys)
    assert keys == [hashlib.sha256(text.encode()).hexdigest() for text in texts]
    assert len(set(texts)) == len(texts) == 97 + 31
    rows = pq.read_table(tmp_path / "texts" / "rows" / "valid.parquet")
    assert {field.name: str(field.type) for field in rows.schema} == {"row_id": "int64", "user": "int32", "item": "int32"}
    assert rows["row_id"].to_pylist() == list(range(300, 600))
    assert sorted(path.name for path in (tmp_path / "texts").iterdir()) == ["report.json", "rows", "texts.parquet"]


def test_long_texts_and_markup(tmp_path: Path, shop: Shop, write_frame: WriteFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "elec.text.textify.summarise", lambda texts, settings, cache: (dict.fromkeys(texts, "a, b"), len(texts), 0)
    )
    long = " ".join(f"word{number}" for number in range(20))
    frame = [{"name": long}, {"name": "<b>Cup</b>"}, {"name": "nine words are not more than the limit here"}]
    report = textify(shop(summarise_above=10), write_frame(tmp_path / "features", train=frame), tmp_path / "texts")
    assert report.summarised == 2
    assert [texts[1] for _, texts in texts_of(tmp_path / "texts", "train")] == [
        "Product is a, b.",
        "Product is a, b.",
        "Product is nine words are not more than the limit here.",
    ]


def test_what_is_written_is_not_overwritten(tmp_path: Path, shop: Shop, write_frame: WriteFrame) -> None:
    features = write_frame(tmp_path / "features", train=[ANN | PEN])
    textify(shop(), features, tmp_path / "texts")
    before = (tmp_path / "texts" / "texts.parquet").read_bytes()
    with pytest.raises(FileExistsError):
        textify(shop(per="sample"), features, tmp_path / "texts")
    assert (tmp_path / "texts" / "texts.parquet").read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


def test_the_same_frame_gives_the_same_bytes(tmp_path: Path, shop: Shop, write_frame: WriteFrame) -> None:
    features = write_frame(tmp_path / "features", train=[ANN | PEN, BOB | CUP], valid=[{}], test=[ANN | CUP])
    for name in ("one", "two"):
        textify(shop(), features, tmp_path / name)
    for path in sorted((tmp_path / "one").rglob("*.*")):
        assert path.read_bytes() == (tmp_path / "two" / path.relative_to(tmp_path / "one")).read_bytes()


KILLED = """
import os, signal, sys
from pathlib import Path
import elec.text.textify as room
from elec.spec import Spec
def die(*arguments): os.kill(os.getpid(), signal.SIGKILL)
setattr(room, sys.argv[1], die)
room.textify(Spec.model_validate_json(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))
"""


@pytest.mark.parametrize("where", ["_write_texts", "_assert_rows"])
def test_a_killed_step_leaves_nothing(tmp_path: Path, shop: Shop, write_frame: WriteFrame, where: str) -> None:
    spec = shop()
    features = write_frame(tmp_path / "features", train=[ANN | PEN])
    arguments: list[Any] = [sys.executable, "-c", KILLED, where, spec.model_dump_json(), features, tmp_path / "texts"]
    assert subprocess.run(arguments, env=os.environ, check=False).returncode == -signal.SIGKILL
    assert not (tmp_path / "texts").exists()
    assert textify(spec, features, tmp_path / "texts").unique == 2
