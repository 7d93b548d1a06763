"""Which of a run's students becomes the challenger: the best one on the validation rows that is fast enough."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from pydantic import BaseModel, ConfigDict

from elec.spec.run import GateSpec


class Candidate(NamedTuple):
    """A student: its AUC on the validation rows, and what a request costs."""

    name: str
    valid_auc: float
    latency_ms: float


class Choice(BaseModel):
    """The challenger among the students.

    Attributes:
        chosen: Its name.
        why: Of each student, why it is the challenger or why not.
        reason: The choice in one sentence.
    """

    model_config = ConfigDict(frozen=True)

    chosen: str
    why: dict[str, str]
    reason: str


def choose(candidates: Sequence[Candidate], settings: GateSpec) -> Choice:
    """Chooses by rule, on validation rows only: the test rows are for the report and the gate.

    The best AUC among those that meet `max_latency_ms` wins; of equals the one that the spec names first. If none meets it the
    fastest is taken, and the gate says what it thinks of that.

    Args:
        candidates: In the spec's order, one at least.
        settings: The gate's thresholds.
    """
    budget = settings.max_latency_ms
    # Written so that a latency that is not a number is too slow.
    fast = [candidate for candidate in candidates if candidate.latency_ms <= budget]
    best = max(fast, key=_auc) if fast else min(candidates, key=lambda candidate: candidate.latency_ms)
    why = {}
    for candidate in candidates:
        if candidate is best:
            why[candidate.name] = "challenger" if fast else "challenger: none is fast enough, and it is the fastest"
        elif candidate not in fast:
            why[candidate.name] = f"too slow: {candidate.latency_ms:.2f} ms, at most {budget:g} ms"
        else:
            why[candidate.name] = f"validation AUC not above that of {best.name}"
    among = f"Of {len(candidates)} students" if len(candidates) > 1 else "Of one student"
    reason = (
        f"{among} {best.name} has the best validation AUC, {best.valid_auc:.4f}, within {budget:g} ms."
        if fast
        else f"{among} none answers within {budget:g} ms; {best.name} is the fastest with {best.latency_ms:.2f} ms."
    )
    return Choice(chosen=best.name, why=why, reason=reason)


def _auc(candidate: Candidate) -> float:
    return -1.0 if math.isnan(candidate.valid_auc) else candidate.valid_auc
