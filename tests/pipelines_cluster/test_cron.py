import pytest

from elec.errors import InputError
from pipelines.cron import check_cron


@pytest.mark.parametrize(
    "expression",
    [
        "0 0 3 * * *",
        "30 */15 0-6/2 1,15 JAN-MAR ?",
        "0 5/20 9-17 ? * mon-FRI",
        "0 0 0 29 2 *",
        "0 0 0 31 2 MON",  # the weekday comes, whatever the day of the month
        "0 0 0 31 2,3 *",
    ],
)
def test_what_kubeflow_understands(expression):
    assert check_cron(f"  {expression.replace(' ', '  ')} ") == expression


@pytest.mark.parametrize(
    ("expression", "reason"),
    [
        ("0 3 * * *", r"write '0 0 3 \* \* \*'"),
        ("", "0 fields instead of six"),
        ("@daily", "1 fields instead of six"),
        ("0 0 3 * * * 2026", "7 fields instead of six"),
        ("60 0 3 * * *", "'60' is no value for the field 'second'; give 0 to 59"),
        ("0 -5 3 * * *", "field 'minute'"),
        ("0 0 24 * * *", "field 'hour'"),
        ("0 0 3 0 * *", "field 'day of month'"),
        ("0 0 3 L * *", "field 'day of month'"),
        ("0 0 3 1 13 *", "field 'month'"),
        ("0 0 3 1 JANUARY *", "field 'month'"),
        ("0 0 3 * * 7", "field 'day of week'; give 0 to 6"),
        ("0 0 3 * * FRI-MON", "field 'day of week'"),
        ("0 0 10-3 * * *", "field 'hour'"),
        ("0 */0 3 * * *", "field 'minute'"),
        ("0 0 *-3 * * *", "field 'hour'"),
        ("0 0 1,,3 * * *", "field 'hour'"),
        ("0 0 ³ * * *", "field 'hour'"),
        ("* 0 3 * * *", "several runs a minute"),
        ("0 0 3 30 2 *", "the day 30 never comes"),
        ("0 0 3 31 4,6,9,11 ?", "the day 31 never comes"),
    ],
)
def test_what_is_refused_in_one_sentence(expression, reason):
    with pytest.raises(InputError, match=reason) as refusal:
        check_cron(expression)
    assert "\n" not in str(refusal.value)
    assert str(refusal.value).startswith(f"--cron '{expression}'")
