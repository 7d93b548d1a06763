"""The knowledge folder: its contract, point in time, reuse, and a control that says nothing."""

import json
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from elec.errors import InputError
from elec.features import FeatureEncoder
from elec.spec import parse_spec
from elec.students.knowledge import KnowledgeReport, build_knowledge
from elec.students.projection import Projection
from elec.students.semantic_ids import Codebooks, prefixes
from elec.text.textify import textify

from .made import SHOP, START, Shop, drawn, record, vector_of

MakeShop = Callable[..., Shop]


def build(shop: Shop, folder: Path, **more: Any) -> KnowledgeReport:
    return build_knowledge(shop.spec, shop.features, shop.texts, shop.store, folder, **more)


def item_text(row: dict[str, Any]) -> str:
    price = int(row["price"])
    return f"Title is {row['title']}. Price is {price}."


def expected_rows(shop: Shop, folder: Path, split: str, history: int) -> np.ndarray:
    """The plain way: for every row a loop over all rows."""
    seen = {"train": ["train"], "valid": ["train"], "test": ["train", "valid"]}[split]
    projection = Projection.load(folder / "projection.safetensors")
    clicks = sorted(
        (click for other in seen for click in shop.frame(other) if click["label"]),
        key=lambda click: (click["event_timestamp"], click["row_id"]),
    )
    found = []
    for row in shop.frame(split):
        before = [
            click
            for click in clicks
            if click["user_id"] == row["user_id"] and click["event_timestamp"] < row["event_timestamp"]
        ]
        vectors = projection.apply(np.stack([vector_of(item_text(click)) for click in [row, *before[-history:]]]))
        found.append([vectors[1:].mean(axis=0) if len(vectors) > 1 else np.zeros(projection.size), vectors[0]])
    return np.array(found)


def test_rows_are_what_a_plain_loop_finds(tmp_path: Path, make_shop: MakeShop) -> None:
    shop = make_shop()
    report = build(shop, tmp_path / "k")
    for split in ("train", "valid", "test"):
        rows = np.load(tmp_path / "k" / "rows" / f"{split}.npy")
        expected = expected_rows(shop, tmp_path / "k", split, 3)
        assert rows.dtype == np.float16
        assert rows.shape == expected.shape
        np.testing.assert_allclose(rows, expected, atol=4e-3)
        assert report.rows_with_history[split] == pytest.approx(expected[:, 0].any(axis=1).mean())
    assert 0 < report.rows_with_history["train"] < 1
    assert 0 < report.rows_with_history["test"] < 1


@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_a_label_flipped_later_changes_no_earlier_row(tmp_path: Path, make_shop: MakeShop, split: str) -> None:
    rows = {"train": drawn(1, 200, 0), "valid": drawn(2, 40, 100), "test": drawn(3, 40, 200)}
    at = rows[split][17]["event_timestamp"]
    flipped = {
        name: [row | {"label": 1 - row["label"]} if row["event_timestamp"] >= at else row for row in some]
        for name, some in rows.items()
    }
    build(make_shop("one", **rows), tmp_path / "1")
    build(make_shop("two", **flipped), tmp_path / "2")
    later = False
    for name, some in rows.items():
        one, two = (np.load(tmp_path / folder / "rows" / f"{name}.npy") for folder in "12")
        until = np.array([row["event_timestamp"] <= at for row in some])
        assert np.array_equal(one[until], two[until])
        later |= not np.array_equal(one, two)
    # Test rows are the last ones, and see no test clicks at all.
    assert later == (split != "test")


def test_items_have_codes_and_the_vector_of_their_last_text(tmp_path: Path, make_shop: MakeShop) -> None:
    changed = [record(1, 7, 300.0, 1, price=70.0), record(2, 7, 250.0, 1, price=60.0)]
    shop = make_shop(test=[*drawn(3, 60, 200), *changed])
    report = build(shop, tmp_path / "k")
    table = pq.read_table(tmp_path / "k" / "items.parquet")
    assert table.column_names == ["item_id", "code_1", "code_2", "vector"]
    assert str(table.schema.field("vector").type) == "fixed_size_list<element: float>[8]"
    items = {row["item_id"]: row for row in table.to_pylist()}
    assert len(items) == table.num_rows == report.items
    projection = Projection.load(tmp_path / "k" / "projection.safetensors")
    codebooks = Codebooks.load(tmp_path / "k" / "codebooks.safetensors")
    vector = projection.apply(vector_of("Title is Thing 7 of c. Price is 70.")[None])
    np.testing.assert_allclose(items["i7"]["vector"], vector[0], atol=1e-5)
    assert [items["i7"]["code_1"], items["i7"]["code_2"]] == [level[0].as_py() for level in prefixes(codebooks.assign(vector))]
    # Five topics, six codes: hardly any code is of two topics, and the topics are apart.
    topics: dict[str, set[int]] = {}
    for key, row in items.items():
        topics.setdefault(row["code_1"], set()).add(int(key[1:]) % 5)
    assert max(len(found) for found in topics.values()) == 1


def test_users_are_as_of_after_their_last_click(tmp_path: Path, make_shop: MakeShop) -> None:
    train = [*drawn(1, 200, 0, users=5), record(20, 1, 5.0, 0)]
    test = [*drawn(3, 40, 200, users=5), record(21, 3, 250.0, 1)]
    shop = make_shop(train=train, test=test)
    report = build(shop, tmp_path / "k")
    table = pq.read_table(tmp_path / "k" / "users.parquet")
    assert table.column_names == ["user_id", "event_timestamp", "vector"]
    assert str(table.schema.field("event_timestamp").type) == "timestamp[us, tz=UTC]"
    users = {row["user_id"]: row for row in table.to_pylist()}
    assert list(users) == sorted(users)
    assert report.users == len(users)
    # One who never clicked has no vector; one whose first click is the last row of all has one.
    assert "u20" not in users
    clicks = [row for split in ("train", "valid", "test") for row in shop.frame(split) if row["label"]]
    projection = Projection.load(tmp_path / "k" / "projection.safetensors")
    for key, row in users.items():
        mine = sorted((click for click in clicks if click["user_id"] == key), key=lambda click: click["event_timestamp"])
        assert row["event_timestamp"] == mine[-1]["event_timestamp"]
        if len(mine) < 4 or mine[-4]["event_timestamp"] < mine[-3]["event_timestamp"]:
            vectors = projection.apply(np.stack([vector_of(item_text(click)) for click in mine[-3:]]))
            np.testing.assert_allclose(row["vector"], vectors.mean(axis=0), atol=1e-4)
    assert users["u21"]["event_timestamp"] == START + timedelta(hours=250)


def test_encoded_rows_carry_the_semantic_ids(tmp_path: Path, make_shop: MakeShop) -> None:
    shop = make_shop()
    report = build(shop, tmp_path / "k")
    plain, encoder = (FeatureEncoder.load(folder / "vocabulary") for folder in (shop.features, tmp_path / "k"))
    assert encoder.fields[: len(plain.fields)] == plain.fields
    assert [(field.name, field.of, field.width) for field in encoder.fields[len(plain.fields) :]] == [
        ("semantic_id_1", "item", 1),
        ("semantic_id_2", "item", 1),
    ]
    assert report.vocabulary == {field.name: field.size for field in encoder.fields[len(plain.fields) :]}
    items = {row["item_id"]: row for row in pq.read_table(tmp_path / "k" / "items.parquet").to_pylist()}
    for split in ("train", "valid", "test"):
        before, after = (pq.read_table(folder / "encoded" / f"{split}.parquet") for folder in (shop.features, tmp_path / "k"))
        assert before.drop_columns("slots").equals(after.drop_columns("slots"))
        # What the encoder gives in service for the looked-up codes is what the rows hold.
        frame = pq.read_table(shop.features / "frame" / f"{split}.parquet")
        for level in (1, 2):
            codes = [items[item][f"code_{level}"] for item in frame["item_id"].to_pylist()]
            frame = frame.append_column(f"semantic_id_{level}", [codes])
        slots_NS = after["slots"].combine_chunks().flatten().to_numpy().reshape(len(after), -1)
        assert np.array_equal(slots_NS, encoder.encode(frame))
    assert report.out_of_vocabulary["train"]["semantic_id_1"] < 0.1


def test_the_vocabulary_is_of_train_rows_only(tmp_path: Path, make_shop: MakeShop) -> None:
    # Valid and test show items of topics that train never had.
    shop = make_shop(
        train=[row for row in drawn(1, 300, 0) if int(row["item_id"][1:]) % 5 < 3],
        valid=[row for row in drawn(2, 99, 100) if int(row["item_id"][1:]) % 5 > 2],
    )
    report = build(shop, tmp_path / "k")
    assert report.out_of_vocabulary["train"]["semantic_id_1"] < 0.1
    assert report.out_of_vocabulary["valid"]["semantic_id_1"] == 1.0


def test_the_contract_of_the_folder(tmp_path: Path, make_shop: MakeShop) -> None:
    report = build(make_shop(), tmp_path / "k")
    assert sorted(path.name for path in (tmp_path / "k").iterdir()) == [
        "codebooks.safetensors",
        "encoded",
        "items.parquet",
        "projection.safetensors",
        "report.json",
        "rows",
        "users.parquet",
        "vocabulary",
    ]
    assert KnowledgeReport.model_validate_json((tmp_path / "k" / "report.json").read_bytes()) == report
    assert report.rows == {"train": 300, "valid": 60, "test": 60}


def test_the_same_run_gives_the_same_bytes(tmp_path: Path, make_shop: MakeShop) -> None:
    shop = make_shop()
    for name in "12":
        build(shop, tmp_path / name)
    for path in sorted((tmp_path / "1").rglob("*.*")):
        if path.name != "report.json":
            assert path.read_bytes() == (tmp_path / "2" / path.relative_to(tmp_path / "1")).read_bytes()


def test_codes_keep_their_meaning_with_an_earlier_run(tmp_path: Path, make_shop: MakeShop) -> None:
    first = make_shop("one")
    build(first, tmp_path / "1")
    second = make_shop("two", test=drawn(4, 80, 300, items=70))
    report = build(second, tmp_path / "2", earlier=tmp_path / "1")
    assert report.reused
    one, two = (
        {row["item_id"]: row for row in pq.read_table(tmp_path / folder / "items.parquet").to_pylist()} for folder in "12"
    )
    assert set(two) - set(one)
    for item in set(one) & set(two):
        np.testing.assert_allclose(two[item].pop("vector"), one[item].pop("vector"), atol=1e-5)
        assert two[item] == one[item]
    for name in ("projection.safetensors", "codebooks.safetensors"):
        assert (tmp_path / "1" / name).read_bytes() == (tmp_path / "2" / name).read_bytes()


def test_an_earlier_run_of_other_settings_is_refused(tmp_path: Path, make_shop: MakeShop) -> None:
    shop = make_shop("one")
    build(shop, tmp_path / "1")
    other = make_shop("two", spec=SHOP.replace("vector_size: 8", "vector_size: 4"))
    with pytest.raises(InputError, match=r"vector_size.*\(24, 8, 2, 6, 8\) where this run has \(24, 4, 2, 6, 4\)"):
        build(other, tmp_path / "2", earlier=tmp_path / "1")
    assert not (tmp_path / "2").exists()
    with pytest.raises(InputError, match="no such file"):
        build(shop, tmp_path / "2", earlier=tmp_path / "nowhere")


class Shuffled:
    """A control: every text has the vector of another."""

    def __init__(self, store: Any) -> None:
        self.store, self.calls = store, 0

    def gather(self, keys: Any) -> np.ndarray:
        self.calls += 1
        vectors: np.ndarray = self.store.gather(keys)
        return vectors[np.random.default_rng(self.calls).permutation(len(vectors))]


def test_shuffled_texts_give_codes_that_say_nothing(tmp_path: Path, make_shop: MakeShop) -> None:
    shop = make_shop(train=drawn(1, 600, 0, items=150))
    control = Shuffled(shop.store)
    build(shop, tmp_path / "real")
    build_knowledge(shop.spec, shop.features, shop.texts, control, tmp_path / "control")
    assert control.calls == 1
    agree = {}
    for folder in ("real", "control"):
        items = pq.read_table(tmp_path / folder / "items.parquet").to_pylist()
        topic = np.array([int(row["item_id"][1:]) % 5 for row in items])
        code = np.array([row["code_1"] for row in items])
        same = (code[:, None] == code) & ~np.eye(len(code), dtype=bool)
        agree[folder] = (topic[:, None] == topic)[same].mean()
    assert agree["real"] > 0.95
    assert agree["control"] < 0.3


def test_texts_per_sample_are_refused(tmp_path: Path, make_shop: MakeShop) -> None:
    shop = make_shop()
    sample = parse_spec(SHOP + "  text: {per: sample}\n", origin="shop.yaml", folder=Path("/"))
    textify(sample, shop.features, tmp_path / "texts")
    with pytest.raises(InputError, match=r"run\.text\.per is 'sample'"):
        build_knowledge(sample, shop.features, tmp_path / "texts", shop.store, tmp_path / "k")


def test_texts_of_other_rows_are_noticed(tmp_path: Path, make_shop: MakeShop) -> None:
    shop = make_shop()
    file = shop.texts / "rows" / "valid.parquet"
    rows = pq.read_table(file)
    pq.write_table(rows.take(list(range(len(rows)))[::-1]), file)
    with pytest.raises(AssertionError, match="not of the same rows in the same order"):
        build(shop, tmp_path / "k")


def test_a_field_of_that_name_is_refused(tmp_path: Path, make_shop: MakeShop) -> None:
    shop = make_shop(spec=SHOP.replace("name: price,", "name: price, title: P,"))
    encoder = json.loads((shop.features / "vocabulary" / "encoder.json").read_text())
    encoder["fields"][-1]["name"] = "semantic_id_2"
    (shop.features / "vocabulary" / "encoder.json").write_text(json.dumps(encoder))
    with pytest.raises(InputError, match="field 'semantic_id_2'"):
        build(shop, tmp_path / "k")
    assert not (tmp_path / "k").exists()


def test_no_click_at_all(tmp_path: Path, make_shop: MakeShop) -> None:
    shop = make_shop(
        train=[row | {"label": 0} for row in drawn(1, 50, 0)], valid=[], test=[row | {"label": 0} for row in drawn(3, 9, 200)]
    )
    report = build(shop, tmp_path / "k")
    assert report.users == 0
    assert report.rows == {"train": 50, "valid": 0, "test": 9}
    assert not np.load(tmp_path / "k" / "rows" / "train.npy")[:, 0].any()
    assert np.load(tmp_path / "k" / "rows" / "valid.npy").shape == (0, 2, 8)
    assert pq.read_table(tmp_path / "k" / "users.parquet").num_rows == 0


def test_an_item_without_a_vector_is_named(tmp_path: Path, make_shop: MakeShop) -> None:
    shop = make_shop("one")
    other = make_shop("two", train=drawn(1, 30, 0, items=500))
    with pytest.raises(InputError, match="have no vector"):
        build_knowledge(shop.spec, other.features, other.texts, shop.store, tmp_path / "k")
    assert not (tmp_path / "k").exists()


def test_assigning_and_looking_up_need_no_torch() -> None:
    code = (
        "import sys\n"
        "import elec.students.projection, elec.students.semantic_ids, elec.students.history, elec.students.knowledge\n"
        "print([name for name in ('torch', 'sklearn', 'duckdb') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
