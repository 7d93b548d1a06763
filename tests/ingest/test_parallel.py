"""Threads: results in order, errors where they belong, and nothing left behind."""

import threading
import time
from collections.abc import Generator

import pytest

from elec.ingest.parallel import in_order


def _numbers(count: int, ended: list[str], fail_at: int | None = None) -> Generator[int, None, None]:
    try:
        for number in range(count):
            if number == fail_at:
                raise OSError("the disk")
            yield number
    finally:
        ended.append("closed")


def _slow(number: int) -> int:
    time.sleep(0.002 if number % 3 else 0.01)
    return number * number


def test_order_and_end() -> None:
    ended: list[str] = []
    before = set(threading.enumerate())
    assert list(in_order(_slow, _numbers(50, ended))) == [number * number for number in range(50)]
    assert ended == ["closed"]
    # Threads of others may end meanwhile.
    assert set(threading.enumerate()) <= before


def test_a_reader_that_fails_does_so_after_what_it_read() -> None:
    ended: list[str] = []
    results = in_order(_slow, _numbers(50, ended, fail_at=7))
    assert [next(results) for _ in range(7)] == [number * number for number in range(7)]
    with pytest.raises(OSError, match="the disk"):
        next(results)
    assert ended == ["closed"]


def test_work_that_fails_and_a_caller_that_stops_leave_no_thread() -> None:
    before = set(threading.enumerate())
    ended: list[str] = []
    with pytest.raises(ZeroDivisionError):
        list(in_order(lambda number: 1 // (number - 5), _numbers(10_000, ended)))
    results = in_order(_slow, _numbers(10_000, ended))
    assert next(iter(results)) == 0
    results.close()
    assert ended == ["closed", "closed"]
    # Threads of others may end meanwhile.
    assert set(threading.enumerate()) <= before


def test_no_more_is_read_than_there_is_room_for() -> None:
    read: list[int] = []

    def numbers() -> Generator[int, None, None]:
        for number in range(100):
            read.append(number)
            yield number

    for result in in_order(lambda number: number, numbers(), workers=2):
        time.sleep(0.001)
        assert len(read) <= result + 6
