"""What a new user gets wrong, and what a machine does to a run: one sentence, an exit code, and nothing half-published."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.pipelines.conftest import Elec, write_log


@pytest.fixture
def here(tmp_path):
    write_log(tmp_path, rows=1500)
    return Elec(tmp_path)


def change(elec: Elec, old: str, new: str) -> None:
    path = elec.folder / "shop.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("source: {path: log.csv}", "source: {path: nowhere.csv}", ["nowhere.csv"]),
        ("source: {path: log.csv}", "sorce: {path: log.csv}", ["sorce", "source"]),
        ("label: {column: click}", "label: {rule: 'clicks => 1'}", ["clicks => 1"]),
        ("label: {column: click}", "label: {column: clicked}", ["clicked", "click"]),
        ("name: hour, kind: numeric", "name: hour, kind: number", ["kind", "number"]),
        ("source: {path: log.csv}", "source: {path: log.csv, delimiter: ';'}", ["log.csv"]),
        ("column: time, unit: iso", "column: time, unit: s", ["time"]),
    ],
    ids=["no-file", "unknown-key", "impossible-rule", "no-column", "wrong-kind", "wrong-delimiter", "wrong-unit"],
)
def test_wrong_specs_end_in_one_sentence_and_exit_code_2(here, old, new, words):
    change(here, old, new)
    done = here("run", "--spec", "shop.yaml")
    said = done.stdout + done.stderr
    assert done.returncode == 2, said
    assert "Traceback" not in said
    for word in words:
        assert word in said


def test_all_one_label_is_refused(here):
    path = here.folder / "log.csv"
    header, *rows = path.read_text().splitlines()
    path.write_text("\n".join([header, *(row[: row.rindex(",")] + ",1" for row in rows)]) + "\n")
    done = here("run", "--spec", "shop.yaml")
    assert done.returncode == 2
    assert "Traceback" not in done.stdout + done.stderr


def test_one_percent_of_broken_lines_is_quarantined_and_five_percent_blocks(here):
    path = here.folder / "log.csv"
    header, *rows = path.read_text().splitlines()
    broken = [row if number % 10 else row.replace(",", ";") for number, row in enumerate(rows)]
    path.write_text("\n".join([header, *broken]) + "\n")
    done = here("run", "--spec", "shop.yaml")
    assert done.returncode == 1, done.stdout + done.stderr
    summary = here.summaries()[-1]
    assert summary["status"] == "blocked"
    assert "log.csv" in summary["error"]


def test_an_as_of_that_is_no_date(here):
    done = here("run", "--spec", "shop.yaml", "--as-of", "yesterday")
    assert done.returncode == 2
    assert "yesterday" in done.stderr


def test_a_killed_run_leaves_no_champion_and_the_next_one_completes(here):
    worker = subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", "run", "--spec", "shop.yaml", "--as-of", "2026-03-01"],
        cwd=here.folder,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 120
    while not list(here.folder.glob("runs/*/steps/textify.json")):
        assert worker.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    steps = subprocess.run(["pgrep", "-f", str(here.folder)], capture_output=True, text=True, check=False).stdout.split()
    os.killpg(worker.pid, signal.SIGKILL)
    for process in steps:
        try:
            os.kill(int(process), signal.SIGKILL)
        except ProcessLookupError:
            continue
    worker.wait()
    assert not list(here.folder.glob("runs/registry/champion.json"))

    done = here("run", "--spec", "shop.yaml", "--as-of", "2026-03-01")
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(here.folder.glob("runs/registry/champion.json"))


def test_drift_blocks_a_broken_window_and_force_trains_all_the_same(here):
    assert here("run", "--spec", "shop.yaml", "--as-of", "2026-03-01").returncode == 0
    champion = (here.folder / "runs/registry/champion.json").read_text()
    write_log(here.folder, rows=1500, seed=2, click_shift=0.5)
    done = here("run", "--spec", "shop.yaml", "--as-of", "2026-03-01")
    assert done.returncode == 1
    blocked = here.summaries()[-1]
    assert blocked["status"] == "blocked"
    assert blocked["drift"]["verdict"] == "block"
    assert blocked["steps"]["build_features"]["status"] == "skipped"
    assert (here.folder / "runs" / blocked["run_id"] / "drift.html").exists()
    assert (here.folder / "runs/registry/champion.json").read_text() == champion

    forced = here("run", "--spec", "shop.yaml", "--as-of", "2026-03-01", "--force")
    assert forced.returncode == 0, forced.stdout + forced.stderr
    assert here.summaries()[-1]["steps"]["evaluate"]["status"] == "done"


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_no_step_goes_on_alone_when_the_command_is_stopped(here, ending):
    command = subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", "run", "--spec", "shop.yaml"],
        cwd=here.folder,
        start_new_session=True,
        # A shell's background job ignores Ctrl-C, and its children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    deadline = time.monotonic() + 120
    while not list(here.folder.glob("runs/*/steps/build_features.json")):
        assert command.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    command.send_signal(ending)
    _, said = command.communicate(timeout=30)
    assert command.returncode == 128 + ending
    assert "Traceback" not in said
    assert subprocess.run(["pgrep", "-f", str(here.folder)], capture_output=True, check=False).returncode == 1
