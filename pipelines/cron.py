"""The six-field cron expressions of Kubeflow's recurring runs: second, minute, hour, day of month, month, day of week (UTC).

Kubeflow reads five fields as well, but takes the first for seconds: `0 3 * * *` would run at three minutes past every hour.
What this grammar has no room for (`L`, `W`, `#`, `@daily`) Kubeflow's scheduler (robfig/cron v1) refuses or reads otherwise.
"""

import re

from elec.errors import InputError

_FIELDS = (
    ("second", 0, 59),
    ("minute", 0, 59),
    ("hour", 0, 23),
    ("day of month", 1, 31),
    ("month", 1, 12),
    ("day of week", 0, 6),
)
_MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
_DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_NAMES = {
    "month": {name: number for number, name in enumerate(_MONTHS, start=1)},
    "day of week": {name: number for number, name in enumerate(_DAYS)},
}
_LONGEST_MONTH = {2: 29, 4: 30, 6: 30, 9: 30, 11: 30}
_PART = re.compile(r"(?P<first>\*|\?|\w+)(-(?P<last>\w+))?(/(?P<step>\d+))?")


def check_cron(expression: str) -> str:
    """Checks a cron expression.

    Args:
        expression: Six fields, seconds first; `0 0 3 * * *` is 03:00 UTC every day.

    Returns:
        The expression, its fields separated by single spaces.

    Raises:
        InputError: If it has another number of fields, a value out of range, a day that never comes, or would start more than
            one run a minute.
    """
    fields = expression.split()
    if len(fields) == 5:
        raise InputError(
            f"--cron '{expression}': five fields; Kubeflow's first one is the second, so write '0 {' '.join(fields)}' (UTC)"
        )
    if len(fields) != 6:
        raise InputError(
            f"--cron '{expression}': {len(fields)} fields instead of six (second minute hour day month weekday, UTC), "
            "such as '0 0 3 * * *' for 03:00 every day"
        )
    values = [_values(expression, text, name, low, high) for text, (name, low, high) in zip(fields, _FIELDS, strict=True)]
    if len(values[0]) > 1:
        raise InputError(
            f"--cron '{expression}': the field 'second' is '{fields[0]}', several runs a minute; give one second, such as 0"
        )
    days, months = values[3], values[4]
    # A weekday that is given comes whatever the day of the month: cron joins the two by `or`.
    if fields[5] in {"*", "?"} and all(min(days) > _LONGEST_MONTH.get(month, 31) for month in months):
        raise InputError(f"--cron '{expression}': the day {min(days)} never comes in these months; give another day or month")
    return " ".join(fields)


def _values(expression: str, text: str, name: str, low: int, high: int) -> set[int]:
    """The numbers that a field stands for."""
    values: set[int] = set()
    for part in text.split(","):
        match = _PART.fullmatch(part)
        if match is None:
            raise _refusal(expression, text, name, low, high)
        step = int(match["step"] or 1)
        if match["first"] in {"*", "?"}:
            first, last = low, high
            if match["last"]:
                raise _refusal(expression, text, name, low, high)
        else:
            first = _number(match["first"], name)
            # `5/15` counts on from 5 to the end, as in `5-59/15`.
            last = _number(match["last"], name) if match["last"] else high if match["step"] else first
        if not (low <= first <= last <= high) or step < 1:
            raise _refusal(expression, text, name, low, high)
        values.update(range(first, last + 1, step))
    return values


def _number(text: str, name: str) -> int:
    """A number or a name of a field's; -1 for neither, which is out of every range."""
    if text.isascii() and text.isdigit():
        return int(text)
    return _NAMES.get(name, {}).get(text.upper(), -1)


def _refusal(expression: str, text: str, name: str, low: int, high: int) -> InputError:
    return InputError(
        f"--cron '{expression}': '{text}' is no value for the field '{name}'; give {low} to {high}, '*', a list such as "
        f"'{low},{high}', a range or a step such as '*/2'"
    )
