"""Evaluation of predictions: metrics, how sure their differences are, and the promotion gate. Torch is not needed."""

from elec.evaluation.bootstrap import Difference, Interval, difference
from elec.evaluation.curves import reliability_curve, roc_curve
from elec.evaluation.gate import GateDecision, decide
from elec.evaluation.metrics import Metrics, auc, evaluate, gauc, logloss, pcoc

__all__ = [
    "Difference",
    "GateDecision",
    "Interval",
    "Metrics",
    "auc",
    "decide",
    "difference",
    "evaluate",
    "gauc",
    "logloss",
    "pcoc",
    "reliability_curve",
    "roc_curve",
]
