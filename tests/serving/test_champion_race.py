"""Several processes that change the champion at once, on disk and on a real S3: one after the other, and none is lost."""

import multiprocessing
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from elec.errors import BlockedError
from elec.runs.workspace import Champion, Workspace
from tests.serving.seaweed import BUCKET, SeaweedS3, seaweed

_TURNS = 12


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedS3]:
    yield from seaweed(tmp_path_factory.mktemp("seaweed"))


@pytest.fixture(params=["disk", "s3"])
def workspace(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    if request.param == "disk":
        return Workspace(str(tmp_path))
    for name, value in request.getfixturevalue("server").environment.items():
        monkeypatch.setenv(name, value)
    return Workspace(f"s3://{BUCKET}/race")


def _promote(who: str, uri: str, start: float, told: "multiprocessing.SimpleQueue[list[Champion]]") -> None:
    workspace = Workspace(uri)
    workspace.champion()
    time.sleep(max(0.0, start - time.time()))
    told.put([workspace.promote(f"bundle-{who}-{turn}", f"run-{who}-{turn}") for turn in range(_TURNS)])


def test_of_two_publishers_none_is_lost_and_nothing_is_mixed(workspace: Workspace) -> None:
    context = multiprocessing.get_context("spawn")
    told = context.SimpleQueue()
    start = time.time() + 2.5
    publishers = [context.Process(target=_promote, args=(who, workspace.uri, start, told)) for who in "ab"]
    for process in publishers:
        process.start()
    while not workspace.champion():
        time.sleep(0.01)
    seen = []
    while any(process.is_alive() for process in publishers):
        if not told.empty():
            seen += told.get()
        # A reader finds one record or the other, whole.
        champion = workspace.champion()
        assert champion is not None
        assert champion.run_id == champion.bundle_id.replace("bundle", "run")
    while not told.empty():
        seen += told.get()
    assert [process.exitcode for process in publishers] == [0, 0]
    by_name = {champion.bundle_id: champion for champion in seen}
    assert len(by_name) == 2 * _TURNS
    # Back from the last one, each remembers the one before: a single line through all of them.
    champion = workspace.champion()
    line = []
    while champion is not None:
        assert champion == by_name[champion.bundle_id]
        line.append(champion.bundle_id)
        champion = by_name.get(champion.previous or "")
    assert sorted(line) == sorted(by_name)


def test_a_rollback_of_what_was_replaced_meanwhile_is_refused(workspace: Workspace) -> None:
    for number in range(3):
        workspace.promote(f"bundle-{number}", f"run-{number}")
    seen = workspace.champion()
    workspace.promote("bundle-3", "run-3")
    with pytest.raises(BlockedError, match="bundle-3 was made the champion in the meantime"):
        workspace.rollback("run-1", seen)
    champion = workspace.champion()
    assert champion is not None
    assert (champion.bundle_id, champion.previous) == ("bundle-3", "bundle-2")
    assert workspace.rollback("run-2", champion).bundle_id == "bundle-2"
