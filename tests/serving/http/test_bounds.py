"""The bounds of a server, over real sockets: who waits, how long, and what is refused."""

import asyncio
import re
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from elec.serving.http.admission import Admission, RefusedError, Workroom
from elec.serving.settings import read_settings
from elec.spec.serving import ServingSpec
from tests.serving.test_watch import running

QUEUE = 3


@pytest.fixture(scope="module")
def small(made: Path) -> Iterator[httpx.Client]:
    """A server that takes three requests at once, and has one second for each."""
    with running("--bundle", str(made / "bundle"), "--set", f"queue={QUEUE}", "--set", "timeout_seconds=1") as (
        _,
        client,
        _log,
    ):
        yield client


def begun(client: httpx.Client) -> socket.socket:
    """A request whose body never ends."""
    connection = socket.create_connection((client.base_url.host, client.base_url.port or 80), timeout=10)
    connection.sendall(b"POST /v2/models/elec/infer HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n{")
    return connection


def in_flight(client: httpx.Client) -> int:
    found = re.search(r"elec_in_flight (\d+)", client.get("/metrics").text)
    assert found is not None
    return int(found[1])


def test_one_more_than_the_queue_is_refused_at_once(small: httpx.Client) -> None:
    connections = [begun(small) for _ in range(QUEUE)]
    until = time.monotonic() + 5
    while in_flight(small) < QUEUE and time.monotonic() < until:
        time.sleep(0.01)
    started = time.monotonic()
    answer = small.post("/rank", json={"user": "u1", "items": []})
    assert time.monotonic() - started < 0.5
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "1")
    assert answer.json()["error"].startswith("3 requests are being answered")
    # Health has its own way in.
    assert small.get("/v2/health/ready").status_code == 200
    for connection in connections:
        answered = connection.recv(4096)
        # The head of an answer may come before its body.
        while part := not answered.endswith(b"}") and connection.recv(4096):
            answered += part
        assert answered.startswith(b"HTTP/1.1 408")
        assert b"the body did not arrive within 1 seconds" in answered
        connection.close()
    assert in_flight(small) == 0
    assert small.post("/v2/models/elec/infer", content=b"{}").status_code == 400
    assert 'elec_refused_total{reason="queue"} 1.0' in small.get("/metrics").text


def test_a_client_that_leaves_gives_its_place_back(small: httpx.Client) -> None:
    for _ in range(3):
        for connection in [begun(small) for _ in range(QUEUE)]:
            connection.close()
    until = time.monotonic() + 5
    while in_flight(small) and time.monotonic() < until:
        time.sleep(0.01)
    assert small.post("/v2/models/elec/infer", content=b"{}").status_code == 400


def test_what_is_cancelled_before_its_turn_is_not_begun() -> None:
    done: list[str] = []
    release = threading.Event()

    async def main() -> None:
        room = Workroom(8)
        first = asyncio.create_task(room.aside(lambda: release.wait(5)))
        await asyncio.sleep(0.05)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await room.aside(lambda: done.append("late"))
        release.set()
        await first
        await room.aside(lambda: done.append("next"))
        room.close()

    asyncio.run(main())
    assert done == ["next"]


def test_work_here_is_done_in_turn_and_the_loop_has_its_own() -> None:
    order: list[str] = []

    async def main() -> None:
        room = Workroom(8)

        async def work(number: int) -> None:
            await room.here(lambda: order.append(f"work {number}"))

        async def arrive() -> None:
            for number in range(3):
                order.append(f"arrives {number}")
                await asyncio.sleep(0)

        await asyncio.gather(*(work(number) for number in range(3)), arrive())
        room.close()

    asyncio.run(main())
    assert [entry for entry in order if entry.startswith("work")] == ["work 0", "work 1", "work 2"]
    assert order.index("arrives 1") < order.index("work 1"), "between two works the loop reads what came in"


def test_a_standing_crowd_is_refused_and_a_short_one_waits() -> None:
    async def main() -> None:
        room, release = Workroom(64), threading.Event()
        waiting = [asyncio.create_task(room.aside(lambda: release.wait(5))) for _ in range(20)]
        await asyncio.sleep(0)
        room.check()
        await asyncio.sleep(0.15)
        with pytest.raises(RefusedError, match="20 requests have been waiting for too long") as refused:
            room.check()
        assert (refused.value.status, refused.value.kind) == (429, "crowd")
        release.set()
        await asyncio.gather(*waiting)
        room.check()
        room.close()

    asyncio.run(main())


def test_the_house_counts() -> None:
    house = Admission(2)
    with house, house:
        assert house.inside == 2
        with pytest.raises(RefusedError) as refused, house:
            pass
        assert (refused.value.status, refused.value.kind) == (429, "queue")
        assert house.inside == 2
    assert house.inside == 0


def test_settings_are_read_from_text() -> None:
    read = read_settings(["queue=8", "split=false", "item_seconds=2.5", "queue=9"])
    assert (read.queue, read.split, read.item_seconds) == (9, False, 2.5)
    assert read_settings([], ServingSpec(rows=5)).rows == 5
