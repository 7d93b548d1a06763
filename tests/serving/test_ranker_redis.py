"""Ranking with a real Redis that is killed, stopped and started again in the middle of the work."""

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from elec.features.online import OnlineFeatures
from elec.features.repository import FeatureRepository
from elec.serving.bundle import open_bundle
from elec.serving.predictor import FeatureLookupError, Predictor
from elec.serving.ranker import Ranked, Ranker
from elec.spec.run import FeastSpec
from elec.spec.serving import ServingSpec
from tests.serving.made import AS_OF, ITEMS, SPEC, items_table, users_table
from tests.serving.redis_process import RedisProcess
from tests.serving.test_ranker import expected

ALL = [f"i{i}" for i in range(ITEMS)]
KEPT, OTHER = ALL[:20], ALL[20:30]


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RedisProcess, OnlineFeatures]]:
    """A Redis with the made data set's users and items, and look-ups in it."""
    root = tmp_path_factory.mktemp("redis")
    pq.write_table(users_table(), root / "users.parquet")
    pq.write_table(items_table(), root / "items.parquet")
    with RedisProcess(root) as redis:
        settings = FeastSpec(online_store="redis", redis=f"{redis.address},socket_timeout=0.3")
        with FeatureRepository(SPEC.dataset, root / "feast", settings).published(root, AS_OF):
            pass
        yield redis, OnlineFeatures.of_dataset(SPEC.dataset, root / "feast", settings)


@pytest.fixture
def redis(store: tuple[RedisProcess, OnlineFeatures]) -> Iterator[RedisProcess]:
    yield store[0]
    store[0].go_on()
    store[0].kill()
    store[0].start()


@pytest.fixture(scope="module")
def predictor(made: Path) -> Predictor:
    return Predictor(open_bundle(made / "bundle"))


@pytest.fixture
def make(predictor: Predictor, store: tuple[RedisProcess, OnlineFeatures]) -> Any:
    return lambda **settings: Ranker(predictor, store[1], ServingSpec(**settings))


def rank_again(ranker: Ranker, items: list[str]) -> Ranked:
    """The first answer in which nothing is missing."""
    for _ in range(100):
        with contextlib.suppress(FeatureLookupError):
            ranked = ranker.rank("u1", items)
            if not ranked.degraded:
                return ranked
        time.sleep(0.02)
    raise AssertionError("the store is back, and the ranker does not ask it")


def same(predictor: Predictor, scores: np.ndarray, user: str, items: list[str]) -> bool:
    return bool(np.allclose(scores, expected(predictor, user, items, {}), atol=1e-6, rtol=0))


def test_a_redis_that_is_killed_is_refused_until_it_is_back(predictor: Predictor, make: Any, redis: RedisProcess) -> None:
    ranker = make()
    assert same(predictor, ranker.rank("u1", KEPT).scores_N, "u1", KEPT)
    redis.kill()
    for items in (KEPT, OTHER):
        with pytest.raises(FeatureLookupError, match=f"Redis at {redis.address}, does not answer"):
            ranker.rank("u1", items)
    redis.start()
    for items in (KEPT, OTHER, ALL):
        assert same(predictor, rank_again(ranker, items).scores_N, "u1", items)


def test_without_redis_what_is_kept_answers_and_the_rest_is_flagged(
    predictor: Predictor, make: Any, redis: RedisProcess
) -> None:
    ranker = make(without_store="degrade")
    whole = ranker.rank("u1", KEPT).scores_N
    redis.kill()
    ranked = ranker.rank("u1", KEPT + OTHER)
    assert ranked.kept == len(KEPT)
    user, items = ranked.degraded
    assert "does not answer" in user
    assert "the user's features are left out" in user
    assert items == "20 of 30 items were scored with what was kept, the others without features"
    # Exactly the scores of what is said: kept items with all they have, the others and the user with their keys alone.
    without = {"user_id": "u1", "age": None, "city": None}
    assert np.allclose(ranked.scores_N[:20], expected(predictor, "u1", KEPT, without), atol=1e-6, rtol=0)
    bare = without | {"title": None, "genres": None, "price": None}
    assert np.allclose(ranked.scores_N[20:], expected(predictor, "u1", OTHER, bare), atol=1e-6, rtol=0)
    assert not np.allclose(ranked.scores_N[:20], whole, atol=1e-4), "or the user's features would not matter"
    # Kept items alone: only the user is missing.
    assert len(ranker.rank("u1", KEPT).degraded) == 1
    redis.start()
    again = rank_again(ranker, KEPT + OTHER)
    assert again.kept == len(KEPT), "what was scored without its features is not kept"
    assert same(predictor, again.scores_N, "u1", KEPT + OTHER)


def test_items_that_are_too_old_are_better_than_none(predictor: Predictor, make: Any, redis: RedisProcess) -> None:
    ranker = make(without_store="degrade", item_seconds=0.05)
    ranker.rank("u1", KEPT)
    time.sleep(0.1)
    redis.kill()
    ranked = ranker.rank("u1", KEPT)
    assert ranked.kept == len(KEPT)
    assert "20 of 20 items" in ranked.degraded[1]
    without = {"age": None, "city": None}
    assert np.allclose(ranked.scores_N, expected(predictor, "u1", KEPT, without), atol=1e-6, rtol=0)


def test_a_redis_that_hangs_holds_few_requests_up(predictor: Predictor, make: Any, redis: RedisProcess) -> None:
    ranker = make(without_store="degrade")
    ranker.rank("u1", KEPT)
    redis.pause()
    begun = time.monotonic()
    first = ranker.rank("u1", OTHER)
    waited = time.monotonic() - begun
    assert first.degraded
    assert 0.25 < waited < 2, "socket_timeout is 0.3 s, and the user is not asked for after the items"
    begun = time.monotonic()
    assert ranker.rank("u1", OTHER).degraded
    assert time.monotonic() - begun < waited / 2
    redis.go_on()
    assert same(predictor, rank_again(ranker, ALL).scores_N, "u1", ALL)


def test_a_connection_that_redis_closed_is_made_anew(predictor: Predictor, make: Any, redis: RedisProcess) -> None:
    import redis as library

    ranker = make(item_seconds=0.001)
    ranker.rank("u1", KEPT)
    for _ in range(3):
        with library.Redis(port=redis.port) as client:
            client.client_kill_filter(_type="normal", skipme=True)
        ranked = ranker.rank("u1", KEPT)
        assert same(predictor, ranked.scores_N, "u1", KEPT)
