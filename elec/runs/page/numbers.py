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


def compact(value: float) -> str:
    """A number in few characters: 1,250 is 1.25k."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if size <= abs(value) < 1e15:
            return f"{value / size:.4g}{letter}"
    return f"{value:.4g}".replace("e+", "e")


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
