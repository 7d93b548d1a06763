"""The promotion gate: whether the challenger takes the champion's place, and why."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from elec.evaluation.bootstrap import Difference, Interval
from elec.evaluation.metrics import Metrics
from elec.spec.run import GateSpec


class GateDecision(BaseModel):
    """What happens to the challenger.

    Attributes:
        verdict: `promote`: it takes the champion's place; `keep`: no measurable difference, the champion stays; `reject`:
            it is worse, uncalibrated or too slow.
        reasons: Sentences with figures, those that decided first.
    """

    model_config = ConfigDict(frozen=True)

    verdict: Literal["promote", "keep", "reject"]
    reasons: list[str]


def decide(
    challenger: Metrics, champion: Metrics | None, difference: Difference | None, latency_ms: float, settings: GateSpec
) -> GateDecision:
    """Decides by rule.

    Any challenger has to be calibrated and fast enough. Without a champion it also has to reach `min_auc`. With one, it is
    promoted if the interval of the LogLoss improvement lies above 0, or if that interval holds 0 and the interval of the
    AUC improvement lies above 0.

    Args:
        challenger: Measured on the test window.
        champion: Measured on the same rows; None before the first promotion.
        difference: Paired, on the same rows; given exactly when there is a champion.
        latency_ms: The challenger's, for the number of candidates that `settings.max_latency_ms` speaks of.
        settings: The thresholds.
    """
    if (champion is None) != (difference is None):
        raise ValueError("a champion and the difference from it go together")
    faults = _faults(challenger, latency_ms, settings, first=champion is None)
    fit = _fit(challenger, latency_ms, settings)
    if champion is None or difference is None:
        if faults:
            return GateDecision(verdict="reject", reasons=faults)
        first = f"There is no champion, and the challenger's AUC of {challenger.auc:.4f} is at least {settings.min_auc:g}."
        return GateDecision(verdict="promote", reasons=[first, *fit])
    verdict, reason = _compare(challenger, champion, difference)
    if faults:
        return GateDecision(verdict="reject", reasons=[*faults, reason])
    return GateDecision(verdict=verdict, reasons=[reason, *fit])


def _faults(challenger: Metrics, latency_ms: float, settings: GateSpec, *, first: bool) -> list[str]:
    low, high = settings.pcoc
    faults = []
    if first and not challenger.auc >= settings.min_auc:
        faults.append(
            f"The challenger's AUC of {challenger.auc:.4f} is below {settings.min_auc:g}, which a first model has to reach."
        )
    if not low <= challenger.pcoc <= high:
        faults.append(
            f"The challenger is not calibrated: it predicts {challenger.pcoc:.3f} times the observed clicks, "
            f"and {low:g} to {high:g} is allowed."
        )
    # Written so that a latency that is not a number fails.
    if not latency_ms <= settings.max_latency_ms:
        faults.append(
            f"The challenger is too slow: {latency_ms:.2f} ms, and at most {settings.max_latency_ms:g} ms are allowed."
        )
    return faults


def _fit(challenger: Metrics, latency_ms: float, settings: GateSpec) -> list[str]:
    low, high = settings.pcoc
    return [
        f"It predicts {challenger.pcoc:.3f} times the observed clicks, within {low:g} to {high:g}.",
        f"It takes {latency_ms:.2f} ms, and at most {settings.max_latency_ms:g} ms are allowed.",
    ]


def _compare(
    challenger: Metrics, champion: Metrics, difference: Difference
) -> tuple[Literal["promote", "keep", "reject"], str]:
    loss = f"LogLoss {challenger.logloss:.4f} against {champion.logloss:.4f}"
    area = f"AUC {challenger.auc:.4f} against {champion.auc:.4f}"
    loss_by = f"improvement {_shown(difference.logloss)}"
    area_by = f"improvement {_shown(difference.auc)}"
    at = f"at {difference.confidence:.0%} confidence over {difference.users:,} users"
    figures = f"{loss} ({loss_by}), {area} ({area_by})"
    if difference.logloss.above_zero:
        return "promote", f"The challenger's LogLoss is better {at}: {figures}."
    if difference.logloss.below_zero:
        return "reject", f"The challenger's LogLoss is worse {at}: {figures}."
    if difference.auc.above_zero:
        return "promote", f"The challenger's AUC is better and its LogLoss not measurably different {at}: {figures}."
    if difference.auc.below_zero:
        return "reject", f"The challenger's AUC is worse and its LogLoss not measurably different {at}: {figures}."
    return "keep", f"There is no measurable difference from the champion {at}: {figures}."


def _shown(interval: Interval) -> str:
    return f"{interval.estimate:+z.4f}, interval {interval.low:+z.4f} to {interval.high:+z.4f}"
