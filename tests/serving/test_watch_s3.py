"""A server that follows a champion on a real S3, which is killed and comes back, while clients ask."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from elec.runs.workspace import Workspace
from tests.serving.crowd import Crowd
from tests.serving.made import make_bundle
from tests.serving.seaweed import BUCKET, SeaweedS3, seaweed
from tests.serving.test_watch import promote, running, wait_for

QUESTION = {"user": "u5", "candidates": ["i1", "i2", "i3"], "context": {"hour": 5}}


@pytest.fixture
def server(tmp_path: Path) -> Iterator[SeaweedS3]:
    (tmp_path / "seaweed").mkdir()
    yield from seaweed(tmp_path / "seaweed")


@pytest.mark.slow
def test_a_server_outlives_the_s3_of_its_champion(
    made: Path, other: Path, feast_folder: Path, tmp_path: Path, server: SeaweedS3, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    third = tmp_path / "third"
    third.mkdir()
    make_bundle(third, seed=3)
    workspace = Workspace(f"s3://{BUCKET}/ws")
    first = promote(made / "bundle", workspace)
    asked = ["--workspace", workspace.uri, "--feast", str(feast_folder), "--set", "watch_seconds=0.1"]
    with (
        running(*asked, env=dict(os.environ) | {"XDG_CACHE_HOME": str(tmp_path / "cache")}) as (process, client, log),
        Crowd(str(client.base_url), QUESTION) as crowd,
    ):
        wait_for(lambda: first in crowd.scores())
        second = promote(other, workspace)
        wait_for(lambda: second in crowd.scores())
        assert "cannot be read" not in log.read_text()

        server.kill()
        gone = time.monotonic()
        # Only after some attempts S3 counts as gone.
        wait_for(lambda: f"the champion of {workspace.uri} cannot be read" in log.read_text())
        assert "S3 cannot be reached" in log.read_text()
        wait_for(lambda: 'elec_errors_total{kind="champion"} ' in client.get("/metrics").text)
        answered = crowd.answers(gone)
        wait_for(lambda: crowd.answers(gone) > answered + 30)
        assert client.get("/v2/health/ready").json() == {"ready": True}
        assert client.get("/v2/models/elec").json()["versions"] == [second, first]

        server.start()
        last = promote(third / "bundle", workspace)
        wait_for(lambda: last in crowd.scores())
        wait_for(lambda: "can be read again" in log.read_text())
        assert client.get("/v2/models/elec").json()["versions"] == [last, second]
        assert "elec_swaps_total 2.0" in client.get("/metrics").text
        assert process.poll() is None
        crowd.stop()
        assert not crowd.failed
        assert set(crowd.scores()) == {first, second, last}
        assert all(len(scores) == 1 for scores in crowd.scores().values()), "an answer mixed two versions"
