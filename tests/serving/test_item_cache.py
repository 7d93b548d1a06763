"""The cache of items gives back what was put, and no more of it than its bounds allow."""

import threading

import numpy as np
import pytest

from elec.errors import InputError
from elec.serving.item_cache import ItemCache, Parts

WIDTHS = [(3, np.float32), (1, np.bool_)]


class Clock:
    """Time that a test makes go on."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def parts(numbers: list[int]) -> Parts:
    """Rows that say whose they are."""
    number_N1 = np.array(numbers, np.float32).reshape(-1, 1)
    return number_N1 * np.array([1, 2, 3], np.float32), (number_N1 % 2 == 0)


def names(numbers: list[int]) -> list[str]:
    return [f"i{number}" for number in numbers]


def check(cache: ItemCache, numbers: list[int], *, there: list[bool], stale: bool = False) -> None:
    found, kept = cache.find(names(numbers), stale=stale)
    assert found.tolist() == there
    for matrix, expected in zip(
        kept, parts([number for number, is_there in zip(numbers, there, strict=True) if is_there]), strict=True
    ):
        np.testing.assert_array_equal(matrix, expected)


def test_what_was_put_is_found_until_it_is_too_old() -> None:
    clock = Clock()
    cache = ItemCache(WIDTHS, capacity=10, seconds=60, clock=clock)
    check(cache, [1, 2], there=[False, False])
    cache.put(names([1, 2]), parts([1, 2]))
    check(cache, [2, 3, 1, 2], there=[True, False, True, True])
    clock.now += 30
    cache.put(names([2]), parts([2]))
    assert len(cache) == 2
    clock.now += 31
    check(cache, [1, 2], there=[False, True])
    check(cache, [1, 2], there=[True, True], stale=True)
    cache.put(names([1]), parts([1]))
    check(cache, [1, 2], there=[True, True])
    assert cache.nbytes == 2 * (3 * 4 + 1)


def test_the_hottest_are_those_that_were_asked_for_most() -> None:
    cache = ItemCache(WIDTHS, capacity=5, seconds=60)
    assert cache.hottest(3) == cache.hottest(0) == []
    cache.put(names([1, 2, 3, 4, 5]), parts([1, 2, 3, 4, 5]))
    for number in (3, 3, 3, 3, 5, 5, 5, 1):
        cache.find(names([number]))
    assert cache.hottest(3) == names([3, 5, 1])
    assert sorted(cache.hottest(99)) == names([1, 2, 3, 4, 5])
    assert cache.hottest(0) == []
    # Looked up again it counts half; one that comes in another's place begins anew.
    cache.put(names([3]), parts([3]))
    assert cache.hottest(2) == names([5, 3])
    for _ in range(2):
        cache.put(names([11, 12, 13, 14]), parts([11, 12, 13, 14]))
    assert len(cache) == 5
    cache.find(names([12]))
    assert "i12" in cache.hottest(2)


def test_what_was_asked_for_stays_and_the_rest_goes() -> None:
    cache = ItemCache(WIDTHS, capacity=4, seconds=60, clock=Clock())
    cache.put(names([1, 2, 3, 4]), parts([1, 2, 3, 4]))
    check(cache, [2, 4], there=[True, True])
    cache.put(names([5, 6]), parts([5, 6]))
    assert len(cache) == 4
    check(cache, [2, 4, 5, 6, 1, 3], there=[True, True, True, True, False, False])


def test_what_is_too_old_goes_first() -> None:
    clock = Clock()
    cache = ItemCache(WIDTHS, capacity=3, seconds=60, clock=clock)
    cache.put(names([1]), parts([1]))
    check(cache, [1], there=[True])
    clock.now += 61
    cache.put(names([2, 3]), parts([2, 3]))
    check(cache, [2, 3], there=[True, True])
    cache.put(names([4]), parts([4]))
    check(cache, [1, 2, 3, 4], there=[False, True, True, True], stale=True)


@pytest.mark.parametrize("capacity", [0, 1, 3])
def test_more_items_than_there_is_room_for(capacity: int) -> None:
    cache = ItemCache(WIDTHS, capacity=capacity, seconds=60, clock=Clock())
    cache.put(names([1, 2, 3, 4, 5]), parts([1, 2, 3, 4, 5]))
    check(cache, [1, 2, 3, 4, 5], there=[number <= capacity for number in range(1, 6)])
    cache.put(names([5, 4]), parts([5, 4]))
    assert len(cache) == capacity
    check(cache, [5], there=[capacity > 0])


@pytest.mark.parametrize("capacity", [1, 5, 40, 600])
def test_any_order_of_putting_and_finding(capacity: int) -> None:
    draw = np.random.default_rng(capacity)
    clock = Clock()
    cache = ItemCache(WIDTHS, capacity=capacity, seconds=10, clock=clock)
    put_at: dict[int, float] = {}
    for _ in range(400):
        numbers = draw.permutation(900)[: draw.integers(1, 60)].tolist()
        asked = names(numbers)
        there, kept = cache.find(asked)
        there_numbers = [number for number, is_there in zip(numbers, there, strict=True) if is_there]
        for matrix, expected in zip(kept, parts(there_numbers), strict=True):
            np.testing.assert_array_equal(matrix, expected)
        assert all(clock.now - put_at[number] < 10 for number in there_numbers), "nothing is found that is too old"
        missing = [number for number, is_there in zip(numbers, there, strict=True) if not is_there]
        cache.put(names(missing), parts(missing))
        put_at |= dict.fromkeys(missing, clock.now)
        assert len(cache) <= capacity
        check(cache, missing[:capacity], there=[True] * len(missing[:capacity]))
        clock.now += draw.random()


def test_threads_never_see_another_items_row() -> None:
    cache = ItemCache(WIDTHS, capacity=50, seconds=60)
    wrong: list[object] = []

    def work(seed: int) -> None:
        draw = np.random.default_rng(seed)
        try:
            for _ in range(300):
                numbers = draw.permutation(200)[:20].tolist()
                there, kept = cache.find(names(numbers))
                found = [number for number, is_there in zip(numbers, there, strict=True) if is_there]
                if not np.array_equal(kept[0], parts(found)[0]):
                    wrong.append(found)
                cache.put(names(numbers), parts(numbers))
        except Exception as error:
            wrong.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


def test_more_than_the_machine_has_memory_for_is_said() -> None:
    with pytest.raises(InputError, match=r"items is 50,000,000, .* lower it"):
        ItemCache([(2**30, np.float32)], capacity=50_000_000, seconds=60)
