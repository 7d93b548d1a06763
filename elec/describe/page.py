"""The description as a page: what the figures become, in the order in which one reads them."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from elec.describe.pictures import number_panels, tail_charts, time_panels
from elec.describe.summary import Counted, DataSummary, FieldSummary, Numbers
from elec.describe.words import figure, holds, shown
from elec.ingest.report import SPLITS
from elec.runs.page.numbers import count, percent
from elec.runs.page.panels import Panels, interval
from elec.runs.page.render import render
from elec.spec import Entity, Kind

#: A page shows so many reasons for refusals; the command shows all.
_REASONS = 12
_UNITS = {Kind.TEXT: "words", Kind.MULTIVALUED: "values in a row"}


@dataclass(frozen=True)
class ValueRow:
    """A value of a field, or several together; places are in percent of a cell's width.

    Attributes:
        value: The value, or what the row stands for.
        whole: Whether it is one value and not several together.
        rows: Its rows.
        share: Of the field's rows.
        bar: The share beside the largest one; None for several values together.
        rate: Its click rate.
        at: The click rate, from `start` to `end` with 95% confidence.
        sure: Whether the interval leaves the data set's click rate out.
    """

    value: str
    whole: bool
    rows: int
    share: float
    bar: float | None
    rate: float | None
    at: float
    start: float
    end: float
    sure: bool


@dataclass(frozen=True)
class FieldView:
    """A field on the page."""

    summary: FieldSummary
    about: str
    holds: str
    present: float
    values: tuple[ValueRow, ...]
    overall: float
    figures: tuple[tuple[str, str], ...]
    panels: Panels | None


@dataclass(frozen=True)
class PartView:
    """Train, valid or test."""

    name: str
    rows: int
    rate: float
    first: str
    last: str
    new: tuple[tuple[float, str] | None, ...]


def data_page(summary: DataSummary) -> str:
    """Builds the page.

    Args:
        summary: Of the data set.

    Returns:
        One HTML document that needs nothing else.
    """
    report = summary.report
    clicks = sum(sum(part.clicks for part in span.parts) for span in summary.timeline.spans)
    total = Counted(rows=report.rows_kept, clicks=clicks)
    tails, concentration = tail_charts(summary.users, summary.items)
    return render(
        "data.html",
        summary=summary,
        report=report,
        account=report.model_dump(
            include={name for name in type(report).model_fields if name.startswith(("rows_", "dup", "neg"))}
        ),
        headline=_headline(summary, clicks / report.rows_kept),
        time=time_panels(summary.timeline),
        parts=[_part(summary, name) for name in SPLITS],
        sides=(("Users", summary.users), ("Items", summary.items)),
        tails=tails,
        concentration=concentration,
        fields=[_field(field, total) for field in summary.fields],
        refused=summary.refused[:_REASONS],
        refused_rows=sum(one.rows for one in summary.refused),
        more_reasons=max(0, len(summary.refused) - _REASONS),
    )


def _headline(summary: DataSummary, rate: float) -> str:
    report = summary.report
    days = (max(report.last_event.values()) - min(report.first_event.values())).total_seconds() / 86_400
    over = f"{days:,.0f} days" if days >= 2 else f"{days * 24:,.1f} hours"
    return (
        f"{count(report.rows_kept)} impressions of {count(report.items)} items by {count(report.users)} users "
        f"over {over}; {percent(rate)} are clicks."
    )


def _part(summary: DataSummary, name: str) -> PartView:
    report = summary.report
    found = summary.unseen.get(name, {})
    new = tuple(
        (one.new_rows / one.rows, f"{count(one.new_keys)} of {count(one.keys)} {side}s")
        if one is not None and one.rows
        else None
        for side in (Entity.USER, Entity.ITEM)
        for one in [found.get(side)]
    )
    first, last = (_moment(moments[name]) for moments in (report.first_event, report.last_event))
    return PartView(name, report.split_rows[name], report.label_rate[name], first, last, new)


def _field(field: FieldSummary, total: Counted) -> FieldView:
    whose = {Entity.USER: "the user", Entity.ITEM: "the item", Entity.CONTEXT: "the context"}.get(field.of, str(field.of))
    kind = f"the key of {whose}" if field.key else f"{field.kind}, of {whose}"
    if field.made_of:
        parts = f"{', '.join(field.made_of[:-1])} and {field.made_of[-1]}" if len(field.made_of) > 1 else field.made_of[0]
        kind = f"counted by {parts}" if field.kind is Kind.NUMERIC else f"crossed, of {parts}"
    figures = _figures(field.numbers) if field.kind is Kind.NUMERIC and field.numbers is not None else ()
    values, at = _values(field, total)
    unit = "combinations in a row" if field.made_of and values else _UNITS.get(field.kind, field.name)
    return FieldView(
        summary=field,
        about=kind,
        holds=holds(field),
        present=100 * (1 - field.missing.rows / field.rows),
        values=values,
        overall=at,
        figures=figures,
        panels=number_panels(field.numbers, unit) if field.numbers is not None else None,
    )


def _figures(numbers: Numbers) -> tuple[tuple[str, str], ...]:
    shown = {
        "Least": numbers.least,
        "1st percentile": numbers.p1,
        "Lower quartile": numbers.p25,
        "Median": numbers.median,
        "Mean": numbers.mean,
        "Upper quartile": numbers.p75,
        "99th percentile": numbers.p99,
        "Most": numbers.most,
    }
    return tuple((name, figure(value)) for name, value in shown.items())


def _values(field: FieldSummary, total: Counted) -> tuple[tuple[ValueRow, ...], float]:
    """The rows of the table of values, and where the data set's click rate is in their pictures."""
    overall = total.clicks / total.rows
    lines: list[tuple[str, bool, Counted]] = [(one.value, True, one) for one in field.top]
    if not lines:
        return (), 0.0
    if field.kind is not Kind.MULTIVALUED and field.distinct > len(field.top):
        lines.append((f"{count(field.distinct - len(field.top))} others", False, _others(field, total)))
    if field.missing.rows:
        lines.append(("missing", False, field.missing))
    most = max(one.rows for one in field.top)
    intervals = [interval(one.clicks, one.rows) for _, _, one in lines]
    # Rare values, of which little is known, do not stretch the axis.
    scale = max([high for (_, high), (_, _, one) in zip(intervals, lines, strict=True) if one.rows >= 50] + [1.2 * overall])
    rows = [
        _value(*line, ends, field.rows, most, min(1.0, scale), overall) for line, ends in zip(lines, intervals, strict=True)
    ]
    return tuple(rows), _place(overall, min(1.0, scale))


def _others(field: FieldSummary, total: Counted) -> Counted:
    """What is left beside the most frequent values."""
    shown = (*field.top, field.missing)
    return Counted(rows=total.rows - sum(one.rows for one in shown), clicks=total.clicks - sum(one.clicks for one in shown))


def _value(
    text: str, whole: bool, one: Counted, ends: Sequence[float], rows: int, most: int, scale: float, overall: float
) -> ValueRow:
    low, high = ends
    rate = one.clicks / one.rows if one.rows else None
    return ValueRow(
        value=shown(text),
        whole=whole,
        rows=one.rows,
        share=one.rows / rows,
        bar=round(100 * one.rows / most, 2) if whole else None,
        rate=rate,
        at=_place(rate or 0.0, scale),
        start=_place(low, scale),
        end=_place(high, scale),
        sure=low > overall or high < overall,
    )


def _place(rate: float, scale: float) -> float:
    return round(100 * min(rate, scale) / scale, 2)


def _moment(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"
