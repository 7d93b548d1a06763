"""Aggregates in the spec: the fields that they make, and what is refused."""

from typing import Any

import pytest
from pydantic import ValidationError

from elec.spec import DatasetSpec, Kind

SPEC: dict[str, Any] = {
    "name": "shop",
    "source": {"path": "log.csv"},
    "label": {"column": "click"},
    "timestamp": {"column": "time"},
    "user": "uid",
    "item": "iid",
    "fields": [
        {"name": "age", "of": "user", "kind": "numeric"},
        {"name": "city", "of": "user"},
        {"name": "category", "of": "item"},
        {"name": "title", "of": "item", "kind": "text"},
        {"name": "device"},
    ],
}


def spec(*aggregates: Any, **other: Any) -> DatasetSpec:
    return DatasetSpec.model_validate({**SPEC, "aggregates": aggregates, **other})


def test_the_fields_are_numbers_of_whom_they_are_counted_by() -> None:
    dataset = spec(
        {"by": ["user"], "windows": ["1d", "7d"]},
        {"by": ["item"], "windows": ["12h"], "what": ["ctr"], "buckets": 5},
        {"by": ["user", "category"], "windows": ["1d"], "what": ["count"]},
        {"by": ["city"], "windows": ["1d"], "what": ["count"]},
        {"by": ["device"], "windows": ["1d"], "what": ["count"]},
    )
    assert {field.name: str(field.of) for field in dataset.aggregate_fields} == {
        "user_count_1d": "user",
        "user_count_7d": "user",
        "user_ctr_1d": "user",
        "user_ctr_7d": "user",
        "item_ctr_12h": "item",
        "user_x_category_count_1d": "pair",
        "city_count_1d": "user",
        # Who sends it is the request.
        "device_count_1d": "pair",
    }
    assert {field.kind for field in dataset.aggregate_fields} == {Kind.NUMERIC}
    assert not any(field.in_text for field in dataset.aggregate_fields)
    assert dataset.aggregate_fields[4].buckets == 5
    assert dataset.tabular_fields[-8:] == dataset.aggregate_fields
    assert not set(dataset.aggregate_fields) & set(dataset.all_fields)
    assert [view.join_keys for view in dataset.aggregate_views] == [
        ("uid",),
        ("iid",),
        ("uid", "by_category"),
        ("by_city",),
        ("by_device",),
    ]


def test_a_view_is_called_after_what_its_numbers_mean() -> None:
    def name(**changes: Any) -> str:
        return spec({"by": ["item"], "windows": ["1d"], **changes}).aggregate_views[0].name

    assert name() == name(windows=["7d"]) == name(what=["ctr"]) == name(buckets=9) == name(every="60m")
    assert len({name(), name(smoothing=1), name(every="30m"), name(by=["user"])}) == 4


@pytest.mark.parametrize(
    ("aggregates", "other", "said"),
    [
        ([{"by": ["age"], "windows": ["1d"]}], {}, "counts by 'age', which is neither user nor item nor a categorical field"),
        ([{"by": ["title"], "windows": ["1d"]}], {}, "counts by 'title', which is neither"),
        ([{"by": ["uid"], "windows": ["1d"]}], {}, "counts by the key 'uid'; write `user`"),
        ([{"by": [], "windows": ["1d"]}], {}, "at least 1 item"),
        ([{"by": ["user", "user"], "windows": ["1d"]}], {}, "`by` lists 'user' more than once"),
        ([{"by": ["user"], "windows": ["1d", "24h"]}], {}, "`windows` lists '1d' more than once"),
        ([{"by": ["user"], "windows": ["90m"]}], {}, "the window '90m' is no whole multiple of `every`, '1h'"),
        ([{"by": ["user"], "windows": ["1d"], "what": ["ctr", "ctr"]}], {}, "`what` lists 'ctr' more than once"),
        ([{"by": ["user"], "windows": ["8d"]}], {"window": {"days": 7}}, "looks back '8d', and a run sees 7 days"),
        ([{"by": ["user"], "windows": ["1d"]}, {"by": ["user"], "windows": ["2d"]}], {}, "twice; put the windows into one"),
        (
            [{"by": ["user"], "windows": ["1d"]}, {"by": ["user"], "windows": ["1d"], "smoothing": 1}],
            {},
            "the name of the aggregate 'user_count_1d' is taken",
        ),
        (
            [{"by": ["user"], "windows": ["1d"]}],
            {"fields": [{"name": "User_Count_1d", "of": "user"}]},
            "the name of the aggregate 'user_count_1d' is taken",
        ),
        (
            [{"by": ["city"], "windows": ["1d"]}],
            {"fields": [{"name": "city", "of": "user"}, {"name": "by_city", "of": "user"}]},
            "the name of the aggregate 'by_city' is taken",
        ),
        (
            [{"by": ["c" * 60], "windows": ["1d"]}],
            {"fields": [{"name": "c" * 60, "of": "user"}]},
            "more than 64 characters; count by less",
        ),
        ([{"by": ["user"], "windows": ["1d"], "window": "x"}], {}, "Extra inputs are not permitted"),
    ],
)
def test_what_cannot_be_counted_is_refused(aggregates: list[Any], other: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        spec(*aggregates, **other)


def test_a_field_of_a_column_is_of_no_pair() -> None:
    with pytest.raises(ValidationError, match="field 'device' is of a column"):
        spec(fields=[{"name": "device", "of": "pair"}])
