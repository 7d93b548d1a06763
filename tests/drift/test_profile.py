import sys
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elec.drift import Profile, profile, read_reference
from elec.errors import InputError


def test_every_row_is_counted_in_every_field(make, spec):
    found = profile(make(missing_price=0.2), spec.dataset)
    assert found.rows == 8000
    for name in ("user", "item", "age", "city", "device", "price", "title"):
        assert sum(found.fields[name].counts) == 8000, name
    assert found.fields["price"].missing == pytest.approx(0.2, abs=0.02)
    # An item without tags counts once, as missing.
    assert sum(found.fields["tags"].counts) > 8000
    assert found.fields["tags"].values == ("new", "red")
    assert found.fields["user"].distinct == 300
    assert found.rows_a_day == pytest.approx(800, rel=0.01)
    assert found.window.first == datetime(2026, 1, 1, tzinfo=UTC)
    assert found.label_rate == pytest.approx(0.3, abs=0.02)


def test_numeric_bins_are_quantiles_of_the_reference(make, spec):
    reference = profile(make(), spec.dataset)
    price = reference.fields["price"]
    inner = price.counts[1:-2]
    assert price.counts[0] == 0
    assert all(count == pytest.approx(800, rel=0.05) for count in inner)
    moved = profile(make(price=1000.0), spec.dataset, reference)
    # Values beyond anything seen have a bin of their own, and the profile keeps quantiles of its own for later.
    assert moved.fields["price"].in_reference[-2] > 7000
    assert moved.fields["price"].counts[-2] == 0


def test_few_distinct_numbers_have_a_bin_each(make, spec):
    window = make(rows=100)
    table = pq.read_table(window.train)
    flags = pa.array([1.0] * 99 + [0.0], pa.float64())
    pq.write_table(table.set_column(table.column_names.index("price"), "price", flags), window.train)
    found = profile(window, spec.dataset).fields["price"]
    assert found.counts == (0, 1, 99, 0, 0)


def test_values_that_are_no_numbers_are_missing(make, spec):
    window = make(rows=100)
    table = pq.read_table(window.train)
    odd = pa.array([float("nan"), float("inf"), None, *[1.0] * 97], pa.float64())
    pq.write_table(table.set_column(table.column_names.index("price"), "price", odd), window.train)
    found = profile(window, spec.dataset)
    assert found.fields["price"].counts[-1] == 3
    assert Profile.model_validate_json(found.model_dump_json()) == found


def test_a_field_without_any_value(make, spec):
    window = make(rows=100, missing_price=1.0)
    found = profile(window, spec.dataset).fields["price"]
    assert found.edges == ()
    assert found.counts == (0, 100)


def test_wide_fields_keep_the_most_frequent_values_and_others(make, spec):
    window = make()
    table = pq.read_table(window.train)
    wide = pa.array([f"v{n % 200 if n % 2 else n % 4}" for n in range(8000)])
    pq.write_table(table.set_column(table.column_names.index("device"), "device", wide), window.train)
    found = profile(window, spec.dataset).fields["device"]
    assert len(found.values) == 50
    assert found.values[:2] == ("v0", "v2")
    assert sum(found.counts) == 8000
    assert found.counts[-2] > 0


def test_only_what_was_true_at_the_event_is_joined(make, spec):
    window = make(rows=1000)
    users = pq.read_table(window.users)
    later = datetime(2026, 1, 6, tzinfo=UTC)
    moved = users.set_column(3, "city", pa.array(["paris"] * 300)).set_column(
        1, "event_timestamp", pa.array([later] * 300, users.schema.field("event_timestamp").type)
    )
    pq.write_table(pa.concat_tables([users, moved]), window.users)
    found = profile(window, spec.dataset).fields["city"]
    assert found.counts[found.values.index("paris")] == pytest.approx(500, abs=2)
    assert sum(found.counts) == 1000


def test_known_keys_by_exact_match_and_by_a_sample(make, spec, monkeypatch):
    reference = profile(make(), spec.dataset)
    assert reference.fields["user"].known is None
    half_new = make(first_user=150)
    assert profile(half_new, spec.dataset, reference).fields["user"].known == pytest.approx(0.5, abs=0.03)
    monkeypatch.setattr(sys.modules["elec.drift.profile"], "KEY_SAMPLE", 100)
    sampled = profile(make(), spec.dataset)
    assert len(sampled.fields["user"].key_hashes) == 100
    assert profile(half_new, spec.dataset, sampled).fields["user"].known == pytest.approx(0.5, abs=0.2)


def test_the_same_rows_give_the_same_profile(make, spec):
    first, second = profile(make(), spec.dataset), profile(make(), spec.dataset)
    assert first == second
    assert first.fingerprint == second.fingerprint
    assert profile(make(), spec.dataset, first).fingerprint == first.fingerprint


def test_a_reference_is_read_or_refused(make, spec, tmp_path):
    assert read_reference(str(tmp_path)) is None
    found = profile(make(rows=100), spec.dataset)
    (tmp_path / "profile.json").write_text(found.model_dump_json())
    assert read_reference(str(tmp_path)) == found
    (tmp_path / "profile.json").write_text('{"rows": 1}')
    with pytest.raises(InputError, match=r"profile\.json: not a drift reference"):
        read_reference(str(tmp_path))
