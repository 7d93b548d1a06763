import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import boto3
import numpy as np
import pytest
from moto.server import ThreadedMotoServer

from elec import storage
from elec.errors import BlockedError, InputError
from elec.runs import RunFolder


def test_a_step_tells_what_it_did(tmp_path):
    run = RunFolder(str(tmp_path))
    with run.step("ingest") as record:
        assert run.records()["ingest"]["status"] == "running"
        record.facts["rows"] = {"read": np.int64(3)}
    found = run.records()["ingest"]
    assert (found["status"], found["facts"]) == ("done", {"rows": {"read": 3}})
    assert found["seconds"] >= 0
    assert "error" not in found


@pytest.mark.parametrize(
    ("error", "status", "exit_code", "traced"),
    [
        (InputError("log.csv: column 'click' is missing"), "failed", 2, False),
        (BlockedError("37% of the rows are bad"), "blocked", 1, False),
        (ZeroDivisionError("division by zero"), "failed", 1, True),
        (KeyboardInterrupt(), "failed", 1, True),
    ],
)
def test_what_ends_a_step_is_recorded_and_raised_on(tmp_path, error, status, exit_code, traced):
    run = RunFolder(str(tmp_path))

    def fail():
        with run.step("ingest") as record:
            record.facts["read"] = 7
            raise error

    with pytest.raises(type(error)):
        fail()
    found = run.records()["ingest"]
    assert found["status"] == status
    assert found["error"]["exit_code"] == exit_code
    assert found["error"]["message"] == (str(error) or "KeyboardInterrupt")
    assert bool(found["error"]["trace"]) is traced
    assert found["facts"] == {"read": 7}


def test_facts_of_any_kind_do_not_end_a_step(tmp_path):
    run = RunFolder(str(tmp_path))
    with run.step("distill") as record:
        record.facts = {"best": {7: 0.5}, "where": Path("/x"), "auc": float("nan"), "curve": np.arange(2.0)}
    assert run.records()["distill"]["facts"] == {"best": {"7": 0.5}, "where": "/x", "auc": None, "curve": [0.0, 1.0]}


def test_records_come_in_the_order_of_their_start(tmp_path):
    run = RunFolder(str(tmp_path))
    for name in ("textify", "encode_text-1", "adapt_llm", "encode_text-0"):
        with run.step(name):
            time.sleep(0.002)
    assert list(run.records()) == ["textify", "encode_text-1", "adapt_llm", "encode_text-0"]


def test_a_retried_step_has_one_record(tmp_path):
    run = RunFolder(str(tmp_path))
    with pytest.raises(ValueError, match="once"), run.step("ingest"):
        raise ValueError("once")
    with run.step("ingest"):
        pass
    assert run.records()["ingest"]["status"] == "done"


def test_files_that_are_no_records_are_passed_over(tmp_path):
    run = RunFolder(str(tmp_path))
    with run.step("ingest"):
        run.put("steps/ingest.log", b"not JSON")
    assert list(run.records()) == ["ingest"]


def test_a_run_without_records(tmp_path):
    assert RunFolder(str(tmp_path / "nothing")).records() == {}


def test_a_killed_step_still_says_that_it_runs(tmp_path):
    code = (
        "import sys, time; from elec.runs import RunFolder\n"
        "with RunFolder(sys.argv[1]).step('distill'):\n"
        "    print('in', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"in\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert RunFolder(str(tmp_path)).records()["distill"]["status"] == "running"


def test_files_are_kept_and_found(tmp_path):
    run = RunFolder(str(tmp_path / "run"))
    assert run.get("index.html") is None
    source = tmp_path / "page.html"
    source.write_text("hello")
    assert storage.read_bytes(run.put_file("index.html", source)) == b"hello"
    assert run.get("index.html") == b"hello"
    with pytest.raises(InputError, match="leads out"):
        run.put("../elsewhere", b"")


@pytest.fixture
def bucket(monkeypatch):
    """A bucket on an S3 server of the test's own."""
    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://{host}:{port}")
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    boto3.client("s3").create_bucket(Bucket="runs")
    yield "s3://runs"
    server.stop()


def test_a_run_folder_on_s3(bucket):
    run = RunFolder(f"{bucket}/team/a-run")
    with run.step("ingest") as record:
        record.facts["rows"] = {"read": 3}
    with pytest.raises(BlockedError), run.step("check_drift"):
        raise BlockedError("the label is gone")
    assert [record["status"] for record in run.records().values()] == ["done", "blocked"]
    assert run.get("summary.json") is None
    assert json.loads(run.get("steps/ingest.json"))["facts"] == {"rows": {"read": 3}}
