"""Evaluation of predictions: metrics, how sure their differences are, and the promotion gate. Torch is not needed."""

from elec.evaluation.bootstrap import Difference, Interval, difference
from elec.evaluation.choice import Candidate, Choice, choose
from elec.evaluation.curves import reliability_curve, roc_curve
from elec.evaluation.gate import GateDecision, decide
from elec.evaluation.metrics import Metrics, auc, evaluate, gauc, logloss, pcoc

__all__ = [
    "Candidate",
    "Choice",
    "Difference",
    "GateDecision",
    "Interval",
    "Metrics",
    "auc",
    "choose",
    "decide",
    "difference",
    "evaluate",
    "gauc",
    "logloss",
    "pcoc",
    "reliability_curve",
    "roc_curve",
]
