"""Amazon Office as a log: windows, order, negatives and new items, on a small made copy of the files and on the real ones."""

import csv
import json
import os
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from benchmarks.evidence.office import Choices, data_folder, main, make
from elec.errors import InputError
from elec.spec import load_spec

ITEMS = 40
HEADER = ["user_id", "history_item_title", "item_title", "history_item_id", "item_id", "history_item_sid", "item_sid"]


def write_items(folder: Path, count: int = ITEMS) -> None:
    record = {"brand": "HP", "categories": "", "description": "['<p>Black <b>ink</b></p>', '', 'for &amp; by']"}
    content = {str(number): {"title": f"Ink {number}", **record} for number in range(count)}
    content["1"] = {"title": "Paper", "brand": "", "description": "['', '']", "categories": ""}
    (folder / "Office_Products.item.json").write_text(json.dumps(content))


def write_rows(folder: Path, name: str, rows: list[tuple[str, list[int], int]]) -> None:
    with (folder / f"Office_Products_{name}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(HEADER)
        for user, history, item in rows:
            writer.writerow([user, str([f'a "title", {i}' for i in history]), "t", str(history), item, "[]", "<a_1>"])


@pytest.fixture
def files(tmp_path: Path) -> Path:
    """20 users: five train items each, two valid and two test items; the first user's are told in full below."""
    draw = np.random.default_rng(0)
    valid, test = [], []
    for user in range(20):
        items = [3, 7, 3, 9, 5, 7, 11, 12, 13] if user == 0 else draw.permutation(ITEMS)[:9].tolist()
        valid += [(f"A{user}", items[:5], items[5]), (f"A{user}", items[:6], items[6])]
        test += [(f"A{user}", items[:7], items[7]), (f"A{user}", items[:8], items[8])]
    folder = tmp_path / "files"
    folder.mkdir()
    write_items(folder)
    write_rows(folder, "valid", valid)
    write_rows(folder, "test", test)
    return folder


def made(files: Path, output: Path, choices: Choices) -> dict[str, pa.Table]:
    make(files, output, choices)
    log = pq.read_table(output / "log.parquet")
    return {name: log.filter(pa.compute.equal(log["split"], name)) for name in ("train", "valid", "test")}


def clicks_of(table: pa.Table, user: str) -> list[int]:
    kept = pa.compute.and_(pa.compute.equal(table["user_id"], user), pa.compute.equal(table["label"], 1))
    return table.filter(kept).sort_by("timestamp")["item_id"].to_pylist()


def test_first_clicks_in_their_order_and_their_windows(files: Path, tmp_path: Path) -> None:
    parts = made(files, tmp_path / "log", Choices(seed=1))
    # 3 again in train and 7 again in valid are no first clicks.
    assert clicks_of(parts["train"], "A0") == [3, 7, 9, 5]
    assert clicks_of(parts["valid"], "A0") == [11]
    assert clicks_of(parts["test"], "A0") == [12, 13]
    edges = [(min(part["timestamp"].to_pylist()), max(part["timestamp"].to_pylist())) for part in parts.values()]
    assert edges[0][1] < edges[1][0]
    assert edges[1][1] < edges[2][0]


def test_negatives_of_a_window_come_from_its_clicks_and_are_nobodys_own_up_to_then(files: Path, tmp_path: Path) -> None:
    parts = made(files, tmp_path / "log", Choices(seed=1, negatives=2))
    owned: set[tuple[str, int]] = set()
    for part in parts.values():
        pairs = list(zip(part["user_id"].to_pylist(), part["item_id"].to_pylist(), strict=True))
        label = np.array(part["label"])
        clicked = [pair for pair, y in zip(pairs, label, strict=True) if y]
        shown = [pair for pair, y in zip(pairs, label, strict=True) if not y]
        owned |= set(clicked)
        assert not owned & set(shown)
        assert sorted([item for _, item in clicked] * 2) == sorted(item for _, item in shown)
        assert label.mean() == pytest.approx(1 / 3)


def test_new_items_are_in_no_train_row(files: Path, tmp_path: Path) -> None:
    parts = made(files, tmp_path / "log", Choices(seed=1, negatives=1, new_items=0.3))
    whole = made(files, tmp_path / "whole", Choices(seed=1))
    trained, before = set(parts["train"]["item_id"].to_pylist()), set(whole["train"]["item_id"].to_pylist())
    assert trained < before
    new = before - trained
    assert new & set(parts["test"]["item_id"].to_pylist())
    told = json.loads((tmp_path / "log" / "made.json").read_text())["splits"]["test"]["clicks_on_items_unseen_in_train"]
    items = np.array(parts["test"]["item_id"])
    for label in (0, 1):
        of_label = items[np.array(parts["test"]["label"]) == label]
        assert np.mean([item not in trained for item in of_label]) == pytest.approx(told, abs=1e-4)


def test_seeds_change_the_negatives_only(files: Path, tmp_path: Path) -> None:
    first, again, other = (made(files, tmp_path / str(n), Choices(seed=s))["test"] for n, s in enumerate((1, 1, 2)))
    assert first.equals(again)
    assert not first.equals(other)
    assert all(clicks_of(first, f"A{user}") == clicks_of(other, f"A{user}") for user in range(20))


def test_items_are_clean_and_the_spec_fits(files: Path, tmp_path: Path) -> None:
    make(files, tmp_path / "log", Choices(seed=1))
    items = pq.read_table(tmp_path / "log" / "items.parquet").to_pylist()
    assert items[0] == {"item_id": 0, "title": "Ink 0", "brand": "HP", "description": "Black ink for & by"}
    assert items[1] == {"item_id": 1, "title": "Paper", "brand": None, "description": None}
    dataset = load_spec(tmp_path / "log" / "spec.yaml").dataset
    assert Path(dataset.source.path) == tmp_path / "log" / "log.parquet"
    assert dataset.split.by == "column"


def test_what_is_wrong_is_one_sentence(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ELEC_SHARED_DATA", raising=False)
    with pytest.raises(InputError, match="export ELEC_SHARED_DATA"):
        data_folder(None)
    for choices, said in (
        (Choices(seed=1, negatives=0), "--negatives 0"),
        (Choices(seed=1, new_items=1.0), "--new-items 1.0"),
        (Choices(seed=1, exponent=2.0), "--exponent 2.0"),
    ):
        with pytest.raises(InputError, match=said):
            make(files, tmp_path / "log", choices)
    (files / "Office_Products_test.csv").write_text("user_id,history_item_id,item_id\nA0,no list,3\n")
    with pytest.raises(InputError, match="not those of Amazon Office Products"):
        make(files, tmp_path / "log", Choices(seed=1))
    (files / "Office_Products_test.csv").unlink()
    with pytest.raises(InputError, match=r"Office_Products_test\.csv: no such file"):
        make(files, tmp_path / "log", Choices(seed=1))
    assert not (tmp_path / "log").exists()


def test_the_command(files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    output = tmp_path / "log"
    command = ["office", "--data", str(files), "--output", str(output), "--seed", "3", "--new-items"]
    monkeypatch.setattr("sys.argv", command)
    main()
    assert json.loads(capsys.readouterr().out)["new_items"] == 0.2
    assert {path.name for path in output.iterdir()} == {"log.parquet", "items.parquet", "spec.yaml", "made.json"}
    monkeypatch.setattr("sys.argv", [*command, "--negatives", "0"])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: --negatives 0")


@pytest.mark.skipif(not os.environ.get("ELEC_SHARED_DATA"), reason="set ELEC_SHARED_DATA to the folder with amazon-office-2018")
def test_the_real_files(tmp_path: Path) -> None:
    parts = made(data_folder(None), tmp_path / "log", Choices(seed=1))
    assert {name: len(part) for name, part in parts.items()} == {"train": 59_280, "valid": 22_925, "test": 23_735}
    trained = np.bincount(np.array(parts["train"]["item_id"]), minlength=3459)
    for part in parts.values():
        label, popularity = np.array(part["label"]), trained[np.array(part["item_id"])]
        assert label.mean() == 0.2
        # How popular an item was in train, and whether it was there at all, has the same distribution for clicks and others.
        clicked, others = (np.sort(popularity[label == y]) for y in (1, 0))
        np.testing.assert_array_equal(np.repeat(clicked, 4), others)
