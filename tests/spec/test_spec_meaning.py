"""What a right spec means."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from elec.spec import Entity, Kind, Rule, Spec, cache_folder, load_spec, parse_spec
from tests.spec.test_spec_sentences import GOOD


def _parse(text: str, folder: Path = Path("/data")) -> Spec:
    return parse_spec(text, origin="ads.yaml", folder=folder)


def test_fields_and_their_order() -> None:
    spec = _parse(GOOD).dataset
    assert [field.name for field in spec.all_fields] == ["user", "ad", "age", "title"]
    assert [field.name for field in spec.tabular_fields] == ["user", "ad", "age"]
    assert [field.name for field in spec.fields_of(Entity.USER)] == ["age"]
    assert spec.fields_of(Entity.CONTEXT) == ()
    assert spec.key_of(Entity.ITEM) == "ad"
    assert not spec.key_fields[0].in_text


def test_a_listed_key_keeps_its_settings_and_its_place() -> None:
    text = GOOD + "  - {name: ad, of: item, min_count: 5, in_text: true}\n"
    spec = _parse(text).dataset
    assert [field.name for field in spec.all_fields] == ["user", "ad", "age", "title"]
    assert spec.key_fields[1].min_count == 5
    assert spec.key_fields[1].in_text
    assert [field.name for field in spec.fields_of(Entity.ITEM)] == ["title"]


def test_display_and_width() -> None:
    text = GOOD + "  - {name: release_year}\n  - {name: tags, kind: multivalued, max_values: 3, title: Labels}\n"
    age, title, year, tags = _parse(text).dataset.fields
    assert (year.display, tags.display) == ("Release year", "Labels")
    assert [field.width for field in (age, title, year, tags)] == [1, 0, 1, 3]
    assert tags.kind is Kind.MULTIVALUED


def test_a_spec_travels_as_json() -> None:
    spec = load_spec("movielens-100k")
    assert Spec.model_validate_json(spec.model_dump_json()) == spec
    with pytest.raises(ValidationError, match="frozen"):
        spec.run.seed = 1  # type: ignore[misc]


def test_paths(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def path(text: str) -> str:
        return _parse(GOOD.replace("a.csv", f'"{text}"')).dataset.source.path

    monkeypatch.setenv("LOGS", "/logs")
    monkeypatch.setenv("EMPTY", "")
    monkeypatch.setenv("ELEC_CACHE", "/cache")
    assert path("a.csv") == "/data/a.csv"
    assert path("/b/a.csv") == "/b/a.csv"
    assert path("s3://bucket/a.csv") == "s3://bucket/a.csv"
    assert path("${LOGS}/a.csv") == "/logs/a.csv"
    assert path("${NO_SUCH_VARIABLE:-/else}/a.csv") == "/else/a.csv"
    assert path("${EMPTY:-/else}/a.csv") == "/else/a.csv"
    assert path("${NO_SUCH_VARIABLE:-${ELEC_CACHE}/x}/a.csv") == "/cache/x/a.csv"
    assert path("${LOGS:-${ELEC_CACHE}/x}/a.csv") == "/logs/a.csv"
    assert path("s3://${NO_SUCH_VARIABLE:-bucket}/a.csv") == "s3://bucket/a.csv"
    assert path("~/a.csv") == str(Path.home() / "a.csv")
    (tmp_path / "ads.yaml").write_text(GOOD)
    assert load_spec(tmp_path / "ads.yaml").dataset.source.path == str(tmp_path / "a.csv")
    tables = GOOD + "tables:\n  users: {path: u.csv}\n"
    assert _parse(tables).dataset.tables.users.path == "/data/u.csv"  # type: ignore[union-attr]


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ELEC_CACHE", "/a")
    assert cache_folder() == Path("/a")
    monkeypatch.delenv("ELEC_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/b")
    assert cache_folder() == Path("/b/elec")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "elec"


def test_yaml_anchors_work() -> None:
    text = GOOD + "tables:\n  users: &side {path: u.csv, encoding: latin-1}\n  items: {<<: *side, path: i.csv}\n"
    items = _parse(text).dataset.tables.items
    assert items is not None
    assert (items.path, items.encoding) == ("/data/i.csv", "latin-1")


@given(
    column=st.from_regex(r"[A-Za-z_][A-Za-z0-9_.:-]{0,10}", fullmatch=True),
    operator=st.sampled_from(["==", "!=", ">=", "<=", ">", "<"]),
    value=st.floats(allow_nan=False, allow_infinity=False),
    space=st.sampled_from(["", " ", "  "]),
)
def test_rules_with_numbers(column: str, operator: str, value: float, space: str) -> None:
    assert Rule.parse(f"{column}{space}{operator}{space}{value!r}{space}") == Rule(column, operator, value)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("event == 'click'", Rule("event", "==", "click")),
        ('event != "a b"', Rule("event", "!=", "a b")),
        ("event == click", Rule("event", "==", "click")),
        ("zip == '007'", Rule("zip", "==", "007")),
        ("grade >= 'B'", Rule("grade", ">=", "B")),
        ("event == 'this and that'", Rule("event", "==", "this and that")),
        ("a>-1.5e3", Rule("a", ">", -1500.0)),
    ],
)
def test_rules_with_text(text: str, rule: Rule) -> None:
    assert Rule.parse(text) == rule


@pytest.mark.parametrize(
    "text", ["", "rating", "> 3", "rating >", "rating => 3", "rating = 3", "3 > rating", "a > nan", "a > inf"]
)
def test_what_is_no_rule(text: str) -> None:
    with pytest.raises(ValueError, match=r"rule|number"):
        Rule.parse(text)
