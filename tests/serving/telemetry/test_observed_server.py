"""What a real server process tells of itself: figures, log lines, and the prediction log, which feeds the drift check."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest
from prometheus_client.parser import text_string_to_metric_families

from elec.drift import check_predictions, profile
from elec.ingest import ingest
from elec.serving.bundle import Bundle, open_bundle
from elec.serving.http.protocol import infer_request
from elec.serving.http.server import bind
from elec.serving.telemetry.prediction_files import PATTERN
from elec.spec import Spec
from elec.spec.run import DriftSpec
from tests.serving.made import SPEC, frame, items_table, users_table

INFER = "/v2/models/elec/infer"
REQUESTS = 300


@dataclass
class Running:
    """A server process, its client and where it writes."""

    process: subprocess.Popen[bytes]
    client: httpx.Client
    folder: Path
    stderr: Path

    def figures(self) -> dict[str, float]:
        """What it counts, by name and labels."""
        return {
            sample.name + "".join(f" {name}={value}" for name, value in sorted(sample.labels.items())): sample.value
            for family in text_string_to_metric_families(self.client.get("/metrics").text)
            for sample in family.samples
        }

    def lines(self) -> list[dict[str, object]]:
        """Its log; what it tells people is no record."""
        return [json.loads(line) for line in self.stderr.read_text().splitlines() if line.startswith("{")]


@contextmanager
def running(bundle: Bundle, feast: Path | str, root: Path, *arguments: str) -> Iterator[Running]:
    stderr = root / "stderr.txt"
    with bind("127.0.0.1", 0) as listener, stderr.open("wb") as log:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        command = [sys.executable, "-m", "elec.serving", "--bundle", str(bundle.folder), "--feast", str(feast)]
        handed = ["--fd", str(listener.fileno()), "--parent", str(os.getpid())]
        process = subprocess.Popen([*command, *handed, *arguments], pass_fds=[listener.fileno()], stderr=log)
    try:
        with httpx.Client(base_url=url, trust_env=False, timeout=30) as client:
            wait(lambda: is_ready(client), 60)
            yield Running(process, client, root / "log", stderr)
    finally:
        process.kill()
        process.wait()


def is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/v2/health/ready").status_code == 200
    except httpx.TransportError:
        return False


def wait(condition: Callable[[], bool], seconds: float = 15.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)


@pytest.fixture(scope="module")
def bundle(made: Path) -> Bundle:
    return open_bundle(made / "bundle")


def read(folder: Path) -> pa.Table:
    return pyarrow.dataset.dataset(sorted(folder.glob(PATTERN))).to_table().sort_by([("time", "ascending")])


def test_predictions_are_logged_and_feed_the_drift_check(bundle: Bundle, feast_folder: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    manifest = bundle.manifest
    draw = np.random.default_rng(3)
    answers = {}
    with running(bundle, feast_folder, tmp_path, "--prediction-log", str(log), "--set", "log_share=1") as server:
        for number in range(REQUESTS):
            items = [f"i{item}" for item in draw.integers(60, size=20)]
            hour = int(draw.integers(24))
            # As in the training window.
            asked = {"user": f"u{draw.integers(40)}", "candidates": items, "context": {"hour": None if hour == 3 else hour}}
            answer = server.client.post("/rank", json=asked | {"id": f"rank-{number}"})
            answers[f"rank-{number}"] = (asked, answer.json()["scores"])
        records = frame(30, 9)
        scores = server.client.post(INFER, json=infer_request(records, manifest.fields) | {"id": "infer"}).json()
        answers["infer"] = ({}, scores["outputs"][0]["data"])
        figures = server.figures()
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0

    # Every row is there, with the scores that were answered and the features that they came from.
    table = read(log)
    assert table.num_rows == REQUESTS * 20 + 30
    assert set(table.column("version").to_pylist()) == {manifest.bundle_id}
    for request, (asked, scored) in answers.items():
        rows = table.filter(pc.equal(table["request_id"], request))
        np.testing.assert_array_equal(np.float32(rows["score"]), np.float32(scored))
        if asked:
            assert rows["item_id"].to_pylist() == asked["candidates"]
            assert set(rows["user_id"].to_pylist()) == {asked["user"]}
            hour = asked["context"]["hour"]
            assert set(rows["hour"].to_pylist()) == {None if hour is None else str(hour)}
    prices = dict(zip(items_table()["item_id"].to_pylist(), items_table()["price"].to_pylist(), strict=True))
    assert table["price"].to_pylist()[:200] == [prices[item] for item in table["item_id"].to_pylist()[:200]]
    logged = table.filter(pc.equal(table["request_id"], "infer")).select([field.name for field in manifest.fields])
    assert logged.to_pylist() == records.select(logged.column_names).to_pylist()

    # The figures say the same.
    assert figures["elec_requests_total route=/rank status=200"] == REQUESTS
    assert figures[f"elec_requests_total route={INFER} status=200"] == 1
    assert figures["elec_request_seconds_count route=/rank"] == REQUESTS
    assert figures[f"elec_scores_count bundle={manifest.bundle_id}"] == REQUESTS * 20 + 30
    assert {figures[f"elec_part_seconds_count part={part}"] for part in ("encode", "model", "http")} == {REQUESTS + 1}
    assert figures["elec_part_seconds_count part=look_up"] == REQUESTS
    assert figures["elec_in_flight"] in {0, 1}
    assert figures[f"elec_bundle_info bundle={manifest.bundle_id} code=abc precision=float32"] == 1
    assert figures["elec_prediction_log_dropped_total"] == 0

    # The check compares them with the window that the bundle was trained on.
    window = Window(tmp_path / "window")
    verdict = check_predictions(log, manifest, profile(window, SPEC.dataset), DriftSpec())
    assert verdict.verdict in {"ok", "warn"}
    assert set(verdict.fields) == {"user_id", "item_id", "age", "city", "genres", "price", "hour"}
    dearer = profile(window.dearer(), SPEC.dataset)
    assert check_predictions(log, manifest, dearer, DriftSpec()).fields["price"].verdict == "block"

    # With clicks beside it, it is a log like any other: a spec reads it, and the next model can be trained on it.
    clicks = log.parent / "clicked" / "log.parquet"
    clicks.parent.mkdir()
    pq.write_table(table.append_column("click", pa.array(draw.integers(0, 2, table.num_rows))), clicks)
    content = SPEC.model_dump(mode="json")["dataset"] | {"source": {"path": str(clicks)}}
    content["fields"] = [field for field in content["fields"] if field["kind"] != "text"]
    report = ingest(
        Spec.model_validate({"dataset": content}).dataset,
        tmp_path / "ingested",
        as_of=datetime.now(UTC),
    )
    assert (report.rows_kept, report.rows_quarantined) == (table.num_rows, 0)


class Window:
    """The training window of the made bundle, as ingest leaves it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        self.train, self.users, self.items = (folder / f"{name}.parquet" for name in ("train", "users", "items"))
        pq.write_table(frame(800, 1), self.train)
        pq.write_table(users_table(), self.users)
        pq.write_table(items_table(), self.items)

    def dearer(self) -> "Window":
        items = items_table()
        place = items.column_names.index("price")
        pq.write_table(items.set_column(place, "price", pc.add(items["price"], 1000.0)), self.items)
        return self


def test_unknown_keys_caches_and_mistakes_are_counted(bundle: Bundle, feast_folder: Path, tmp_path: Path) -> None:
    with running(bundle, feast_folder, tmp_path, "--access-log", "1") as server:
        secret = "the client's own words"
        server.client.post(
            "/rank", json={"user": "nobody", "items": ["i1", "i2", "no such item"]}, headers={"X-Request-Id": "r1"}
        )
        server.client.post("/rank", json={"user": "u1", "items": ["i1", "i2"], "context": {"hour": secret}})
        server.client.post("/rank", json={"user": "u1", "items": ["i1"], "context": {secret: 1}})
        server.client.post("/rank", content=f'{{"{secret}'.encode())
        server.client.get(f"/{secret}")
        figures = server.figures()
        lines = server.lines()
        written = server.stderr.read_text()
    assert figures["elec_requests_total route=/rank status=200"] == 2
    assert (
        figures["elec_requests_total route=/rank status=400"] + figures.get("elec_requests_total route=/rank status=422", 0)
        == 2
    )
    assert figures["elec_requests_total route=other status=404"] == 1
    assert figures["elec_unknown_total entity=user"] == 1
    assert figures["elec_unknown_total entity=item"] == 1
    assert figures["elec_item_cache_hits_total"] == 2
    assert figures["elec_item_cache_misses_total"] == 3
    assert figures["elec_errors_total kind=request"] >= 2
    # A line a request, and nothing of what was sent.
    access = [line for line in lines if line["logger"] == "elec.access" and line["route"] == "/rank"]
    assert [line["status"] for line in access][:2] == [200, 200]
    assert access[0]["request"] == "r1"
    assert access[0]["bundle"] == bundle.manifest.bundle_id
    assert 0 < float(str(access[0]["ms"])) < 10_000
    assert "own words" not in written


def test_kill_leaves_whole_files_only(bundle: Bundle, tmp_path: Path) -> None:
    log = tmp_path / "log"
    settings = [f"--set={name}" for name in ("log_share=1", "log_rows=200", "log_seconds=0.2")]
    with running(bundle, "", tmp_path, "--prediction-log", str(log), *settings) as server:
        content = infer_request(frame(100, 1), bundle.manifest.fields)
        answered = 0
        while len(list(log.glob(PATTERN))) < 5:
            assert server.client.post(INFER, json=content).status_code == 200
            answered += 1
        server.process.kill()
        server.process.wait()
    rows = sum(pq.read_table(file).num_rows for file in log.glob(PATTERN))
    # What is lost was in memory: a file's worth, and what the queue held.
    assert 5 * 100 <= rows <= answered * 100


def test_without_a_share_nothing_is_logged(bundle: Bundle, tmp_path: Path) -> None:
    log = tmp_path / "log"
    with running(bundle, "", tmp_path, "--prediction-log", str(log)) as server:
        server.client.post(INFER, json=infer_request(frame(10, 1), bundle.manifest.fields))
        assert server.figures()["elec_prediction_log_rows_total"] == 0
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(20) == 0
    assert list(log.glob(PATTERN)) == []
