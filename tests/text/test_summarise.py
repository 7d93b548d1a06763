"""Tags of real long texts by the real KeyBERT on the real default encoder."""

import json
import os
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elec.errors import InputError
from elec.spec import FieldSpec
from elec.spec.learning import TextSpec
from elec.text import summarise as room
from elec.text.markup import strip_markup
from elec.text.summarise import is_grounded, long_texts, summarise

CHAIR = """
<!-- .head {font-size: 12px} --><div><p>This ergonomic office chair keeps your back straight through long working days.</p>
<p>The breathable mesh backrest lets air through, so you stay cool in summer, and the padded lumbar support can be moved up and
down until it fits the curve of your spine. The armrests fold away when the chair has to go under a low desk.</p>
<script>track('chair')</script><ul><li>Height adjustable from 45 to 55 cm</li><li>Five silent castors for hard floors</li>
<li>Carries up to 120 kg</li></ul><p>Assembly takes about fifteen minutes; the tool &amp; all screws come in the box.</p></div>
"""
STAPLER = """
A heavy duty metal stapler for the office that goes through sixty sheets of paper without a jam. The long handle halves the
force you need, the rubber base stays where you put it, and the staple tray opens at the push of a button. It takes standard
24/6 staples and the longer 23/13 ones; a thousand of each are included. Made of steel, with a warranty of ten years. If a
staple does get stuck, the front opens on a spring so that no screwdriver is needed to get it out again.
"""
SETTINGS = TextSpec(summarise_above=20, tags=6)


def test_tags_are_grounded_cached_and_about_the_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [CHAIR, STAPLER, "<b>Cup</b> &amp; saucer"]
    tags, summarised, reused = summarise(texts, SETTINGS, tmp_path)
    assert (summarised, reused) == (2, 0)
    assert tags[texts[2]] == "Cup & saucer"
    for text, word in ((CHAIR, "chair"), (STAPLER, "stapler")):
        found = tags[text].split(", ")
        assert 1 < len(found) <= 6
        assert any(word in tag for tag in found)
        assert all(is_grounded(tag, strip_markup(text)) for tag in found)
        assert "font" not in tags[text]
        assert "track" not in tags[text]

    # Another run makes none of them again, though a text may be new.
    monkeypatch.setattr(room, "_keybert", lambda: pytest.fail("known tags were made again"))
    started = time.monotonic()
    assert summarise(texts, SETTINGS, tmp_path) == (tags, 2, 2)
    assert time.monotonic() - started < 2
    # Other settings are other tags.
    with pytest.raises(pytest.fail.Exception):
        summarise(texts, TextSpec(summarise_above=20, tags=3), tmp_path)


def test_texts_without_a_word_that_counts_keep_their_beginning(tmp_path: Path) -> None:
    nothing = "it is as if to be or not to be was all that there is to it and so on " * 2
    tags, summarised, _ = summarise([nothing], SETTINGS, None)
    assert tags[nothing] == "it is as if to be"
    assert summarised == 1
    mixed, _, _ = summarise([nothing, STAPLER], SETTINGS, tmp_path)
    assert mixed[nothing] == tags[nothing]
    assert "stapler" in mixed[STAPLER]


@pytest.mark.parametrize(
    ("tag", "grounded"),
    [("mesh backrest", True), ("Office CHAIR", True), ("leather chair", False), ("hair", False), ("45 cm", True)],
)
def test_a_tag_is_grounded_if_every_word_of_it_is_in_the_text(tag: str, grounded: bool) -> None:
    assert is_grounded(tag, strip_markup(CHAIR)) is grounded


def test_which_texts_are_long(tmp_path: Path) -> None:
    frame = tmp_path / "train.parquet"
    column = pa.array(["one two", "one two three", None, "a <br> b", "one two three", "x &amp; y"])
    pq.write_table(pa.table({"about": column, "label": column}), frame)
    about, label = FieldSpec(name="about", kind="text"), FieldSpec(name="label")
    assert long_texts([frame], [about, label], above=2) == ["a <br> b", "one two three", "x &amp; y"]
    # A categorical value is never taken apart.
    assert long_texts([frame], [label], above=2) == []


def test_a_damaged_cache_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "_keybert", lambda: None)
    monkeypatch.setattr(room, "_tags_of", lambda keybert, texts, count: ["tag"] * len(texts))
    summarise([STAPLER], SETTINGS, tmp_path)
    (path,) = tmp_path.rglob("*.parquet")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(InputError, match="delete the file"):
        summarise([STAPLER], SETTINGS, tmp_path)


def test_real_descriptions_of_products(tmp_path: Path) -> None:
    folder = Path(os.environ.get("ELEC_SHARED_DATA", "."), "amazon-office-2018")
    if not folder.is_dir():
        pytest.skip("set ELEC_SHARED_DATA to a folder with amazon-office-2018")
    items = json.loads((folder / "Office_Products.item.json").read_text(encoding="utf-8")).values()
    long = [item["description"] for item in items if len(item["description"].split()) > 100][:12]
    tags, summarised, _ = summarise(long, TextSpec(), tmp_path)
    assert summarised > 8
    for text in long:
        assert tags[text]
        assert "<" not in tags[text]
        assert all(is_grounded(tag, strip_markup(text)) for tag in tags[text].split(", "))
