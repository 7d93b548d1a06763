"""A wrong spec, as a newcomer writes it, and the one sentence that comes back."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from elec.errors import InputError
from elec.spec import load_spec, parse_spec

GOOD = """
name: ads
source: {path: a.csv}
label: {column: clicked}
timestamp: {column: ts, unit: iso}
user: user
item: ad
fields:
  - {name: age, of: user, kind: numeric}
  - {name: title, of: item, kind: text}
"""


def _message(text: str) -> str:
    with pytest.raises(InputError) as raised:
        parse_spec(text, origin="ads.yaml", folder=Path("/data"))
    message = str(raised.value)
    assert message.startswith("ads.yaml")
    assert "\n" not in message
    for jargon in ("dictionary", "instance of", "tuple", "validation", "pydantic", "Traceback"):
        assert jargon not in message
    return message


CASES: list[tuple[str, Any, str]] = [
    ("lable", {"column": "x"}, r"unknown key 'lable'; did you mean 'label'\?"),
    ("colour", 1, r"unknown key 'colour'; known keys: name, .*, run"),
    ("fields.0.typ", "x", r"unknown key 'fields\.0\.typ' \(of field 'age'\); known keys: name, of, kind"),
    ("tables", {"user": {"path": "x"}}, r"'tables\.user'; did you mean 'users'"),
    ("run", {"sed": 1}, r"'run\.sed'; did you mean 'seed'"),
    ("run", {"model": {"embeding": 8}}, r"'run\.model\.embeding'; did you mean 'embedding'"),
    ("run", "fast", r"'run' = 'fast' has to have keys of its own: seed"),
    ("run", {"seed": -1}, r"'run\.seed' = -1 has to be at least 0"),
    ("run", {"cluster": {"memory": "lots"}}, r"'run\.cluster\.memory' = 'lots' has to be an amount of memory, such as 16G"),
    ("name", None, r"'name' has to be text"),
    ("name", 5, r"'name' = 5 has to be text; put quotes"),
    ("name", "My Ads", r"'name' = 'My Ads' has to be lower-case letters, digits and hyphens"),
    ("source", "a.csv", r"'source' = 'a\.csv' has to have keys of its own: path, format"),
    ("source", {"format": "csv"}, r"the key 'source\.path' is missing"),
    ("source.format", "xlsx", r"'source\.format' = 'xlsx' has to be 'csv', 'tsv', 'parquet' or 'jsonl'"),
    ("source.header", False, r"'source': header is false, so `columns` has to name"),
    ("source.header", "nope", r"has to be true or false"),
    ("source.columns", "a,b", r"'source\.columns' = 'a,b' has to be a list"),
    ("source.columns", ["a", "a"], r"`columns` names 'a' more than once"),
    ("source.encoding", "utf9", r"`encoding` = 'utf9' is not known; use utf-8"),
    ("source.delimiter", "", r"'source\.delimiter' = '' is empty"),
    ("source.delimiter", "-----", r"more than 4 characters"),
    ("label", "clicked", r"'label' = 'clicked' has to have keys of its own: column, rule, clicks, drop"),
    ("label", {}, r"'label': give one of `column` .* `rule` .* `clicks`"),
    ("label", {"column": "a", "rule": "b > 1"}, r"give one of"),
    ("label", {"rule": "rating"}, r"'rating' is not a rule; write one comparison"),
    ("label", {"rule": "a > 3 and b < 2"}, r"more than one comparison"),
    ("label", {"rule": "a > x"}, r"'x', which is not a number; quote it"),
    ("label", {"column": "clicked", "drop": "?"}, r"'\?' is not a rule"),
    ("timestamp.unit", "seconds", r"'timestamp\.unit' = 'seconds' has to be 's', 'ms', 'us', 'ns' or 'iso'"),
    ("timestamp.missing", "never", r"has to be a date or a time, such as 2024-05-31"),
    ("fields", {"age": 1}, r"'fields' has to be a list"),
    ("fields", None, r"'fields' has to be a list"),
    ("fields", ["age"], r"'fields\.0' = 'age' has to have keys of its own: name, of, kind"),
    ("fields.0.kind", "number", r"\(of field 'age'\) = 'number' has to be 'categorical'.*did you mean 'numeric'"),
    ("fields.1.of", "product", r"\(of field 'title'\) = 'product' has to be 'user', 'item' or 'context'"),
    (
        "fields.0.name",
        "user age",
        r"'fields\.0\.name' = 'user age' has to be letters, digits.*rename the column with `columns`",
    ),
    ("fields.0.min_count", 1.5, r"has to be a whole number"),
    ("fields.0.buckets", 1, r"has to be at least 2"),
    ("fields.0.name", "label", r"'label' is a column that elec adds itself"),
    ("fields.0.name", "Label", r"'Label' is a column that elec adds itself"),
    ("fields.0.name", "title", r"field 'title' is listed more than once"),
    ("fields.0.name", "Title", r"field 'Title' differs from another column in case only"),
    ("fields.0.name", "clicked", r"'clicked' is what the label is made of.*leave it out"),
    ("fields.0.name", "user", r"'user' is a key, so its kind is categorical"),
    ("fields.1", {"name": "ad"}, r"'ad' is the key of the item; give it `of: item`"),
    ("item", "user", r"`user` and `item` name the same column"),
    ("user", ["a", "b"], r"'user' has to be text"),
    ("split", {"valid": 10}, r"'split\.valid' = 10 has to be below 1"),
    ("split", {"valid": 0.5, "test": 0.5}, r"'split': `valid` and `test` have to be above 0 and leave rows"),
    ("split", {"by": "date"}, r"did you mean 'time'"),
    ("split", {"by": "column"}, r"`column` goes with `by: column`"),
    ("max_bad_share", "5%", r"has to be a number; a share of 5% is written 0\.05"),
    ("duplicates", "remove", r"'duplicates' = 'remove' has to be 'keep' or 'drop'"),
    ("source.path", "${NO_SUCH_VARIABLE}/a", r"needs the environment variable NO_SUCH_VARIABLE; export"),
]


@pytest.mark.parametrize(("key", "value", "pattern"), CASES, ids=[f"{key}={value}"[:40] for key, value, _ in CASES])
def test_one_wrong_key(key: str, value: Any, pattern: str) -> None:
    content = yaml.safe_load(GOOD)
    place = content
    *parents, last = [int(part) if part.isdigit() else part for part in key.split(".")]
    for part in parents:
        place = place[part]
    place[last] = value
    message = _message(yaml.safe_dump(content))
    assert re.search(pattern, message), message


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("", r"holds nothing"),
        ("- a", r"holds a list"),
        ("just text", r"holds a single value"),
        ("a: [", r"ads\.yaml, line 1: not valid YAML"),
        ("name: a\nsource: b: c", r"line 2: not valid YAML"),
        ("name: a\n\tuser: b", r"line 2: not valid YAML"),
        ("name: a\nname: b", r"line 2: .*'name' is there twice"),
        ('name: a\n"b\\ud800": 1', r"line 2: .*U\+D800 is half of a character"),
        ("fields:\n  - {name: a, name: b}", r"line 2: .*'name' is there twice"),
        ("1: x", r"key '1' is not text"),
        ("name: !!python/object/apply:os.system [ls]", r"not valid YAML"),
        ("name: a", r"the key 'source' is missing"),
    ],
)
def test_wrong_yaml(text: str, pattern: str) -> None:
    assert re.search(pattern, _message(text))


def test_files_that_are_no_spec(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nope: no such spec; give the path of a YAML file, or one of: movielens-100k"):
        load_spec("nope")
    with pytest.raises(InputError, match="cannot be read as a spec"):
        load_spec(tmp_path)
    (tmp_path / "log.csv").write_bytes(b"x" * 1_000_001)
    with pytest.raises(InputError, match="is this the data instead"):
        load_spec(tmp_path / "log.csv")
    (tmp_path / "log.bin").write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="cannot be read as a spec"):
        load_spec(tmp_path / "log.bin")
