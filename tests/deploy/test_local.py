"""The server process starts, is ready, and is gone afterwards, however the end comes."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from elec.deploy.local import LocalDeployment
from elec.errors import BlockedError
from elec.spec.serving import ServingSpec


def alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def gone(pid: int, seconds: float = 10) -> bool:
    until = time.monotonic() + seconds
    while alive(pid) and time.monotonic() < until:
        time.sleep(0.02)
    return not alive(pid)


def test_ready_inside_gone_after(made: Path) -> None:
    with LocalDeployment(str(made / "bundle")) as server:
        pid, url = server.pid, server.url
        assert alive(pid)
        assert httpx.get(f"{url}/v2/health/ready", trust_env=False).status_code == 200
    assert not alive(pid)
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{url}/v2/health/ready", trust_env=False)


def test_an_exception_inside_stops_it(made: Path) -> None:
    pids = []

    def fail() -> None:
        with LocalDeployment(str(made / "bundle")) as server:
            pids.append(server.pid)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert not alive(pids[0])


PARENT = """
import sys, time
from elec.deploy.local import LocalDeployment
with LocalDeployment(sys.argv[1]) as server:
    print(server.pid, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGINT])
def test_it_does_not_outlive_the_process_that_started_it(made: Path, number: signal.Signals) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", PARENT, str(made / "bundle")], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    ) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert alive(pid)
        os.kill(parent.pid, number)
    assert gone(pid)


def test_a_server_that_ignores_sigterm_is_killed(made: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stubborn = tmp_path / "stubborn"
    stubborn.write_text(
        f"#!{sys.executable}\nimport signal, sys\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
        "from elec.serving.http import server\nfrom elec.serving.__main__ import main\n"
        "import uvicorn\nuvicorn.Server.handle_exit = lambda self, number, frame: None\nsys.exit(main(sys.argv[3:]))\n"
    )
    stubborn.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(stubborn))
    monkeypatch.setattr("elec.deploy.local._SECONDS_TO_END", 0.5)
    with LocalDeployment(str(made / "bundle"), settings=ServingSpec(drain_seconds=0.1)) as server:
        pid = server.pid
    assert not alive(pid)


def test_a_bundle_that_is_refused(copy: Path) -> None:
    (copy / "golden.json").unlink()
    with (
        pytest.raises(BlockedError, match=r"exit code 2 before it was ready: .*'golden\.json' is missing"),
        LocalDeployment(str(copy)),
    ):
        pass


def test_not_ready_in_time(made: Path) -> None:
    deployment = LocalDeployment(str(made / "bundle"), deadline=0.0)
    with pytest.raises(BlockedError, match="was not ready after 0 seconds"), deployment:
        pass
    assert deployment.pid == 0


def test_two_side_by_side(made: Path) -> None:
    with LocalDeployment(str(made / "bundle")) as one, LocalDeployment(str(made / "bundle")) as other:
        assert one.url != other.url
        for server in (one, other):
            assert httpx.get(f"{server.url}/v2/health/ready", trust_env=False).status_code == 200
