import math

from elec.evaluation import Candidate, choose
from elec.spec.run import GateSpec

GATE = GateSpec(max_latency_ms=10)


def test_the_best_on_validation_rows_that_is_fast_enough_is_chosen() -> None:
    found = choose(
        [Candidate("vanilla", 0.70, 0.5), Candidate("semantic_ids", 0.72, 0.9), Candidate("vectors", 0.75, 12)], GATE
    )
    assert found.chosen == "semantic_ids"
    assert found.why == {
        "vanilla": "validation AUC not above that of semantic_ids",
        "semantic_ids": "challenger",
        "vectors": "too slow: 12.00 ms, at most 10 ms",
    }
    assert found.reason == "Of 3 students semantic_ids has the best validation AUC, 0.7200, within 10 ms."


def test_of_equals_the_one_named_first() -> None:
    pair = [Candidate("vectors", 0.7, 5), Candidate("vanilla", 0.7, 0.5)]
    assert choose(pair, GATE).chosen == "vectors"
    assert choose(pair[::-1], GATE).chosen == "vanilla"


def test_where_none_is_fast_enough_the_fastest_goes_to_the_gate() -> None:
    found = choose([Candidate("vanilla", 0.7, 20), Candidate("vectors", 0.8, 30)], GATE)
    assert found.chosen == "vanilla"
    assert "none answers within 10 ms" in found.reason
    assert found.why["vectors"].startswith("too slow")


def test_what_is_not_a_number_never_wins() -> None:
    assert choose([Candidate("vanilla", math.nan, 1), Candidate("vectors", 0.5, 1)], GATE).chosen == "vectors"
    assert choose([Candidate("vanilla", 0.6, math.nan), Candidate("vectors", 0.5, 1)], GATE).chosen == "vectors"
    assert choose([Candidate("vanilla", math.nan, 1)], GATE).chosen == "vanilla"
