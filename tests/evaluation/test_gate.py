"""The gate's rule, case by case."""

import pytest

from elec.evaluation import Difference, Interval, Metrics, decide
from elec.spec.run import GateSpec

GATE = GateSpec(min_auc=0.6, pcoc=(0.8, 1.25), max_latency_ms=10)
BETTER, OPEN, WORSE = (0.001, 0.003), (-0.001, 0.001), (-0.003, -0.001)


def metrics(auc: float = 0.7, pcoc: float = 1.0, logloss: float = 0.6) -> Metrics:
    return Metrics(auc=auc, gauc=None, logloss=logloss, pcoc=pcoc, rows=100, users=10)


def interval(bounds: tuple[float, float]) -> Interval:
    return Interval(estimate=sum(bounds) / 2, low=bounds[0], high=bounds[1])


def gap(logloss: tuple[float, float], auc: tuple[float, float]) -> Difference:
    return Difference(auc=interval(auc), logloss=interval(logloss), confidence=0.95, resamples=1000, users=943)


def test_a_first_model_is_promoted_when_it_is_good_enough() -> None:
    found = decide(metrics(), None, None, 1.5, GATE)
    assert found.verdict == "promote"
    assert "AUC of 0.7000 is at least 0.6" in found.reasons[0]
    assert any("1.000 times the observed clicks" in reason for reason in found.reasons)
    assert any("1.50 ms" in reason for reason in found.reasons)


@pytest.mark.parametrize(
    ("challenger", "latency", "figures"),
    [
        (metrics(pcoc=0.79), 1.0, ["0.790", "0.8 to 1.25"]),
        (metrics(pcoc=1.26), 1.0, ["1.260"]),
        (metrics(pcoc=float("nan")), 1.0, ["nan"]),
        (metrics(), 10.1, ["10.10 ms", "10 ms"]),
        (metrics(), float("nan"), ["nan ms"]),
    ],
)
@pytest.mark.parametrize("rival", [False, True])
def test_whatever_is_unfit_is_rejected(challenger: Metrics, latency: float, figures: list[str], rival: bool) -> None:
    champion, difference = (metrics(), gap(BETTER, BETTER)) if rival else (None, None)
    found = decide(challenger, champion, difference, latency, GATE)
    assert found.verdict == "reject"
    for figure in figures:
        assert figure in found.reasons[0]


@pytest.mark.parametrize(("auc", "figure"), [(0.59, "0.5900"), (float("nan"), "nan")])
def test_a_weak_first_model_is_rejected_and_later_ones_are_compared(auc: float, figure: str) -> None:
    found = decide(metrics(auc=auc), None, None, 1.0, GATE)
    assert found.verdict == "reject"
    assert figure in found.reasons[0]
    assert "0.6, which a first model has to reach" in found.reasons[0]
    assert decide(metrics(auc=auc), metrics(auc=0.5), gap(BETTER, BETTER), 1.0, GATE).verdict == "promote"


def test_the_limits_themselves_are_allowed() -> None:
    assert decide(metrics(auc=0.6, pcoc=1.25), None, None, 10.0, GATE).verdict == "promote"


def test_every_fault_is_said() -> None:
    found = decide(metrics(auc=0.5, pcoc=2.0), None, None, 99.0, GATE)
    assert len(found.reasons) == 3


@pytest.mark.parametrize(
    ("logloss", "auc", "verdict"),
    [
        (BETTER, BETTER, "promote"),
        (BETTER, OPEN, "promote"),
        (BETTER, WORSE, "promote"),
        (OPEN, BETTER, "promote"),
        (OPEN, OPEN, "keep"),
        (OPEN, WORSE, "reject"),
        (WORSE, BETTER, "reject"),
        (WORSE, OPEN, "reject"),
        (WORSE, WORSE, "reject"),
        ((0.0, 0.0), (0.0, 0.0), "keep"),
        ((0.0, 0.01), OPEN, "keep"),
    ],
)
def test_logloss_decides_and_auc_decides_when_logloss_does_not(
    logloss: tuple[float, float], auc: tuple[float, float], verdict: str
) -> None:
    found = decide(metrics(), metrics(auc=0.69, logloss=0.61), gap(logloss, auc), 1.0, GATE)
    assert found.verdict == verdict
    figures = found.reasons[0]
    assert "95% confidence over 943 users" in figures
    assert "LogLoss 0.6000 against 0.6100" in figures
    assert "AUC 0.7000 against 0.6900" in figures
    assert f"{logloss[0]:+.4f} to {logloss[1]:+.4f}" in figures
    assert all(reason.endswith(".") for reason in found.reasons)


def test_a_champion_without_a_difference_is_a_mistake() -> None:
    with pytest.raises(ValueError, match="go together"):
        decide(metrics(), metrics(), None, 1.0, GATE)
