"""The decision, a pure function of figures and time; and the watching, on figures that are played."""

import re
from collections.abc import Iterator
from dataclasses import replace
from itertools import repeat

import numpy as np
import pytest

from elec.deploy.canary import CanaryReport, decide, watch
from elec.deploy.figures import Counts, Figures
from elec.spec.serving import CanarySpec

SETTINGS = CanarySpec(share=10, seconds=60, requests=200)
LATENCY = tuple(float(edge) for edge in np.geomspace(1e-4, 60, 141))
SCORES = tuple(float(edge) for edge in np.linspace(0.005, 1.0, 200))


def seen(
    requests: int, *, milliseconds: float = 2.0, clicks: float = 2.0, errors: int = 0, refused: int = 0, seed: int = 0
) -> Figures:
    """A version that was asked so often: 50 scores a request, of a beta distribution."""
    draw = np.random.default_rng(seed)
    times = draw.lognormal(np.log(milliseconds / 1000), 0.2, requests - errors)
    scores = draw.beta(clicks, 20, 50 * (requests - errors - refused))
    return Figures(
        requests=requests,
        errors=errors,
        refused=refused,
        latency=Counts(LATENCY, np.bincount(np.searchsorted(LATENCY, times), minlength=len(LATENCY) + 1)),
        scores=Counts(SCORES, np.bincount(np.searchsorted(SCORES, scores), minlength=len(SCORES) + 1)),
    )


CHAMPION = seen(1800, seed=1)


def test_a_good_challenger_is_watched_until_time_is_up_and_then_promoted() -> None:
    challenger = seen(220)
    assert decide(SETTINGS, CHAMPION, challenger, 59).state == "watching"
    assert decide(SETTINGS, CHAMPION, challenger, 60).state == "promoted"


@pytest.mark.parametrize("seed", range(20))
def test_chance_alone_rolls_nothing_back(seed: int) -> None:
    champion, challenger = seen(1800, seed=2 * seed + 100), seen(200, seed=2 * seed + 101)
    assert decide(SETTINGS, champion, challenger, 30).state == "watching"
    assert decide(SETTINGS, champion, challenger, 60).state == "promoted"


@pytest.mark.parametrize(
    ("challenger", "reason"),
    [
        (seen(220, errors=5), r"failed on 2\.27% of its requests \(at most 1\.00%\)"),
        (seen(220, refused=6), r"refused 2\.73% of its requests, and the champion 0\.00%"),
        (seen(220, milliseconds=4), r"has a p99 of 6\.\d+ ms, and the champion 3\.\d+ ms \(at most 1\.5 times\)"),
        (seen(220, clicks=4), r"scores otherwise than the champion \(PSI \d"),
    ],
)
def test_what_is_beyond_doubt_does_not_wait(challenger: Figures, reason: str) -> None:
    decision = decide(SETTINGS, CHAMPION, challenger, 10)
    assert decision.state == "rolled_back"
    assert len(decision.reasons) == 1
    assert re.search(reason, decision.reasons[0])
    assert decide(SETTINGS, CHAMPION, challenger, 60).state == "rolled_back"


def test_one_error_among_few_requests_waits_for_more_of_them() -> None:
    assert decide(SETTINGS, CHAMPION, seen(20, errors=1), 5).state == "watching"
    assert decide(SETTINGS, CHAMPION, seen(20, errors=5), 5).state == "rolled_back"
    assert decide(SETTINGS, CHAMPION, seen(220, errors=3), 60).state == "rolled_back"
    assert decide(SETTINGS, CHAMPION, seen(220, errors=2), 60).state == "promoted"


def test_what_clients_do_wrong_is_not_the_challengers_fault() -> None:
    champion = seen(1800, refused=180, seed=1)
    assert decide(SETTINGS, champion, seen(220, refused=20), 60).state == "promoted"


def test_few_requests_are_no_evidence() -> None:
    decision = decide(SETTINGS, CHAMPION, seen(199), 60)
    assert decision.state == "rolled_back"
    assert decision.reasons == ("was asked 199 times in 60 seconds, and 200 are needed to judge it",)
    assert decide(SETTINGS, CHAMPION, Figures(), 60).state == "rolled_back"


def test_who_dies_is_rolled_back_at_once() -> None:
    decision = decide(SETTINGS, CHAMPION, replace(seen(50), alive=False), 1)
    assert decision.state == "rolled_back"
    assert "ended" in decision.reasons[0]


def test_without_a_champion_nothing_can_be_said() -> None:
    for champion in (Figures(), replace(CHAMPION, alive=False)):
        decision = decide(SETTINGS, champion, seen(220), 60)
        assert decision.state == "rolled_back"
        assert "could not be compared" in decision.reasons[0]


def test_scores_that_cannot_be_compared_are_no_evidence() -> None:
    silent = replace(seen(220), scores=Counts())
    assert decide(SETTINGS, CHAMPION, silent, 30).state == "watching"
    decision = decide(SETTINGS, CHAMPION, silent, 60)
    assert decision.state == "rolled_back"
    assert "no scores that can be compared" in decision.reasons[0]


def test_all_that_is_wrong_is_said() -> None:
    assert len(decide(SETTINGS, CHAMPION, seen(220, errors=9, milliseconds=8, clicks=5), 60).reasons) == 3


class Played:
    """A backend whose figures are given; it keeps what it was told to do."""

    def __init__(self, looks: Iterator[tuple[Figures, Figures]]) -> None:
        self.looks = looks
        self.told: list[str] = []

    def figures(self) -> tuple[Figures, Figures]:
        return next(self.looks)

    def promote(self) -> None:
        self.told.append("promote")

    def roll_back(self) -> None:
        self.told.append("roll back")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def watched(backend: Played) -> CanaryReport:
    clock = Clock()
    return watch(
        backend, SETTINGS, champion="toy-1", challenger="toy-2", traffic="live", poll=5, clock=clock, sleep=clock.sleep
    )


def test_watching_ends_with_the_time() -> None:
    backend = Played(repeat((CHAMPION, seen(220))))
    report = watched(backend)
    assert backend.told == ["promote"]
    assert (report.state, report.seconds, report.share) == ("promoted", 60.0, 10)
    assert (report.champion.bundle_id, report.challenger.bundle_id) == ("toy-1", "toy-2")
    assert (report.challenger.requests, report.challenger.scores) == (220, 11_000)
    assert report.challenger.p99_ms is not None
    assert 2.5 < report.challenger.p99_ms < 4
    assert report.score_psi is not None
    assert report.score_psi < 0.05
    assert CanaryReport.model_validate_json(report.model_dump_json()) == report


def test_watching_ends_when_it_is_clear() -> None:
    looks = iter([(CHAMPION, seen(50)), (CHAMPION, seen(100)), (CHAMPION, seen(220, clicks=6))])
    backend = Played(looks)
    report = watched(backend)
    assert backend.told == ["roll back"]
    assert (report.state, report.seconds) == ("rolled_back", 15.0)


def test_a_challenger_that_was_never_asked_has_no_latency() -> None:
    report = watched(Played(repeat((CHAMPION, Figures()))))
    assert (report.challenger.p50_ms, report.challenger.p99_ms, report.score_psi) == (None, None, None)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_whatever_ends_the_watching_rolls_back(error: type[BaseException]) -> None:
    class Broken(Played):
        def figures(self) -> tuple[Figures, Figures]:
            raise error

    backend = Broken(iter(()))
    with pytest.raises(error):
        watched(backend)
    assert backend.told == ["roll back"]


def test_a_promotion_that_fails_is_rolled_back() -> None:
    class Stuck(Played):
        def promote(self) -> None:
            raise RuntimeError

    backend = Stuck(repeat((CHAMPION, seen(220))))
    with pytest.raises(RuntimeError):
        watched(backend)
    assert backend.told == ["roll back"]
