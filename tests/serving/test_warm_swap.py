"""A new bundle begins with the items that the one before was asked for most: the first answers after a swap are as fast."""

import re
from collections.abc import Sequence
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pytest

from elec.features.store_config import OnlineStoreError
from elec.runs.workspace import Workspace
from elec.serving.bundle import open_bundle
from elec.serving.predictor import Predictor
from elec.serving.ranker import Ranker
from elec.spec.serving import ServingSpec
from tests.serving.test_ranker import Store, expected
from tests.serving.test_watch import promote, running, wait_for


class Gone(Store):
    """A feature store that does not answer for items after so many look-ups."""

    def __init__(self, answers: int) -> None:
        super().__init__()
        self.answers = answers

    def items(self, keys: Sequence[object]) -> pa.Table:
        if len(self.asked) >= self.answers:
            raise OnlineStoreError("gone")
        return super().items(keys)


@pytest.fixture(scope="module")
def old(made: Path) -> Ranker:
    """A ranker that was asked for some items more than for others."""
    ranker = Ranker(Predictor(open_bundle(made / "bundle")), Store(), ServingSpec())
    for count in (60, 20, 20, 5):
        ranker.rank("u1", [f"i{number}" for number in range(count)])
    return ranker


def test_the_first_ranking_looks_no_item_up(old: Ranker, other: Path) -> None:
    predictor, store = Predictor(open_bundle(other)), Store()
    ranker = Ranker(predictor, store, ServingSpec())
    assert ranker.take_over(old) == 60
    asked = len(store.asked)
    items = [f"i{number}" for number in range(60)]
    ranked = ranker.rank("u5", items, {"hour": "7"})
    assert (ranked.kept, len(store.asked)) == (60, asked)
    # Of the new bundle, not of the one before.
    np.testing.assert_allclose(ranked.scores_N, expected(predictor, "u5", items, {"hour": "7"}), atol=1e-6, rtol=0)


def test_where_fewer_are_kept_they_are_the_hottest(old: Ranker, other: Path) -> None:
    predictor = Predictor(open_bundle(other))
    assert Ranker(predictor, Store(), ServingSpec(items=0)).take_over(old) == 0
    ranker = Ranker(predictor, Store(), ServingSpec(items=20))
    assert ranker.take_over(old) == 20
    assert ranker.rank("u5", [f"i{number}" for number in range(20)]).kept == 20


def test_a_store_that_does_not_answer_or_takes_long_is_no_reason_not_to_swap(
    old: Ranker, other: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("elec.serving.ranker._TAKEN_AT_ONCE", 10)
    predictor = Predictor(open_bundle(other))
    assert Ranker(predictor, Gone(2), ServingSpec()).take_over(old) == 20
    seconds = iter(range(0, 1000, 4))
    slow = Ranker(predictor, Store(), ServingSpec(), clock=lambda: float(next(seconds)))
    assert 0 < slow.take_over(old) < 60


def test_a_live_server_answers_from_what_is_kept_after_a_swap(
    made: Path, other: Path, feast_folder: Path, tmp_path: Path
) -> None:
    workspace = Workspace(str(tmp_path))
    first = promote(made / "bundle", workspace)
    question = {"user": "u5", "candidates": [f"i{number}" for number in range(50)], "context": {"hour": 5}}
    asked = ["--workspace", str(tmp_path), "--feast", str(feast_folder), "--set", "watch_seconds=0.1"]
    with running(*asked) as (_, client, _log):
        for _ in range(3):
            assert client.post("/rank", json=question).json()["bundle"] == first
        before = figures(client)
        second = promote(other, workspace)
        wait_for(lambda: client.get("/v2/models/elec").json()["versions"][0] == second)
        answer = client.post("/rank", json=question).json()
        assert answer["bundle"] == second
        hits, misses = figures(client)
        assert (hits, misses) == (before[0] + 50, before[1])


def figures(client: httpx.Client) -> tuple[int, int]:
    """Items that were answered from what is kept, and items that were looked up."""
    text = client.get("/metrics").text
    found = [re.search(rf"^elec_item_cache_{what}_total ([0-9.]+)$", text, re.MULTILINE) for what in ("hits", "misses")]
    hits, misses = (int(float(one[1])) for one in found if one is not None)
    return hits, misses
