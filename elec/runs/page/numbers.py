"""How figures are written on the page: always the same digits, a dash for what is not known."""

import math

#: What stands for an unknown figure.
UNKNOWN = "–"  # noqa: RUF001 - a dash as wide as a digit


def fixed(value: float | None, digits: int = 4) -> str:
    """A figure with fixed decimals."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value:.{digits}f}"


def signed(value: float | None, digits: int = 4) -> str:
    """A difference, with its sign (a true minus)."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value:+z.{digits}f}".replace("-", "\N{MINUS SIGN}")


def count(value: float | None) -> str:
    """A whole number with thousands."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value:,.0f}"


def percent(value: float | None, digits: int = 1) -> str:
    """A share."""
    return UNKNOWN if value is None or not math.isfinite(value) else f"{value:.{digits}%}"


def seconds(value: float | None) -> str:
    """A duration in the units that fit it."""
    if value is None or not math.isfinite(value):
        return UNKNOWN
    if value < 9.95:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
