"""Two real server processes behind one port: the good challenger is promoted, every other one is rolled back by itself."""

import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest

from elec.deploy import CanaryReport, CanaryRolledBackError, put_in_service
from elec.errors import BlockedError
from elec.runs.page import build_page
from elec.runs.summary import summarise
from elec.runs.workspace import Workspace
from elec.serving.http.server import bind
from elec.serving.manifest import read_manifest
from elec.serving.publish import publish_bundle
from elec.spec import Spec
from elec.steps.deploy import deploy as deploy_step
from elec.steps.job import Job
from tests.deploy.test_local import alive
from tests.serving.made import SPEC, make_bundle, variant


def canary_spec(**canary: float) -> Spec:
    content = SPEC.model_dump()
    # Two processes, a proxy and a client share what cores there are: the tails of a good challenger may differ.
    content["run"]["deploy"]["canary"] |= {"share": 50, "seconds": 4, "requests": 8, "max_latency_ratio": 8} | canary
    return Spec.model_validate(content)


@pytest.fixture
def workspace(made: Path, tmp_path: Path) -> Workspace:
    """With a champion."""
    space = Workspace(str(tmp_path / "runs"))
    champion = variant(made / "bundle", tmp_path / "champion", as_of=datetime(2024, 4, 1, tzinfo=UTC))
    publish_bundle(tmp_path / "champion", space)
    space.promote(champion.bundle_id, "run-0")
    return space


def rolled_back(spec: Spec, uri: str, workspace: Workspace, feast: Path) -> CanaryReport:
    before = workspace.champion()
    with pytest.raises(CanaryRolledBackError, match="the champion stays") as caught:
        put_in_service(spec, uri, workspace, "run-1", str(feast))
    assert workspace.champion() == before
    return caught.value.report


def test_a_good_challenger_is_promoted(made: Path, feast_folder: Path, workspace: Workspace) -> None:
    before = workspace.champion()
    assert before is not None
    uri = publish_bundle(made / "bundle", workspace)
    report = put_in_service(canary_spec(), uri, workspace, "run-1", str(feast_folder))
    champion = workspace.champion()
    assert champion is not None
    assert (champion.bundle_id, champion.previous) == (report.bundle_id, before.bundle_id)
    canary = report.canary
    assert canary is not None
    assert (canary.state, canary.traffic, canary.share) == ("promoted", "replayed", 50)
    assert (canary.champion.bundle_id, canary.challenger.bundle_id) == (before.bundle_id, report.bundle_id)
    assert canary.challenger.requests >= 8
    assert canary.challenger.errors == canary.champion.errors == 0
    assert canary.challenger.scores >= 20 * canary.challenger.requests > 0
    assert canary.score_psi is not None
    assert canary.score_psi < 0.25
    assert canary.challenger.p99_ms is not None


def test_one_that_scores_otherwise_is_rolled_back(made: Path, feast_folder: Path, workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "features").symlink_to(made / "features")
    make_bundle(tmp_path, seed=5)
    # Few requests could differ by chance; with many it ends as soon as it is clear.
    spec = canary_spec(seconds=20, requests=40)
    report = rolled_back(spec, publish_bundle(tmp_path / "bundle", workspace), workspace, feast_folder)
    assert report.state == "rolled_back"
    assert "scores otherwise than the champion" in report.reasons[0]
    assert report.score_psi is not None
    assert report.score_psi > 0.25


SPOILT = """#!{python}
import os, sys
arguments = sys.argv[3:]
from elec.serving import {module} as module
ask = module.{name}
count = 0
def spoilt(self, *given, **other):
    global count
    count += 1
    if {bundle!r} in " ".join(arguments) and count > 5:
        {what}
    return ask(self, *given, **other)
module.{name} = spoilt
from elec.serving.__main__ import main
sys.exit(main(arguments))
"""


def spoil(path: Path, bundle: str, what: str) -> str:
    """A Python that serves as it should, but this bundle, which it ranks with in another way after the smoke test."""
    path.write_text(SPOILT.format(python=sys.executable, module="ranker", name="Ranker.rank", bundle=bundle, what=what))
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("what", "reason"),
    [("raise ZeroDivisionError", "failed on"), ("import time; time.sleep(0.6)", "has a p99 of")],
)
def test_one_that_errs_or_is_slow_is_rolled_back(
    made: Path,
    feast_folder: Path,
    workspace: Workspace,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    what: str,
    reason: str,
) -> None:
    uri = publish_bundle(made / "bundle", workspace)
    monkeypatch.setattr(sys, "executable", spoil(tmp_path / "python", uri, what))
    report = rolled_back(canary_spec(seconds=20, requests=6), uri, workspace, feast_folder)
    assert reason in report.reasons[0]
    assert report.champion.errors == 0


class Client(threading.Thread):
    """Asks without a pause, and keeps what it is answered."""

    def __init__(self, url: str) -> None:
        super().__init__(daemon=True)
        self.url = url
        self.answers: Counter[tuple[int, str]] = Counter()
        self.stopped = threading.Event()

    def run(self) -> None:
        body = {"user": "u1", "items": [f"i{i}" for i in range(20)], "context": {"hour": "5"}}
        with httpx.Client(base_url=self.url, timeout=20, trust_env=False) as client:
            while not self.stopped.is_set():
                response = client.post("/rank", json=body)
                self.answers[response.status_code, response.json().get("bundle", "")] += 1


def in_background(work: Callable[[], None]) -> threading.Thread:
    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    return thread


def children(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            after = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(after[1]) == parent and after[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def test_a_challenger_that_is_killed_costs_no_request(
    made: Path, feast_folder: Path, workspace: Workspace, tmp_path: Path
) -> None:
    uri = publish_bundle(made / "bundle", workspace)
    before = workspace.champion()
    assert before is not None
    outcome: list[BaseException] = []
    decided: list[CanaryReport] = []
    with bind("127.0.0.1", 0) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        client = Client(url)
        spec = canary_spec(seconds=60, requests=10_000)

        def stay(report: CanaryReport, where: str) -> None:
            assert where == url
            decided.append(report)
            # The champion goes on answering behind the same port.
            answered = client.answers.total()
            until = time.monotonic() + 10
            while client.answers.total() < answered + 20 and time.monotonic() < until:
                time.sleep(0.02)
            client.stopped.set()
            client.join(10)

        def deploy() -> None:
            try:
                put_in_service(spec, uri, workspace, "run-1", str(feast_folder), listener=listener, decided=stay)
            except BaseException as error:
                outcome.append(error)

        thread = in_background(deploy)
        wait_until_it_answers(url)
        client.start()
        while len({bundle for _, bundle in client.answers}) < 2:
            time.sleep(0.02)
        (challenger,) = [pid for pid in children(os.getpid()) if uri in Path(f"/proc/{pid}/cmdline").read_text()]
        os.kill(challenger, signal.SIGKILL)
        thread.join(60)
    assert not alive(challenger)
    (error,), (report,) = outcome, decided
    assert isinstance(error, CanaryRolledBackError)
    assert "ended" in report.reasons[0]
    assert report.traffic == "live"
    assert {status for status, _ in client.answers} == {200}, "no request was lost"
    assert workspace.champion() == before
    assert not any(uri in Path(f"/proc/{pid}/cmdline").read_text() for pid in children(os.getpid()))


def wait_until_it_answers(url: str) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        try:
            if httpx.get(f"{url}/v2/health/ready", trust_env=False, timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.05)
    raise AssertionError("it never answered")


def test_a_champion_that_does_not_start_cannot_be_compared_with(made: Path, feast_folder: Path, workspace: Workspace) -> None:
    before = workspace.champion()
    assert before is not None
    Path(workspace.bundle(before.bundle_id), "golden.json").unlink()
    uri = publish_bundle(made / "bundle", workspace)
    with pytest.raises(BlockedError, match=r"cannot be compared with it: set run\.deploy\.canary\.share to 0"):
        put_in_service(canary_spec(), uri, workspace, "run-1", str(feast_folder))
    assert workspace.champion() == before


def test_the_decision_goes_into_the_runs_record(made: Path, feast_folder: Path, workspace: Workspace, tmp_path: Path) -> None:
    """As the last step of a run does it; its window and weights are published already."""
    bundle_id = read_manifest(made / "bundle").bundle_id
    window = tmp_path / "window"
    window.mkdir()
    (window / "profile.json").write_text("{}")
    weights = Path(workspace.weights(bundle_id))
    weights.mkdir(parents=True)
    (weights / "model.json").write_text("{}")
    Path(workspace.feast).symlink_to(feast_folder)
    spec = canary_spec(seconds=1, requests=10_000)
    job = Job(spec=spec, workspace=workspace.uri, run_id="run-1", as_of=datetime(2024, 5, 1, tzinfo=UTC))
    with pytest.raises(CanaryRolledBackError):
        deploy_step(job.model_dump_json(), bundle=str(made / "bundle"), window=str(window), model=str(tmp_path))
    record = job.folder.records()["deploy"]
    assert record["status"] == "blocked"
    assert "10,000 are needed to judge it; the champion stays" in record["error"]["message"]
    report = CanaryReport.model_validate(record["facts"]["canary"])
    assert (report.state, report.challenger.bundle_id) == ("rolled_back", bundle_id)
    page = build_page(summarise(job.folder), job.folder.records())
    assert "Rolled back after" in page


def test_the_first_champion_has_no_canary(made: Path, feast_folder: Path, tmp_path: Path) -> None:
    space = Workspace(str(tmp_path / "first"))
    report = put_in_service(canary_spec(), publish_bundle(made / "bundle", space), space, "run-1", str(feast_folder))
    assert report.canary is None
