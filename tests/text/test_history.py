"""What the user liked before, in the user's text: point in time, newest first, and only what has a name."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from elec.errors import InputError
from elec.spec import Spec
from elec.text.textify import textify

Shop = Callable[..., Spec]
WriteFrame = Callable[..., Path]

TITLES = ["Red pen", "Cup", "Blue ink", "Big book", "Lamp"]
SENTENCE = " Liked before are "


def event(user: int, after: int, item: int, label: int, **more: Any) -> dict[str, Any]:
    at = datetime(2025, 1, 1, tzinfo=UTC) + timedelta(hours=after)
    person = {"user_id": str(user), "age": 30.0, "home_town": "Oslo"}
    return person | {"item_id": str(item), "name": TITLES[item], "label": label, "at": at} | more


def drawn(seed: int, rows: int, first_hour: int) -> list[dict[str, Any]]:
    draw = np.random.default_rng(seed)
    picked = zip(*(draw.integers(high, size=rows).tolist() for high in (4, 12, len(TITLES), 2)), strict=True)
    return [event(user, first_hour + hour, item, label) for user, hour, item, label in picked]


def texts_of(folder: Path, split: str, role: str = "user") -> list[str]:
    texts = pq.read_table(folder / "texts.parquet")["text"].to_pylist()
    return [texts[number] for number in pq.read_table(folder / "rows" / f"{split}.parquet")[role].to_pylist()]


def test_the_sentence_names_what_was_clicked_before(tmp_path: Path, shop: Shop, write_frame: WriteFrame) -> None:
    train = [event(1, 1, 0, 1), event(1, 2, 1, 0), event(1, 2, 2, 1), event(1, 2, 3, 1), event(1, 3, 4, 1), event(2, 4, 0, 0)]
    valid = [event(1, 5, 0, 1), event(1, 6, 1, 1)]
    test = [event(1, 7, 2, 1), event(1, 8, 2, 1), event(2, 9, 2, 1)]
    features = write_frame(tmp_path / "features", train=train, valid=valid, test=test)
    report = textify(shop(history=3), features, tmp_path / "texts")
    person = "Age is 30. Home town is Oslo."
    # Not the row itself, not what happened at the same moment, and the newest three.
    assert texts_of(tmp_path / "texts", "train") == [
        person,
        f"{person} Liked before are Red pen.",
        f"{person} Liked before are Red pen.",
        f"{person} Liked before are Red pen.",
        f"{person} Liked before are Big book; Blue ink; Red pen.",
        person,
    ]
    # Frozen at the window's start: valid rows know train, test rows know train and valid.
    assert texts_of(tmp_path / "texts", "valid") == [f"{person} Liked before are Lamp; Big book; Blue ink."] * 2
    assert texts_of(tmp_path / "texts", "test") == [f"{person} Liked before are Cup; Red pen; Lamp."] * 2 + [person]
    assert texts_of(tmp_path / "texts", "train", "item")[0] == "Product is Red pen."
    assert report.unique_by_role == {"user": 5, "item": 5}
    assert report.unique == 10


@pytest.mark.parametrize("per", ["entity", "sample"])
@pytest.mark.parametrize("split", ["train", "valid", "test"])
def test_a_label_flipped_in_the_future_changes_no_text(
    tmp_path: Path, shop: Shop, write_frame: WriteFrame, per: str, split: str
) -> None:
    rows = {"train": drawn(1, 60, 0), "valid": drawn(2, 20, 20), "test": drawn(3, 20, 40)}
    at = rows[split][4]["at"]
    flipped = {
        name: [row | {"label": 1 - row["label"]} if row["at"] >= at else row for row in some] for name, some in rows.items()
    }
    for name, some in (("one", rows), ("two", flipped)):
        textify(shop(history=4, per=per), write_frame(tmp_path / name / "features", **some), tmp_path / name / "texts")
    changed = 0
    for name, some in rows.items():
        one, two = (
            texts_of(tmp_path / folder / "texts", name, "user" if per == "entity" else "sample") for folder in ("one", "two")
        )
        assert any(SENTENCE in text for text in one)
        for row, before, after in zip(some, one, two, strict=True):
            assert row["at"] > at or before == after
            changed += before != after
    # The flip does reach rows that come after it, so the test can fail.
    assert (changed > 0) == (split != "test")


def test_a_sample_ends_with_the_sentence(tmp_path: Path, shop: Shop, write_frame: WriteFrame) -> None:
    features = write_frame(tmp_path / "features", train=[event(1, 1, 0, 1), event(1, 2, 1, 0, hour=3.0)])
    report = textify(shop(per="sample", history=2), features, tmp_path / "texts")
    assert texts_of(tmp_path / "texts", "train", "sample") == [
        "Age is 30. Home town is Oslo. Product is Red pen.",
        "Age is 30. Home town is Oslo. Product is Cup. Hour is 3. Liked before are Red pen.",
    ]
    assert report.unique_by_role == {"sample": 2}


def test_what_an_item_is_called(tmp_path: Path, shop: Shop, write_frame: WriteFrame) -> None:
    long = " ".join(f"word{number}" for number in range(14))
    train = [
        event(1, 1, 0, 1, name=long + "."),
        event(1, 2, 0, 1, name=None, tags=["ink", "red"]),
        event(1, 3, 0, 1, name=None),
        event(1, 4, 0, 1, name="Cup, large."),
        event(1, 5, 0, 0),
    ]
    textify(shop(history=9), write_frame(tmp_path / "features", train=train), tmp_path / "texts")
    # A title; twelve words of it; without one the item's text; an item of which nothing is known is left out.
    twelve = " ".join(f"word{number}" for number in range(12))
    assert texts_of(tmp_path / "texts", "train")[-1].partition(SENTENCE)[2] == f"Cup, large; Tags is ink, red; {twelve}."


def test_an_unnamed_item_takes_no_place(tmp_path: Path, shop: Shop, write_frame: WriteFrame) -> None:
    train = [event(1, 1, 0, 1), event(1, 2, 0, 1, name=None), event(1, 3, 0, 0)]
    textify(shop(history=1), write_frame(tmp_path / "features", train=train), tmp_path / "texts")
    assert texts_of(tmp_path / "texts", "train")[-1].endswith("Liked before are Red pen.")


def test_a_user_of_whom_nothing_else_is_known(tmp_path: Path, shop: Shop, write_frame: WriteFrame) -> None:
    nobody = {"age": None, "home_town": None}
    train = [event(1, 1, 0, 1, **nobody), event(1, 2, 0, 1, **nobody)]
    textify(shop(history=1), write_frame(tmp_path / "features", train=train), tmp_path / "texts")
    assert texts_of(tmp_path / "texts", "train") == ["", "Liked before are Red pen."]


def test_batches_do_not_show(tmp_path: Path, shop: Shop, write_frame: WriteFrame, monkeypatch: pytest.MonkeyPatch) -> None:
    features = write_frame(tmp_path / "features", train=drawn(1, 60, 0), valid=drawn(2, 20, 20), test=drawn(3, 20, 40))
    textify(shop(history=3), features, tmp_path / "one")
    monkeypatch.setattr("elec.text.textify._HISTORIES_AT_ONCE", 7)
    monkeypatch.setattr("elec.students.history._ROWS_AT_ONCE", 11)
    textify(shop(history=3), features, tmp_path / "two")
    for path in sorted((tmp_path / "one").rglob("*.parquet")):
        assert pq.read_table(path).equals(pq.read_table(tmp_path / "two" / path.relative_to(tmp_path / "one")))


def test_no_history_is_the_default(tmp_path: Path, shop: Shop, write_frame: WriteFrame) -> None:
    features = write_frame(tmp_path / "features", train=drawn(1, 60, 0))
    textify(shop(), features, tmp_path / "texts")
    assert set(texts_of(tmp_path / "texts", "train")) == {"Age is 30. Home town is Oslo."}


def test_items_without_text_are_refused(tmp_path: Path, shop: Shop, write_frame: WriteFrame) -> None:
    spec = shop(history=3)
    mute = tuple(field.model_copy(update={"in_text": False}) if field.of == "item" else field for field in spec.dataset.fields)
    spec = spec.model_copy(update={"dataset": spec.dataset.model_copy(update={"fields": mute})})
    with pytest.raises(InputError, match=r"run\.text\.history = 3: no field of the item"):
        textify(spec, write_frame(tmp_path / "features", train=drawn(1, 9, 0)), tmp_path / "texts")
    assert not (tmp_path / "texts").exists()
