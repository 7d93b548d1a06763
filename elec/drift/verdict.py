"""The drift check's own rule: is the current window like the one that the champion was trained on?

`block` is for broken data: another schema, a label rate or a volume beyond belief, a field whose values have become others.
`retrain` and `warn` are for a world that moves. That new users and items arrive is normal: a key's PSI only counts when it
is gross, and many unknown keys ask for retraining.
"""

from collections.abc import Iterator, Mapping
from typing import Literal

from pydantic import BaseModel, ConfigDict

from elec.drift.histograms import FieldProfile, Profile
from elec.drift.psi import chance, psi
from elec.spec.run import DriftSpec

Severity = Literal["ok", "warn", "retrain", "block"]
Verdict = Literal["ok", "warn", "retrain", "block", "first"]

_ORDER: tuple[Severity, ...] = ("ok", "warn", "retrain", "block")
_WAY_OUT = "--force trains nevertheless"


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True)


class Change(_Result):
    """A figure of the two windows."""

    current: float
    reference: float


class FieldDrift(_Result):
    """How one field has moved.

    Attributes:
        kind: The field's kind; `key` for the user's and the item's key.
        psi: Population stability index, missing values being a bin of their own; None if it cannot be compared.
        chance: What psi reaches in windows of this size although nothing has changed.
        missing_change: Current minus reference share of missing values.
        known: Of a key: the share of rows whose key the reference knows.
        verdict: What this field alone asks for.
    """

    kind: str
    psi: float | None
    chance: float = 0.0
    missing_change: float = 0.0
    known: float | None = None
    verdict: Severity = "ok"


class DriftVerdict(_Result):
    """The verdict and what it rests on.

    Attributes:
        verdict: The worst of all reasons; `first` if there is no reference.
        reasons: Sentences with figures, the worst first.
        fields: By name, in the spec's order.
        label_rate: Share of clicks.
        label_psi: Population stability index of the label.
        rows: Rows.
        rows_a_day: Rows a day, if both windows have a length.
        limits: The PSI that warns, asks for retraining, and blocks.
    """

    verdict: Verdict
    reasons: list[str]
    fields: dict[str, FieldDrift] = {}
    label_rate: Change | None = None
    label_psi: float | None = None
    rows: Change | None = None
    rows_a_day: Change | None = None
    limits: dict[str, float] = {}


def check(current: Profile, reference: Profile | None, settings: DriftSpec, *, predictions: bool = False) -> DriftVerdict:
    """Compares the current window with the reference.

    Args:
        current: Made by `profile(..., reference=reference)`.
        reference: Of the champion; None before there is one.
        settings: The limits.
        predictions: The current window is of predictions: it has scores and no labels, and its volume says nothing, for it is
            a sample of candidates.

    Raises:
        ValueError: If `current` was profiled against another reference.
    """
    if reference is None:
        return DriftVerdict(
            verdict="first", reasons=["There is no champion yet, so there is no earlier window to compare with."]
        )
    if current.against != reference.fingerprint:
        raise ValueError("the current profile was not made against this reference; pass it to profile(..., reference=...)")
    fields = {name: _field(field, reference.fields.get(name), settings) for name, field in current.fields.items()}
    found = [
        *_schema(current, reference),
        *(_scores(current, reference, settings) if predictions else _label(current, reference, settings)),
        *(() if predictions else _volume(current, reference, settings)),
        *_sentences(fields, current, reference, settings),
    ]
    found.sort(key=lambda reason: _ORDER.index(reason[0]), reverse=True)
    verdict = found[0][0] if found else "ok"
    days = current.rows_a_day, reference.rows_a_day
    return DriftVerdict(
        verdict=verdict,
        limits=_limits(settings),
        reasons=[sentence for _, sentence in found] or [_all_well(fields, current, reference, predictions=predictions)],
        fields=fields,
        label_rate=None if predictions else Change(current=current.label_rate, reference=reference.label_rate),
        label_psi=None if predictions else psi(_clicks(current), _clicks(reference)),
        rows=Change(current=current.rows, reference=reference.rows),
        rows_a_day=Change(current=days[0], reference=days[1]) if days[0] is not None and days[1] is not None else None,
    )


def _field(current: FieldProfile, reference: FieldProfile | None, settings: DriftSpec) -> FieldDrift:
    if reference is None or current.in_reference is None:
        return FieldDrift(kind=current.kind, psi=None, verdict="block")
    index, noise = psi(current.in_reference, reference.counts), chance(current.in_reference, reference.counts)
    verdict: Severity = "ok"
    if index > settings.block_psi:
        verdict = "block"
    elif current.kind == "key":
        if current.known is not None and 1 - current.known > settings.retrain_new_keys:
            verdict = "retrain"
    elif index > max(settings.retrain_psi, noise):
        verdict = "retrain"
    elif index > max(settings.warn_psi, noise):
        verdict = "warn"
    return FieldDrift(
        kind=current.kind,
        psi=index,
        chance=noise,
        missing_change=current.missing - reference.missing,
        known=current.known,
        verdict=verdict,
    )


def _schema(current: Profile, reference: Profile) -> Iterator[tuple[Severity, str]]:
    for name, field in reference.fields.items():
        now = current.fields.get(name)
        if now is None:
            yield (
                "block",
                f"Field '{name}' ({field.kind}) of the champion's schema is gone; restore it in the spec, or {_WAY_OUT}.",
            )
        elif (now.kind, now.of) != (field.kind, field.of):
            yield (
                "block",
                f"Field '{name}' was {_described(field)} when the champion was trained and is {_described(now)} now; "
                f"check the spec, or {_WAY_OUT}.",
            )
    for name, field in current.fields.items():
        if name not in reference.fields:
            yield "block", f"Field '{name}' ({field.kind}) is new to the champion's schema; if that is on purpose, {_WAY_OUT}."


def _label(current: Profile, reference: Profile, settings: DriftSpec) -> Iterator[tuple[Severity, str]]:
    change = current.label_rate / reference.label_rate - 1 if reference.label_rate else float(current.label_rate > 0)
    moved = f"The label rate went from {reference.label_rate:.4f} to {current.label_rate:.4f} ({change:+.1%})"
    index, noise = psi(_clicks(current), _clicks(reference)), chance(_clicks(current), _clicks(reference))
    if abs(change) > settings.max_label_change:
        yield "block", f"{moved}; a change of more than {settings.max_label_change:.0%} is taken for broken labels."
    elif index > max(settings.retrain_psi, noise):
        yield "retrain", f"{moved}, PSI {index:.3f}, above {settings.retrain_psi:g}."
    elif index > max(settings.warn_psi, noise):
        yield "warn", f"{moved}, PSI {index:.3f}, above {settings.warn_psi:g}."


def _scores(current: Profile, reference: Profile, settings: DriftSpec) -> Iterator[tuple[Severity, str]]:
    change = current.label_rate / reference.label_rate - 1 if reference.label_rate else float(current.label_rate > 0)
    if abs(change) > settings.max_label_change:
        yield (
            "warn",
            f"The mean score is {current.label_rate:.4f}, and the label rate was {reference.label_rate:.4f} when the champion "
            f"was trained ({change:+.1%}); candidates are not impressions, but look at the calibration.",
        )


def _volume(current: Profile, reference: Profile, settings: DriftSpec) -> Iterator[tuple[Severity, str]]:
    now, before, unit = current.rows_a_day, reference.rows_a_day, "rows a day"
    if now is None or before is None:
        # Without times, the number of rows has to do.
        now, before, unit = float(current.rows), float(reference.rows), "rows"
    factor = max(now / before, before / now)
    if factor > settings.max_volume_change:
        yield (
            "block",
            f"The volume went from {before:,.0f} to {now:,.0f} {unit}, a factor of {factor:.1f}; "
            f"more than {settings.max_volume_change:g} is taken for a broken log.",
        )


def _sentences(
    fields: Mapping[str, FieldDrift], current: Profile, reference: Profile, settings: DriftSpec
) -> Iterator[tuple[Severity, str]]:
    limits = _limits(settings)
    for name, field in sorted(fields.items(), key=lambda item: -(item[1].psi or 0.0)):
        if field.psi is None or field.verdict == "ok":
            continue
        missing = ""
        if abs(field.missing_change) >= 0.01:
            missing = f"; missing values went from {reference.fields[name].missing:.1%} to {current.fields[name].missing:.1%}"
        if field.kind == "key" and field.verdict == "retrain":
            yield (
                "retrain",
                f"{1 - (field.known or 0.0):.1%} of the rows have a '{name}' that the champion has never seen, "
                f"above {settings.retrain_new_keys:.0%}.",
            )
        elif field.verdict == "block":
            yield (
                "block",
                f"Field '{name}' has become another: PSI {field.psi:.2f}, above {limits['block']:g}{missing}; "
                f"check where it comes from, or {_WAY_OUT}.",
            )
        else:
            yield field.verdict, f"Field '{name}' has drifted: PSI {field.psi:.3f}, above {limits[field.verdict]:g}{missing}."


def _limits(settings: DriftSpec) -> dict[str, float]:
    return {"warn": settings.warn_psi, "retrain": settings.retrain_psi, "block": settings.block_psi}


def _all_well(fields: Mapping[str, FieldDrift], current: Profile, reference: Profile, *, predictions: bool) -> str:
    compared = {name: field.psi or 0.0 for name, field in fields.items() if field.kind != "key"}
    rate = f"the label rate is {current.label_rate:.4f} (it was {reference.label_rate:.4f})"
    if predictions:
        rate = f"the mean score is {current.label_rate:.4f} (the label rate was {reference.label_rate:.4f})"
    if not compared:
        return f"Nothing has drifted: {rate}."
    most = max(compared, key=lambda name: compared[name])
    return f"Nothing has drifted: the largest PSI is {compared[most]:.3f} ('{most}') and {rate}."


def _clicks(profile: Profile) -> tuple[int, int]:
    clicks = round(profile.label_rate * profile.rows)
    return clicks, profile.rows - clicks


def _described(field: FieldProfile) -> str:
    return f"{field.kind} of the {field.of}"
