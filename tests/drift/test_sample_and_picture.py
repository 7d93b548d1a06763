import html
import re

import pyarrow.parquet as pq
import pytest

from elec.drift import check, drift_page, evidently_report, profile, sample
from elec.spec.run import DriftSpec


def test_a_sample_is_small_joined_and_repeatable(make, spec, tmp_path):
    window = make()
    first = pq.read_table(sample(window, spec.dataset, tmp_path / "a", rows=500, seed=3))
    assert first.num_rows == 500
    assert set(first.column_names) == {"row_id", "label", "event_timestamp", *(f.name for f in spec.dataset.all_fields)}
    assert first["city"].null_count == 0
    assert first.equals(pq.read_table(sample(window, spec.dataset, tmp_path / "b", rows=500, seed=3)))
    other = pq.read_table(sample(window, spec.dataset, tmp_path / "c", rows=500, seed=4))
    assert not first["row_id"].equals(other["row_id"])


def test_a_sample_of_fewer_rows_than_asked_for_is_all_of_them(make, spec, tmp_path):
    assert pq.read_metadata(sample(make(rows=50), spec.dataset, tmp_path, rows=500, seed=3)).num_rows == 50


@pytest.mark.slow
def test_evidently_draws_the_fields_and_not_the_keys(make, spec, tmp_path):
    before = sample(make(), spec.dataset, tmp_path / "before", rows=400, seed=3)
    now = sample(make(price=4.0, missing_price=0.1, seed=2), spec.dataset, tmp_path / "now", rows=400, seed=3)
    page = tmp_path / "out" / "drift.html"
    evidently_report(now, before, spec.dataset, page)
    text = page.read_text(encoding="utf-8")
    for name in ("age", "city", "tags", "device", "price", "label"):
        assert re.search(rf"\b{name}\b", text)
    assert page.stat().st_size < 20_000_000


@pytest.mark.slow
def test_evidently_draws_columns_that_have_nothing_to_tell(make, spec, tmp_path):
    before = sample(make(devices=(1.0, 0.0, 0.0)), spec.dataset, tmp_path / "before", rows=100, seed=3)
    now = sample(make(rows=20, missing_price=1.0, users_known=False), spec.dataset, tmp_path / "now", rows=100, seed=3)
    page = tmp_path / "drift.html"
    evidently_report(now, before, spec.dataset, page)
    assert "device" in page.read_text(encoding="utf-8")


def test_the_page_of_the_verdict_stands_alone(make, spec):
    reference = profile(make(), spec.dataset)
    verdict = check(profile(make(price=3.0, seed=2), spec.dataset, reference), reference, DriftSpec())
    page = drift_page(verdict)
    assert "Drift: retraining is due" in page
    assert "'price' has drifted: PSI" in html.unescape(page)
    assert page.index(">price<") < page.index(">age<")
    assert "default-src 'none'" in html.unescape(page)
    first = drift_page(check(reference, None, DriftSpec()))
    assert "There is no champion yet" in first
