"""A server of a workspace's champion follows it: swap, rollback, refusal; over real sockets, under load."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from elec.runs.workspace import Workspace
from elec.serving.publish import publish_bundle
from elec.serving.service import Service, Serving, open_service
from elec.serving.watch import ChampionWatch
from elec.spec.serving import ServingSpec


@contextlib.contextmanager
def running(*arguments: str, env: dict[str, str] | None = None) -> Iterator[tuple[subprocess.Popen[bytes], httpx.Client, Path]]:
    """A server process, a client of it, and the file of what it writes."""
    with tempfile.NamedTemporaryFile() as log:
        command = [sys.executable, "-m", "elec.serving", "--port", "0", *arguments]
        with subprocess.Popen(command, stdout=log, stderr=log, env=os.environ | (env or {})) as process:
            try:
                url = wait_for(lambda: url_in(Path(log.name)))
                with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
                    yield process, client, Path(log.name)
            finally:
                process.kill()


def url_in(log: Path) -> str:
    said = log.read_text()
    return said.partition(" on ")[2].partition(" ")[0] if " (Ctrl-C" in said else ""


def wait_for(found: Callable[[], str | bool], seconds: float = 60.0) -> str:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        value = found()
        if value:
            return str(value)
        time.sleep(0.02)
    raise AssertionError("it did not happen in time")


def promote(bundle: Path, workspace: Workspace) -> str:
    version = Path(publish_bundle(bundle, workspace)).name
    workspace.promote(version, "run-1")
    return version


def test_a_new_champion_is_picked_up_and_a_rollback_is_at_once(
    made: Path, other: Path, feast_folder: Path, tmp_path: Path
) -> None:
    workspace = Workspace(str(tmp_path))
    first = promote(made / "bundle", workspace)
    asked = ["--workspace", str(tmp_path), "--feast", str(feast_folder), "--set", "watch_seconds=0.1"]
    question = {"user": "u5", "candidates": ["i1", "i2", "i3"], "context": {"hour": 5}}
    with running(*asked) as (_, client, log):
        seen: dict[str, set[str]] = {}
        failed: list[str] = []
        stop = threading.Event()

        def ask() -> None:
            with httpx.Client(base_url=client.base_url, trust_env=False, timeout=30) as own:
                while not stop.is_set():
                    answer = own.post("/rank", json=question)
                    if answer.status_code != 200:
                        failed.append(answer.text)
                        continue
                    content = answer.json()
                    seen.setdefault(content["bundle"], set()).add(str([round(score, 5) for score in content["scores"]]))

        clients = [threading.Thread(target=ask) for _ in range(3)]
        for thread in clients:
            thread.start()
        second = promote(other, workspace)
        wait_for(lambda: second in seen)
        versions = client.get("/v2/models/elec").json()["versions"]
        assert versions == [second, first]
        assert client.get(f"/v2/models/elec/versions/{first}").json()["versions"] == [first]
        assert client.get("/v2/models/elec/versions/other").status_code == 404
        workspace.promote(first, "run-1")
        wait_for(lambda: client.get("/v2/models/elec").json()["versions"] == [first, second])
        stop.set()
        for thread in clients:
            thread.join()
        assert not failed
        assert set(seen) == {first, second}
        assert all(len(scores) == 1 for scores in seen.values()), "an answer mixed two versions"
        figures = client.get("/metrics").text
        assert "elec_swaps_total 2.0" in figures
        assert log.read_text().count("is kept for a rollback") == 2


def test_a_champion_that_is_refused_leaves_the_old_one(made: Path, other: Path, tmp_path: Path) -> None:
    workspace, settings = Workspace(str(tmp_path)), ServingSpec()
    first = promote(made / "bundle", workspace)
    loaded: list[str] = []

    def load(uri: str) -> Service:
        loaded.append(uri)
        return open_service(uri, "", settings)

    serving = Serving(load(workspace.bundle(first)))
    watch = ChampionWatch(serving, workspace, load, 1.0)
    assert not watch.look()
    second = promote(other, workspace)
    golden = tmp_path / "registry" / "bundles" / second / "golden.json"
    content = golden.read_bytes()
    golden.write_bytes(content[:-1] + b" ")
    for _ in range(5):
        assert not watch.look()
    assert len(loaded) == 2, "a bundle that was refused is not tried again at once"
    assert serving.current.version == first
    golden.write_bytes(content)
    workspace.promote(first, "run-1")
    assert not watch.look()
    workspace.promote(second, "run-1")
    assert watch.look(), "a new promotion is looked at anew"
    assert serving.current.version == second
    before = serving.previous
    assert before is not None
    workspace.promote(first, "run-1")
    assert watch.look()
    assert serving.current is before, "a rollback loads nothing"
    assert len(loaded) == 3


def test_a_workspace_that_cannot_be_read_is_said_once(made: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    workspace, settings = Workspace(str(tmp_path)), ServingSpec()
    first = promote(made / "bundle", workspace)
    serving = Serving(open_service(workspace.bundle(first), "", settings))
    watch = ChampionWatch(serving, workspace, lambda uri: open_service(uri, "", settings), 1.0)
    (tmp_path / "registry" / "champion.json").write_text("{}")
    assert not watch.look()
    assert not watch.look()
    assert caplog.text.count("cannot be read") == 1
    assert serving.current.version == first


def test_sigterm_drains_and_exits_with_0(made: Path) -> None:
    with running("--bundle", str(made / "bundle")) as (process, client, _):
        answers: list[httpx.Response] = []
        stop = threading.Event()

        def ask() -> None:
            with httpx.Client(base_url=client.base_url, trust_env=False, timeout=30) as own:
                while not stop.is_set():
                    try:
                        answers.append(own.get("/v2"))
                    except httpx.ConnectError:
                        return

        threads = [threading.Thread(target=ask) for _ in range(2)]
        for thread in threads:
            thread.start()
        wait_for(lambda: len(answers) > 20)
        kept = httpx.Client(base_url=client.base_url, trust_env=False, timeout=30)
        assert kept.get("/v2/health/ready").json() == {"ready": True}
        process.send_signal(signal.SIGTERM)
        ready = kept.get("/v2/health/ready")
        assert (ready.status_code, ready.json()) == (503, {"ready": False})
        assert ready.headers["connection"] == "close"
        for thread in threads:
            thread.join(20)
        stop.set()
        assert process.wait(15) == 0
        assert {answer.status_code for answer in answers} == {200}, "no request was lost on the way out"


def test_the_token_closes_everything_but_health(made: Path) -> None:
    arguments = ["--bundle", str(made / "bundle"), "--set", "token=ELEC_TOKEN"]
    with running(*arguments, env={"ELEC_TOKEN": "s3cret"}) as (_, client, log):
        assert client.get("/v2/health/live").status_code == 200
        assert client.get("/v2/health/ready").status_code == 200
        for path in ("/v2", "/metrics", "/openapi.json", "/nowhere"):
            for headers in ({}, {"Authorization": "s3cret"}, {"Authorization": "Bearer s3cre"}, {"Authorization": "Bearer ü"}):
                raw = [(name.encode(), value.encode()) for name, value in headers.items()]
                answer = client.get(path, headers=raw)
                assert answer.status_code == 401
                assert answer.headers["www-authenticate"] == "Bearer"
        assert client.get("/v2", headers={"Authorization": "Bearer s3cret"}).status_code == 200
        assert "s3cre" not in log.read_text()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "nothing to serve; give --bundle URI, or --workspace URI for its champion"),
        (["--workspace", "nowhere"], "no model is in service there yet"),
        (["--bundle", "x", "--set", "queue"], "--set queue: not NAME=VALUE"),
        (["--bundle", "x", "--set", "queues=1"], "'queues' is no setting; settings: precision, split"),
        (["--bundle", "x", "--set", "queue=0"], "--set queue=0: Input should be greater than or equal to 1"),
        (["--bundle", "x", "--set", "device=tpu"], "--set device=tpu: Input should be 'auto', 'cpu' or 'cuda'"),
    ],
)
def test_what_cannot_be_started_is_said_in_one_sentence(arguments: list[str], message: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "elec.serving", "--port", "0", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_token_that_is_not_set(made: Path) -> None:
    command = [sys.executable, "-m", "elec.serving", "--port", "0", "--bundle", str(made / "bundle"), "--set", "token=NO_SUCH"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "the environment variable NO_SUCH is not set" in done.stderr
