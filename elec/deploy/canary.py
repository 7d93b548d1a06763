"""The canary: the challenger answers a share of the traffic, is watched, and is promoted or rolled back by what is seen.

    watching --(time is up, and all is well)--> promoted
             --(it errs, is slow, scores otherwise, dies, or was hardly asked)--> rolled_back

The decision is a pure function of figures and time. Two backends feed it and do what it says: servers on this machine behind
a router (`local_canary`), and an InferenceService on a cluster (`cluster_canary`).
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from pydantic import BaseModel, ConfigDict

from elec.deploy.figures import Figures, score_drift
from elec.errors import BlockedError
from elec.progress import Progress
from elec.spec.serving import CanarySpec

State = Literal["watching", "promoted", "rolled_back"]
Traffic = Literal["live", "replayed"]

_TAIL = 0.99
#: Standard errors within which a tail may lie: before time is up only what is beyond doubt ends a canary.
_BEYOND_DOUBT, _LIKELY = 3.0, 1.645
#: So many errors are no accident of a single request, when there are few requests yet.
_ERRORS_THAT_COUNT = 5


class VersionFigures(BaseModel):
    """What a version did during the canary.

    Attributes:
        bundle_id: The version.
        requests: Requests for scores that it was given.
        errors: Those that it failed on.
        refused: Those that it refused as wrong.
        p50_ms: Median latency; None without an answer.
        p99_ms: 99th percentile of it.
        scores: Scores in its answers.
    """

    model_config = ConfigDict(frozen=True)

    bundle_id: str
    requests: int
    errors: int
    refused: int
    p50_ms: float | None
    p99_ms: float | None
    scores: int


class CanaryReport(BaseModel):
    """How a canary ended, and why.

    Attributes:
        state: `promoted` or `rolled_back`.
        reasons: Sentences.
        share: Of the traffic that the challenger was given, in percent.
        traffic: `live`: of real clients; `replayed`: golden records, on a machine that no client asks.
        seconds: How long it was watched.
        champion: Its figures.
        challenger: Its figures.
        score_psi: Population stability index between the scores of the two; None if there was nothing to compare.
    """

    model_config = ConfigDict(frozen=True)

    state: State
    reasons: tuple[str, ...]
    share: int
    traffic: Traffic
    seconds: float
    champion: VersionFigures
    challenger: VersionFigures
    score_psi: float | None


class CanaryRolledBackError(BlockedError):
    """The challenger was rolled back; the champion goes on serving.

    Args:
        report: Why.
    """

    def __init__(self, report: CanaryReport) -> None:
        super().__init__(f"canary: {report.challenger.bundle_id} {report.reasons[0]}; the champion stays")
        self.report = report


@dataclass(frozen=True)
class Decision:
    """Where a canary stands.

    Attributes:
        state: Where.
        reasons: What speaks against the challenger, or why it was promoted.
    """

    state: State
    reasons: tuple[str, ...] = ()


class Backend(Protocol):
    """Where a canary happens."""

    def figures(self) -> tuple[Figures, Figures]:
        """The champion's and the challenger's figures since the canary began."""

    def promote(self) -> None:
        """Gives the challenger all of the traffic."""

    def roll_back(self) -> None:
        """Gives the champion all of the traffic."""


def decide(settings: CanarySpec, champion: Figures, challenger: Figures, seconds: float) -> Decision:
    """Where a canary stands.

    Args:
        settings: What is allowed.
        champion: Its figures since the canary began.
        challenger: Its figures since then.
        seconds: Since then.
    """
    over = seconds >= settings.seconds
    if not challenger.alive:
        return Decision("rolled_back", ("ended or was restarted while it was watched",))
    enough = challenger.requests >= settings.requests
    if over and enough and not (champion.alive and champion.requests):
        return Decision("rolled_back", ("could not be compared, for the champion did not answer while it was watched",))
    found = _errors(settings, champion, challenger, certain=not over)
    if enough:
        found += _latency(settings, champion, challenger, _LIKELY if over else _BEYOND_DOUBT)
        found += _scores(settings, champion, challenger, certain=not over)
    elif over:
        found.append(
            f"was asked {challenger.requests:,} times in {settings.seconds:g} seconds, "
            f"and {settings.requests:,} are needed to judge it"
        )
    if found:
        return Decision("rolled_back", tuple(found))
    if not over:
        return Decision("watching")
    return Decision("promoted", ("errs no more than allowed, is as fast as the champion, and scores as it does",))


def _errors(settings: CanarySpec, champion: Figures, challenger: Figures, *, certain: bool) -> list[str]:
    # What the champion refuses, too, is the clients' mistake and not the challenger's.
    allowed = settings.max_error_rate
    found = []
    if challenger.error_rate > allowed and (not certain or challenger.errors >= _ERRORS_THAT_COUNT):
        found.append(f"failed on {challenger.error_rate:.2%} of its requests (at most {allowed:.2%})")
    more = challenger.refused_rate - champion.refused_rate
    if more > allowed and (not certain or (challenger.refused >= _ERRORS_THAT_COUNT and champion.requests)):
        found.append(
            f"refused {challenger.refused_rate:.2%} of its requests, and the champion {champion.refused_rate:.2%} "
            f"(at most {allowed:.2%} more)"
        )
    return found


def _latency(settings: CanarySpec, champion: Figures, challenger: Figures, errors: float) -> list[str]:
    """The tail of few requests is noisy: what is compared is the lowest that the challenger's is likely to be.

    The number of values below a quantile is binomial, so its standard error in rank is sqrt(q (1 - q) / n).
    """
    n = challenger.latency.total
    if not n or not champion.latency.total:
        return []
    lowest = challenger.latency.quantile(_TAIL - errors * math.sqrt(_TAIL * (1 - _TAIL) / n))
    allowed = settings.max_latency_ratio * champion.latency.quantile(_TAIL)
    if lowest <= allowed:
        return []
    slow, fast = (figures.latency.quantile(_TAIL) * 1000 for figures in (challenger, champion))
    return [f"has a p99 of {slow:.3g} ms, and the champion {fast:.3g} ms (at most {settings.max_latency_ratio:g} times)"]


def _scores(settings: CanarySpec, champion: Figures, challenger: Figures, *, certain: bool) -> list[str]:
    drift, by_chance = score_drift(challenger, champion)
    allowed = settings.max_score_psi + by_chance if certain else max(settings.max_score_psi, by_chance)
    if math.isnan(drift):
        return [] if certain else ["gave no scores that can be compared with the champion's"]
    if drift <= allowed:
        return []
    return [f"scores otherwise than the champion (PSI {drift:.3g}, at most {allowed:.3g})"]


def watch(
    backend: Backend,
    settings: CanarySpec,
    *,
    champion: str,
    challenger: str,
    traffic: Traffic,
    poll: float = 1.0,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> CanaryReport:
    """Watches until there is a decision, and has the backend do what it says.

    Whatever ends the watching early, an error or Ctrl-C, rolls the challenger back.

    Args:
        backend: Where it happens.
        settings: What is allowed.
        champion: The champion's bundle id.
        challenger: The challenger's.
        traffic: Whose requests they are.
        poll: Seconds between looks.
        clock: Gives seconds.
        sleep: Waits for so many of them.
    """
    started = clock()
    decision = Decision("watching")
    try:
        with Progress("watch the challenger", total=math.ceil(settings.seconds), unit="seconds") as progress:
            while decision.state == "watching":
                sleep(min(poll, max(settings.seconds - (clock() - started), 0.0)))
                of_champion, of_challenger = backend.figures()
                seconds = clock() - started
                decision = decide(settings, of_champion, of_challenger, seconds)
                progress.advance(
                    min(int(seconds), math.ceil(settings.seconds)) - progress.done, f"{of_challenger.requests} requests"
                )
        if decision.state == "promoted":
            backend.promote()
        else:
            backend.roll_back()
    except BaseException:
        if decision.state != "rolled_back":
            backend.roll_back()
        raise
    drift, _ = score_drift(of_challenger, of_champion)
    return CanaryReport(
        state=decision.state,
        reasons=decision.reasons,
        share=settings.share,
        traffic=traffic,
        seconds=round(seconds, 3),
        champion=_told(champion, of_champion),
        challenger=_told(challenger, of_challenger),
        score_psi=None if math.isnan(drift) else round(drift, 4),
    )


def _told(bundle_id: str, figures: Figures) -> VersionFigures:
    p50, p99 = (figures.latency.quantile(q) * 1000 for q in (0.5, _TAIL))
    return VersionFigures(
        bundle_id=bundle_id,
        requests=figures.requests,
        errors=figures.errors,
        refused=figures.refused,
        p50_ms=None if math.isnan(p50) else round(p50, 3),
        p99_ms=None if math.isnan(p99) else round(p99, 3),
        scores=figures.scores.total,
    )
