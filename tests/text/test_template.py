"""The paper's template, against a plain reference a record at a time."""

import math
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elec.spec import FieldSpec
from elec.text.template import distinct, render, values

FIELDS = [
    FieldSpec(name="release_year", kind="numeric"),
    FieldSpec(name="title", kind="text", title="Film"),
    FieldSpec(name="genres", kind="multivalued"),
]
KINDS = [pa.float64(), pa.string(), pa.list_(pa.string())]


def text_of(*record: Any) -> str:
    """A record as text, through the columns."""
    columns = [values(field, pa.array([value], kind)) for field, value, kind in zip(FIELDS, record, KINDS, strict=True)]
    return render(FIELDS, columns, 1)[0].as_py()


def test_the_papers_template() -> None:
    assert text_of(1995.0, "Toy Story", ["Animation", "Comedy"]) == (
        "Release year is 1995. Film is Toy Story. Genres is Animation, Comedy."
    )


@pytest.mark.parametrize("nothing", [(None, None, None), (math.nan, "", []), (math.inf, "  ", [None, ""])])
def test_missing_values_are_left_out(nothing: tuple[Any, ...]) -> None:
    assert text_of(*nothing) == ""
    assert text_of(nothing[0], "Alien", nothing[2]) == "Film is Alien."


@pytest.mark.parametrize(
    ("number", "written"),
    [(24.0, "24"), (-3.0, "-3"), (-0.0, "0"), (0.5, "0.5"), (1e12, "1000000000000"), (9007199254740991.0, "9007199254740991")],
)
def test_whole_numbers_are_written_whole(number: float, written: str) -> None:
    assert text_of(number, None, None) == f"Release year is {written}."


def test_a_long_text_is_written_as_its_tags() -> None:
    column = pa.array(["a very long text", "short", None, "a very long text"])
    found = values(FIELDS[1], column, {"a very long text": "long, text"})
    assert found.to_pylist() == ["long, text", "short", None, "long, text"]


def test_columns_may_be_dictionaries_and_large_lists() -> None:
    assert values(FieldSpec(name="a"), pa.array(["x", None, "x"]).dictionary_encode()).to_pylist() == ["x", None, "x"]
    lists = pa.array([["x", "y"], None, []], pa.large_list(pa.string()))
    assert values(FIELDS[2], lists).to_pylist() == ["x, y", None, None]
    # A slice starts in the middle of its parent's values.
    assert values(FIELDS[2], pa.array([["a"], ["b", "c"], None, ["d"]]).slice(1)).to_pylist() == ["b, c", None, "d"]


words = st.one_of(st.none(), st.sampled_from(["", " ", "a", "b c", "é.", "x is y."]), st.text(max_size=5))
records = st.tuples(
    st.one_of(st.none(), st.integers(-5, 5).map(float), st.floats(width=32)),
    words,
    st.one_of(st.none(), st.lists(words, max_size=3)),
)


def plain(year: float | None, title: str | None, genres: list[str | None] | None) -> str:
    """The template, a record at a time."""
    sentences = []
    if year is not None and math.isfinite(year):
        number = str(int(year)) if year == int(year) and abs(year) < 2**53 else pa.scalar(year).cast(pa.string()).as_py()
        sentences.append(f"Release year is {number}.")
    if title is not None and title.strip():
        sentences.append(f"Film is {title.strip()}.")
    named = [genre.strip() for genre in genres or [] if genre is not None and genre.strip()]
    if named:
        sentences.append(f"Genres is {', '.join(named)}.")
    return " ".join(sentences)


@settings(max_examples=150, deadline=None)
@given(st.lists(records, max_size=12))
def test_rendering_distinct_records_equals_rendering_every_row(rows: list[tuple[Any, ...]]) -> None:
    columns = [
        values(field, pa.array([row[place] for row in rows], kind))
        for place, (field, kind) in enumerate(zip(FIELDS, KINDS, strict=True))
    ]
    first, which = distinct(columns, len(rows))
    texts = render(FIELDS, [column.take(pa.array(first)) for column in columns], len(first)).to_pylist()
    expected = [plain(*row) for row in rows]
    assert [texts[number] for number in which] == expected
    # The first occurrence stands for its record, and no record comes twice.
    written = list(zip(*[column.to_pylist() for column in columns], strict=True))
    assert len(first) == len(set(written))
    assert [written.index(written[row]) for row in range(len(rows))] == [int(first[number]) for number in which]


def test_no_fields_give_the_empty_text() -> None:
    first, which = distinct([], 3)
    assert (first.tolist(), which.tolist()) == ([0], [0, 0, 0])
    assert render([], [], 1).to_pylist() == [""]
    assert render([], [], 0).to_pylist() == []
