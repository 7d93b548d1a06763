"""What a field holds, in a few words: for the command's table and the page's overview."""

from elec.describe.summary import FieldSummary, Numbers
from elec.runs.page.numbers import compact, percent
from elec.spec import Kind

_MOST, _LONGEST = 3, 24
_UNITS = {Kind.TEXT: " words", Kind.MULTIVALUED: " values"}


def holds(field: FieldSummary) -> str:
    """The most frequent values with their share of rows, and the range of the numbers."""
    parts = []
    if field.top:
        shares = ((_short(one.value), one.rows / field.rows) for one in field.top[:_MOST])
        parts.append(", ".join(f"{value} {percent(share)}" for value, share in shares))
    if field.numbers is not None:
        parts.append(_range(field.numbers, " combinations" if field.made_of and field.top else _UNITS.get(field.kind, "")))
    return "; ".join(parts)


def figure(value: float) -> str:
    """A number of a field, in as many digits as tell something."""
    if value == round(value) and abs(value) < 1e7:
        return f"{value:,.0f}"
    return f"{value:,.4g}" if abs(value) < 1e4 else compact(value)


def shown(value: str) -> str:
    """A value as it is shown: blanks alone would not be."""
    return value if value.strip() else repr(value)


def _range(numbers: Numbers, unit: str) -> str:
    return f"{figure(numbers.least)} to {figure(numbers.most)}{unit}, median {figure(numbers.median)}"


def _short(value: str) -> str:
    value = shown(value)
    return value if len(value) <= _LONGEST else f"{value[: _LONGEST - 1]}…"
