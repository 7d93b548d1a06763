"""The prediction log on a real disk; a writer that is killed in the middle of its work is a process of its own."""

import contextlib
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pyarrow.parquet as pq
import pytest

from elec.errors import InputError
from elec.serving.telemetry.prediction_files import PATTERN, PredictionFiles
from elec.serving.telemetry.prediction_log import PredictionLog
from elec.spec.fields import FieldSpec
from elec.spec.serving import ServingSpec
from tests.serving.described import describe
from tests.serving.made import frame

NOW = datetime(2026, 5, 1, 12, 30, 0, 123456, tzinfo=UTC)
ALL = ServingSpec(log_share=1.0)


def offer(log: PredictionLog, request: str = "r1", rows: int = 5, seed: int = 0, number: int = 0) -> bool:
    scores = np.linspace(0.1, 0.9, rows, dtype=np.float32)
    return log.offer(request, frame(rows, seed), scores, describe(number).bundle_id, NOW)


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob(PATTERN))


def read(folder: Path) -> pa.Table:
    return pyarrow.dataset.dataset(files(folder)).to_table()


def wait(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.01)


def test_rows_are_raw_features_with_scores(tmp_path: Path) -> None:
    records = frame(5, 3)
    # As a client may send them.
    sent = records.slice(0, 2).set_column(records.column_names.index("hour"), "hour", pa.array([7, None], pa.int64()))
    with PredictionLog(tmp_path, ALL, describe()) as log:
        assert log.sampled()
        assert offer(log, seed=3)
        assert log.offer("r2", sent, np.float32([0.25, 0.5]), describe().bundle_id, NOW)
    table = read(tmp_path)
    assert table.schema.names == [
        *("request_id", "time", "user_id", "item_id", "age", "city", "genres", "price", "hour"),
        *("score", "version", "degraded"),
    ]
    assert table.schema.field("time").type == pa.timestamp("us", tz="UTC")
    assert table.schema.field("score").type == pa.float32()
    assert table.schema.field("genres").type == pa.list_(pa.string())
    fields = ["user_id", "item_id", "age", "city", "genres", "price", "hour"]
    assert table.slice(0, 5).select(fields).to_pylist() == records.select(fields).to_pylist()
    assert table.slice(5).to_pylist()[0] == {
        "request_id": "r2",
        "time": NOW,
        **{name: records.column(name)[0].as_py() for name in fields},
        "hour": "7",
        "score": 0.25,
        "version": describe().bundle_id,
        "degraded": False,
    }
    figures = log.figures()
    assert (figures.rows, figures.dropped, figures.files) == (7, 0, 1)
    assert figures.bytes == sum(file.stat().st_size for file in files(tmp_path))


def test_a_field_may_be_called_as_a_column_of_the_log(tmp_path: Path) -> None:
    fields = (*describe().fields, FieldSpec(name="Score"), FieldSpec(name="time"))
    manifest = describe(fields=fields)
    records = frame(1, 0).append_column("Score", [["high"]]).append_column("time", [["noon"]])
    with PredictionLog(tmp_path, ALL, manifest) as log:
        log.offer("r", records, np.float32([0.5]), manifest.bundle_id, NOW)
    (row,) = read(tmp_path).to_pylist()
    assert (row["time"], row["time_"], row["Score"], row["score_"]) == ("noon", NOW, "high", 0.5)


def test_records_that_do_not_fit_are_left_out(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with PredictionLog(tmp_path, ALL, describe()) as log:
        log.offer("r", frame(4, 0), np.zeros(5, np.float32), describe().bundle_id, NOW)
        log.offer("r", frame(5, 0).drop_columns(["age"]), np.zeros(5, np.float32), describe().bundle_id, NOW)
        offer(log)
    assert log.figures()[:3] == (5, 10, 1)
    assert caplog.text.count("they are left out") == 2


def test_an_id_has_a_bound(tmp_path: Path) -> None:
    with PredictionLog(tmp_path, ALL, describe()) as log:
        offer(log, "x" * 10**7, rows=1000)
    assert set(read(tmp_path).column("request_id").to_pylist()) == {"x" * 128}


def test_a_share_of_the_requests_is_sampled(tmp_path: Path) -> None:
    with PredictionLog(tmp_path, ServingSpec(log_share=0.2), describe()) as log:
        assert 120 < sum(log.sampled() for _ in range(1000)) < 280
    with PredictionLog(tmp_path, ServingSpec(), describe()) as log:
        assert not any(log.sampled() for _ in range(100))


def test_files_end_by_rows(tmp_path: Path) -> None:
    settings = ServingSpec(log_share=1.0, log_rows=10)
    with PredictionLog(tmp_path, settings, describe()) as log:
        for number in range(7):
            offer(log, f"r{number}")
    assert [pq.read_metadata(file).num_rows for file in files(tmp_path)] == [10, 10, 10, 5]
    assert read(tmp_path).column("request_id").to_pylist() == [f"r{number}" for number in range(7) for _ in range(5)]


def test_files_end_by_seconds(tmp_path: Path) -> None:
    settings = ServingSpec(log_share=1.0, log_seconds=0.3)
    with PredictionLog(tmp_path, settings, describe()) as log:
        began = time.monotonic()
        offer(log)
        wait(lambda: log.figures().files == 1)
        assert time.monotonic() - began >= 0.3
        # Nothing to write, no file.
        time.sleep(0.5)
        assert log.figures().files == 1
        # A stream of requests does not put the end off.
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            offer(log)
            time.sleep(0.01)
        assert log.figures().files >= 3


def test_what_was_scored_without_the_feature_store_says_so(tmp_path: Path) -> None:
    records, scores_N = frame(4, 3), np.full(4, 0.5, np.float32)
    with PredictionLog(tmp_path, ALL, describe()) as log:
        log.offer("whole", records, scores_N, describe().bundle_id, NOW)
        log.offer("less", records, scores_N, describe().bundle_id, NOW, degraded=True)
    table = read(tmp_path)
    assert table["degraded"].to_pylist() == [False] * 4 + [True] * 4
    assert table["request_id"].to_pylist() == ["whole"] * 4 + ["less"] * 4


def test_a_swap_may_change_the_fields(tmp_path: Path) -> None:
    other = describe(1, fields=describe().fields[:3])
    with PredictionLog(tmp_path, ALL, describe()) as log:
        offer(log)
        assert not offer(log, number=1), "the log does not know that bundle yet"
        log.serves(other)
        offer(log, number=1)
        offer(log, number=0)
    widths = [len(pq.read_schema(file).names) for file in files(tmp_path)]
    assert widths == [12, 8, 12]
    assert log.figures().dropped == 5


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """A disk that hangs until the event."""
    released = threading.Event()
    add = PredictionFiles.add

    def hang(self: PredictionFiles, content: pa.Buffer) -> Path:
        released.wait(30)
        return add(self, content)

    monkeypatch.setattr(PredictionFiles, "add", hang)
    yield released
    released.set()


def test_a_full_queue_drops_and_never_waits(tmp_path: Path, disk: threading.Event) -> None:
    with PredictionLog(tmp_path, ServingSpec(log_share=1.0, log_seconds=0.05), describe()) as log:
        offer(log)
        time.sleep(0.5)
        records, scores, bundle = frame(5, 0), np.zeros(5, np.float32), describe().bundle_id
        began = time.thread_time()
        taken = [log.offer("r", records, scores, bundle, NOW) for _ in range(5000)]
        assert (time.thread_time() - began) / 5000 < 200e-6
        assert sum(taken) == 1024
        assert log.figures().dropped == (5000 - 1024) * 5
        disk.set()
        wait(lambda: log.figures().rows > 0)
        wait(lambda: offer(log))


def test_a_full_queue_is_one_of_bytes_too(tmp_path: Path, disk: threading.Event) -> None:
    large = frame(1, 0).set_column(0, "city", [["x" * 2**24]])
    with PredictionLog(tmp_path, ServingSpec(log_share=1.0, log_rows=1), describe()) as log:
        offer(log, rows=1)
        time.sleep(0.2)
        taken = [log.offer("r", large, np.zeros(1, np.float32), describe().bundle_id, NOW) for _ in range(10)]
        assert taken == [True] * 3 + [False] * 7
        disk.set()


def test_after_its_end_nothing_is_taken(tmp_path: Path) -> None:
    log = PredictionLog(tmp_path, ALL, describe())
    offer(log)
    log.close()
    log.close()
    assert not offer(log)
    assert log.figures().rows == 5


def test_a_disk_that_hangs_does_not_hold_up_the_end(tmp_path: Path, disk: threading.Event) -> None:
    log = PredictionLog(tmp_path, ALL, describe())
    offer(log)
    began = time.monotonic()
    log.close(0.2)
    assert time.monotonic() - began < 2


def test_the_oldest_files_go_first(tmp_path: Path) -> None:
    log_files = PredictionFiles(tmp_path, 1000)
    (tmp_path / "notes.txt").write_bytes(b"x" * 5000)
    (tmp_path / "predictions-mine.parquet").write_bytes(b"x" * 5000)
    kept = [log_files.add(pa.py_buffer(bytes(300))) for _ in range(5)]
    assert sorted(kept) == kept
    assert [file for file in kept if file.exists()] == kept[2:]
    assert log_files.usage() == (3, 900)
    # Those of others are not its own.
    assert (tmp_path / "notes.txt").exists()
    assert (tmp_path / "predictions-mine.parquet").exists()
    with pytest.raises(ValueError, match="a file of 1,001 bytes"):
        log_files.add(pa.py_buffer(bytes(1001)))
    assert log_files.usage() == (3, 900)
    log_files.add(pa.py_buffer(bytes(1000)))
    assert log_files.usage() == (1, 1000)


def test_the_disk_never_holds_more_than_the_bound(tmp_path: Path) -> None:
    settings = ServingSpec(log_share=1.0, log_rows=2000, log_bytes=2**20)
    most = 0
    draw = np.random.default_rng(0)
    records = frame(500, 0)
    place = records.column_names.index("city")
    with PredictionLog(tmp_path, settings, describe()) as log:
        for number in range(150):
            some = records.set_column(place, "city", [[draw.bytes(40).hex() for _ in range(500)]])
            while not log.offer(f"r{number}", some, draw.random(500, dtype=np.float32), describe().bundle_id, NOW):
                time.sleep(0.01)
            most = max(most, sum(map(_size, tmp_path.iterdir())))
    assert most <= 2**20
    assert 2**18 < log.figures().bytes <= 2**20
    assert log.figures().rows == 75_000
    newest = read(tmp_path).column("request_id").to_pylist()
    assert newest[-1] == "r149"
    assert len(newest) < 75_000


def _size(file: Path) -> int:
    """Of a file that may be removed meanwhile."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0


WRITE = """
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
import numpy as np
import pyarrow.parquet as pq
from elec.serving.manifest import Manifest
from elec.serving.telemetry.prediction_log import PredictionLog
from elec.spec.serving import ServingSpec

folder, given, name = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
manifest = Manifest.model_validate_json((given / "manifest.json").read_bytes())
log = PredictionLog(folder, ServingSpec(log_share=1.0, log_rows=100, log_bytes=2**20), manifest)
records, scores = pq.read_table(given / "records.parquet"), np.zeros(100, np.float32)
print("ready", flush=True)
number = 0
while True:
    number += log.offer(f"{name}-{number}", records, scores, manifest.bundle_id, datetime.now(UTC))
    time.sleep(0.002)
"""


def writer(folder: Path, given: Path, name: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITE, str(folder), str(given), name]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_two_servers_are_killed_in_the_middle_of_their_work(tmp_path: Path) -> None:
    given = tmp_path / "given"
    given.mkdir()
    (given / "manifest.json").write_bytes(describe().to_bytes())
    pq.write_table(frame(100, 0), given / "records.parquet")
    writers = [writer(tmp_path, given, name) for name in "ab"]
    try:
        for process in writers:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
        for process in writers:
            before = set(files(tmp_path))
            wait(lambda before=before: len(set(files(tmp_path)) - before) > 5, 30.0)
            # A file may go while they are counted.
            with contextlib.suppress(FileNotFoundError):
                assert sum(file.stat().st_size for file in files(tmp_path)) <= 2**20
            process.kill()
            process.wait()
    finally:
        for process in writers:
            process.kill()
            process.communicate()
    for file in files(tmp_path):
        assert pq.read_table(file).num_rows == 100
    assert {request[0] for request in read(tmp_path).column("request_id").to_pylist()} == {"a", "b"}
    # Whatever a dead writer left is taken away by the next, and its lock went with it.
    (tmp_path / ".predictions.part").write_bytes(b"half a file")
    with PredictionLog(tmp_path, ALL, describe()) as log:
        assert not (tmp_path / ".predictions.part").exists()
        offer(log)
    assert log.figures().rows == 5


def test_a_disk_that_fails_costs_rows_and_no_requests(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = tmp_path / "log"
    settings = ServingSpec(log_share=1.0, log_rows=5)
    with PredictionLog(folder, settings, describe()) as log, caplog.at_level(logging.WARNING):
        offer(log)
        wait(lambda: log.figures().rows == 5)
        folder.rename(tmp_path / "elsewhere")
        folder.write_text("in the way")
        offer(log)
        wait(lambda: log.figures().dropped == 5)
        assert log.figures() == (5, 5, 0, 0)
        folder.unlink()
        # The folder is made anew.
        offer(log)
    assert log.figures()[:3] == (10, 5, 1)
    assert "cannot be written" in caplog.text


def test_a_folder_that_cannot_be_written_to_is_refused_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"file/log: predictions cannot be logged there \(Not a directory\); give another"):
        PredictionLog(tmp_path / "file" / "log", ALL, describe())


def test_the_clock_of_a_request_is_in_utc(tmp_path: Path) -> None:
    from zoneinfo import ZoneInfo

    with PredictionLog(tmp_path, ALL, describe()) as log:
        there = NOW.astimezone(ZoneInfo("Asia/Tokyo"))
        log.offer("r", frame(1, 0), np.float32([0.1]), describe().bundle_id, there)
    (stamp,) = read(tmp_path).column("time").to_pylist()
    assert stamp == NOW
    assert stamp.utcoffset() == timedelta(0)
