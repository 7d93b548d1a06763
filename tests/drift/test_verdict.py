import pytest

from elec.drift import check, profile
from elec.spec.run import DriftSpec


@pytest.fixture
def judge(make, spec):
    """Judges a window with an injected change against the same 300 users' earlier one."""

    def run(settings=None, spec_now=spec, **change):
        reference = profile(make(seed=1), spec.dataset)
        current = profile(make(**({"seed": 2} | change)), spec_now.dataset, reference)
        return check(current, reference, settings or DriftSpec())

    return run


def test_without_a_reference_it_says_so(make, spec):
    verdict = check(profile(make(rows=100), spec.dataset), None, DriftSpec())
    assert verdict.verdict == "first"
    assert "no champion yet" in verdict.reasons[0]


def test_the_same_data_twice_is_ok_with_psi_zero(judge):
    verdict = judge(seed=1)
    assert verdict.verdict == "ok"
    assert all(field.psi == 0 for field in verdict.fields.values())
    assert verdict.fields["user"].known == 1
    assert verdict.label_psi == 0


def test_another_draw_of_the_same_world_is_ok(judge):
    verdict = judge()
    assert verdict.verdict == "ok"
    assert "Nothing has drifted" in verdict.reasons[0]


def test_small_windows_do_not_cry_wolf(make, spec):
    reference = profile(make(seed=1, rows=150), spec.dataset)
    current = profile(make(seed=2, rows=150), spec.dataset, reference)
    verdict = check(current, reference, DriftSpec())
    assert verdict.fields["price"].psi > DriftSpec().warn_psi
    assert verdict.fields["price"].verdict == "ok"


def test_a_moderate_shift_warns(judge):
    verdict = judge(devices=(0.35, 0.3, 0.35))
    assert verdict.verdict == "warn"
    assert verdict.fields["device"].verdict == "warn"
    assert "'device' has drifted: PSI 0." in verdict.reasons[0]


def test_a_large_shift_asks_for_retraining(judge):
    verdict = judge(price=3.0)
    assert verdict.verdict == "retrain"
    assert verdict.fields["price"].verdict == "retrain"
    assert verdict.fields["age"].verdict == "ok"


def test_missing_values_are_drift_and_named(judge):
    verdict = judge(missing_price=0.2)
    assert verdict.verdict == "retrain"
    assert verdict.fields["price"].missing_change == pytest.approx(0.2, abs=0.02)
    assert "missing values went from 0.0% to" in verdict.reasons[0]


def test_the_worst_reason_comes_first(judge):
    verdict = judge(devices=(0.35, 0.3, 0.35), price=3.0)
    assert [("'price'" in reason, "'device'" in reason) for reason in verdict.reasons] == [(True, False), (False, True)]


def test_new_users_ask_for_retraining_and_never_block(judge):
    verdict = judge(first_user=300)
    assert verdict.verdict == "retrain"
    assert verdict.fields["user"].known == 0
    assert "100.0% of the rows have a 'user' that the champion has never seen" in verdict.reasons[0]
    assert judge(first_user=100).verdict == "ok"


def test_a_collapsed_key_blocks(make, spec, judge):
    import pyarrow as pa
    import pyarrow.parquet as pq

    reference, window = profile(make(), spec.dataset), make(seed=2)
    table = pq.read_table(window.train)
    constant = pa.array(["u1"] * table.num_rows)
    pq.write_table(table.set_column(table.column_names.index("user"), "user", constant), window.train)
    verdict = check(profile(window, spec.dataset, reference), reference, DriftSpec())
    assert verdict.fields["user"].verdict == "block"


def test_a_broken_join_blocks(judge):
    verdict = judge(users_known=False)
    assert verdict.verdict == "block"
    assert verdict.fields["city"].verdict == verdict.fields["age"].verdict == "block"
    assert "from 0.0% to 100.0%" in verdict.reasons[0]


def test_other_values_altogether_block(judge):
    verdict = judge(cities=("lyon", "nice", "brest"))
    assert verdict.verdict == "block"
    assert "'city' has become another" in verdict.reasons[0]


@pytest.mark.parametrize(
    ("rate", "expected", "sentence"),
    [
        (0.10, "block", "taken for broken labels"),
        (0.60, "block", "taken for broken labels"),
        (0.42, "ok", "Nothing has drifted"),
    ],
)
def test_the_label_rate(judge, rate, expected, sentence):
    verdict = judge(click_rate=rate)
    assert verdict.verdict == expected
    assert sentence in verdict.reasons[0]
    assert verdict.label_rate.current == pytest.approx(rate, abs=0.02)


def test_a_label_that_moves_within_belief_warns(judge):
    verdict = judge(click_rate=0.42, settings=DriftSpec(warn_psi=0.05))
    assert verdict.verdict == "warn"
    assert "The label rate went from 0.3" in verdict.reasons[0]


@pytest.mark.parametrize(("rows", "days"), [(8000, 0.9), (600, 10.0)])
def test_a_volume_beyond_belief_blocks_both_ways(judge, rows, days):
    verdict = judge(rows=rows, days=days)
    assert verdict.verdict == "block"
    assert "rows a day, a factor of 1" in verdict.reasons[0]


def test_without_times_the_number_of_rows_is_judged(judge, make, spec):
    reference = profile(make(days=0), spec.dataset)
    assert reference.rows_a_day is None
    verdict = check(profile(make(days=0, rows=500, seed=2), spec.dataset, reference), reference, DriftSpec())
    assert verdict.verdict == "block"
    assert "8,000 to 500 rows, a factor of 16.0" in verdict.reasons[0]


def test_a_missing_and_a_new_column_block(make, spec, without):
    whole, part = profile(make(), spec.dataset), profile(make(), without("device").dataset)
    gone = check(profile(make(), without("device").dataset, whole), whole, DriftSpec())
    assert gone.verdict == "block"
    assert "Field 'device' (categorical) of the champion's schema is gone" in gone.reasons[0]
    new = check(profile(make(), spec.dataset, part), part, DriftSpec())
    assert new.verdict == "block"
    assert "Field 'device' (categorical) is new" in new.reasons[0]
    assert new.fields["device"].psi is None


def test_a_changed_kind_blocks(make, spec):
    reference = profile(make(), spec.dataset)
    other = reference.fields["device"].model_copy(update={"kind": "multivalued"})
    reference = reference.model_copy(update={"fields": {**reference.fields, "device": other}})
    verdict = check(profile(make(), spec.dataset, reference), reference, DriftSpec())
    assert verdict.verdict == "block"
    assert "was multivalued of the context when the champion was trained and is categorical" in verdict.reasons[0]


def test_a_profile_made_against_another_reference_is_refused(make, spec):
    reference = profile(make(), spec.dataset)
    with pytest.raises(ValueError, match="not made against this reference"):
        check(profile(make(seed=2), spec.dataset), reference, DriftSpec())
