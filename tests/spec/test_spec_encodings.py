"""How a field is encoded, as a spec says it: the settings' meaning, and the one sentence where they make none."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from elec.errors import InputError
from elec.spec import Entity, Spec, parse_spec

GOOD = """
name: ads
source: {path: a.csv}
label: {column: clicked}
timestamp: {column: ts, unit: iso}
user: user
item: ad
fields:
  - {name: age, of: user, kind: numeric, scale: log}
  - {name: query, hash_buckets: 100000}
  - {name: tags, of: item, kind: multivalued}
  - {name: title, of: item, kind: text}
crossed:
  - [age, ad]
  - {fields: [query, user], name: search, min_count: 5}
"""


def _parse(content: dict[str, Any]) -> Spec:
    return parse_spec(yaml.safe_dump(content), origin="ads.yaml", folder=Path("/data"))


def test_a_cross_is_a_list_of_names_or_has_settings() -> None:
    dataset = _parse(yaml.safe_load(GOOD)).dataset
    first, second = dataset.crossed_fields
    assert (first.name, first.of, first.parents, first.min_count) == ("age_x_ad", Entity.PAIR, ("age", "ad"), 2)
    assert (second.name, second.of, second.parents, second.min_count) == ("search", Entity.CONTEXT, ("query", "user"), 5)
    assert [field.name for field in dataset.encoded_fields][-2:] == ["age_x_ad", "search"]
    assert [field.name for field in dataset.tabular_fields] == ["user", "ad", "age", "query", "tags"]


CASES: list[tuple[str, Any, str]] = [
    ("fields.0.scale", "exp", r"\(of field 'age'\) = 'exp' has to be 'linear' or 'log'"),
    ("fields.1.scale", "log", r"`scale` is for numeric fields, and 'query' is categorical"),
    ("fields.1.hash_buckets", 1, r"\(of field 'query'\) = 1 has to be at least 2"),
    ("fields.1.hash_buckets", "many", r"has to be a whole number"),
    ("fields.0.hash_buckets", 10, r"`hash_buckets` is for categorical and multivalued fields, and 'age' is numeric"),
    ("fields.3.hash_buckets", 10, r"`hash_buckets` is for categorical and multivalued fields, and 'title' is text"),
    ("fields.0.of", "pair", r"field 'age'.* of the user, the item or the context"),
    ("crossed", "age", r"'crossed' = 'age' has to be a list"),
    ("crossed.0", "age", r"'crossed\.0' = 'age' has to have keys of its own: fields, name"),
    ("crossed.0", ["age"], r"'crossed\.0\.fields' has to list at least 2"),
    ("crossed.0", ["age", "ad", "query", "user", "tags"], r"'crossed\.0\.fields' has to list at most 4"),
    ("crossed.0", ["age", "age"], r"crosses 'age' with itself"),
    ("crossed.0", ["age", 7], r"has to be text"),
    ("crossed.0", ["age", "qery"], r"`crossed` names 'qery', which is no field; did you mean 'query'\?"),
    ("crossed.0", ["age", "zzz"], r"`crossed` names 'zzz', which is no field; fields: user, ad, age"),
    ("crossed.0", ["age", "title"], r"`crossed` names 'title', which is text; cross fields of another kind"),
    ("crossed.1.max_values", 4, r"`max_values` is for crosses of a multivalued field, and '.*' has none"),
    ("crossed.0", {"fields": ["age", "tags"], "max_values": 0}, r"'crossed\.0\.max_values' = 0 has to be at least 1"),
    ("crossed.1.name", "age_x_ad", r"there are two fields 'age_x_ad'; give the crossed one another `name`"),
    ("crossed.1.name", "Query", r"there are two fields 'Query'"),
    ("crossed.1.name", "slots", r"there are two fields 'slots'"),
    ("crossed.1.name", "age x ad", r"'crossed\.1\.name' = 'age x ad' has to be letters, digits and underscores"),
    ("crossed.1.buckets", 4, r"unknown key 'crossed\.1\.buckets'; did you mean 'hash_buckets'\?"),
    ("crossed.1.fields", None, r"'crossed\.1\.fields' has to be a list"),
]


@pytest.mark.parametrize(("key", "value", "pattern"), CASES, ids=[f"{key}={value}"[:40] for key, value, _ in CASES])
def test_one_wrong_setting(key: str, value: Any, pattern: str) -> None:
    content = yaml.safe_load(GOOD)
    place = content
    *parents, last = [int(part) if part.isdigit() else part for part in key.split(".")]
    for part in parents:
        place = place[part]
    place[last if isinstance(last, str) or isinstance(place, list) else str(last)] = value
    with pytest.raises(InputError) as raised:
        _parse(content)
    message = str(raised.value)
    assert re.search(pattern, message), message
    assert "\n" not in message
    for jargon in ("tuple", "validation", "pydantic", "dictionary"):
        assert jargon not in message


def test_a_name_that_would_be_too_long_has_to_be_given() -> None:
    content = yaml.safe_load(GOOD)
    content["fields"].append({"name": "a" * 40})
    content["fields"].append({"name": "b" * 40})
    content["crossed"] = [["a" * 40, "b" * 40]]
    with pytest.raises(InputError, match="has more than 64 characters; give it a `name`"):
        _parse(content)
    content["crossed"] = [{"fields": ["a" * 40, "b" * 40], "name": "both"}]
    assert _parse(content).dataset.crossed_fields[0].name == "both"
