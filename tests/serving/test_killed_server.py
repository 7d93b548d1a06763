"""kill -9 of a server under load, and its restart at the same address."""

import socket
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elec.runs.workspace import Workspace
from elec.serving.service import open_service
from elec.serving.telemetry.prediction_files import PATTERN
from elec.spec.serving import ServingSpec
from tests.serving.crowd import Crowd
from tests.serving.test_watch import promote, running, wait_for

QUESTION = {"user": "u5", "candidates": ["i1", "i2", "i3"], "context": {"hour": 5}}


def scores_of(uri: str, feast: Path) -> set[tuple[float, ...]]:
    """What a bundle answers, in this process."""
    ranker = open_service(uri, str(feast), ServingSpec()).ranker
    assert ranker is not None
    return {tuple(round(float(score), 5) for score in ranker.rank("u5", ["i1", "i2", "i3"], {"hour": 5}).scores_N)}


def rows_of(log: Path) -> list[pa.Table]:
    """All files of a prediction log; each has to be whole."""
    return [pq.read_table(file) for file in sorted(log.glob(PATTERN))]


@pytest.mark.slow
def test_a_server_that_is_killed_under_load_serves_the_champion_again(
    made: Path, other: Path, feast_folder: Path, tmp_path: Path
) -> None:
    workspace, log = Workspace(str(tmp_path / "ws")), tmp_path / "log"
    bundles = [promote(other, workspace), promote(made / "bundle", workspace)]
    expected = {bundle: scores_of(workspace.bundle(bundle), feast_folder) for bundle in bundles}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    asked = ["--workspace", workspace.uri, "--feast", str(feast_folder), "--port", str(port), "--prediction-log", str(log)]
    # Files are written all the time, and the champion is looked for all the time.
    for setting in ("log_share=1", "log_rows=20", "log_seconds=0.1", "watch_seconds=0.02"):
        asked += ["--set", setting]
    down: list[tuple[float, float]] = []
    killed = 0.0
    with Crowd(f"http://127.0.0.1:{port}", QUESTION) as crowd:
        # The new champion is being loaded at the moment of the kill, is in service by then, or was not seen yet.
        for seconds in (0.05, 1.0, 0.0, None):
            with running(*asked) as (process, client, _):
                up = time.monotonic()
                down.append((killed, up))
                champion = workspace.champion()
                assert champion is not None
                assert client.get("/v2/models/elec").json()["versions"] == [champion.bundle_id]
                files = len(rows_of(log))
                wait_for(lambda up=up: crowd.answers(up) > 30)
                wait_for(lambda files=files: len(rows_of(log)) > files + 3)
                if seconds is None:
                    crowd.stop()
                    break
                workspace.promote(next(bundle for bundle in bundles if bundle != champion.bundle_id), "run-1")
                time.sleep(seconds)
                killed = time.monotonic()
                process.kill()
                process.wait()
    assert crowd.scores() == expected, "an answer of something half read"
    assert len(crowd.failed) >= 9, "every client was cut off every time"
    for one in crowd.failed:
        assert one.status == 0, one.text
        assert any(begin <= one.ended and one.begun <= end for begin, end in down), "cut off while the server was up"
    logged = pa.concat_tables(rows_of(log))
    assert set(logged["version"].to_pylist()) == set(bundles)
    # Three candidates a request: none was logged in part.
    assert set(logged.group_by("request_id").aggregate([("item_id", "count")])["item_id_count"].to_pylist()) == {3}
