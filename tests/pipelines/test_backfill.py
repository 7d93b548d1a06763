"""A backfill: one run a day, in order, and a day that is done is not run again."""

import os
import re
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime

import pytest

from elec.errors import InputError
from pipelines.backfill import moments
from tests.pipelines.conftest import Elec, write_log

FROM, TO = "2026-01-03", "2026-01-04"


def test_days_and_other_steps():
    assert [f"{day:%m-%d}" for day in moments("2026-01-30", "2026-02-02", "1d")] == ["01-30", "01-31", "02-01", "02-02"]
    assert list(moments("2026-01-01", "2026-01-01", "7d")) == [datetime(2026, 1, 1, tzinfo=UTC)]
    assert [day.hour for day in moments("2026-01-01", "2026-01-01T23:59:00", "6h")] == [0, 6, 12, 18]


@pytest.mark.parametrize(
    ("start", "end", "every", "pattern"),
    [
        ("soon", "2026-01-02", "1d", "'soon' is not a date"),
        ("", "2026-01-02", "1d", "need a date each"),
        ("2026-01-02", "2026-01-01", "1d", "is before --from"),
        ("2026-01-01", "2026-01-02", "0d", "'0d' is not a duration; write hours or days"),
        ("2026-01-01", "2026-01-02", "daily", "'daily' is not a duration"),
        ("1926-01-01", "2026-01-02", "1h", "more than 10,000 runs"),
    ],
)
def test_one_sentence(start, end, every, pattern):
    with pytest.raises(InputError, match=pattern):
        list(moments(start, end, every))


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Elec:
    folder = tmp_path_factory.mktemp("shop")
    write_log(folder, rows=1400)
    spec = folder / "shop.yaml"
    spec.write_text(spec.read_text().replace("epochs: 8", "epochs: 1") + "  text: {history: 0}\n")
    return Elec(folder)


def test_killed_in_the_middle_it_goes_on_where_it_stopped(shop):
    arguments = ["backfill", "--spec", "shop.yaml", "--from", FROM, "--to", TO]
    with subprocess.Popen(
        [sys.executable, "-m", "pipelines.cli", *arguments],
        cwd=shop.folder,
        env={**os.environ, "NO_COLOR": "1"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert re.match(rf"{FROM}  done  train [\d,]+ rows  AUC 0\.\d{{4}}  gate promote  \d+ s  run \S+\n", first)
        deadline = time.monotonic() + 120
        while len(list(shop.folder.glob("runs/*/spec.json"))) < 2 and time.monotonic() < deadline:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
    again = shop(*arguments, timeout=900)
    assert again.returncode == 0, again.stdout + again.stderr
    lines = again.stdout.splitlines()
    assert len(lines) == 2
    assert lines[0] == f"{FROM}  skipped: done in run {first.split()[-1]}"
    assert lines[1].startswith(f"{TO}  done  train ")
    runs = [summary for summary in shop.summaries() if summary["status"] == "done"]
    assert [summary["as_of"][:10] for summary in runs] == [FROM, TO]
    assert runs[0]["rows"]["train"] < runs[1]["rows"]["train"], "each day sees the log as it stood then"
    assert "champion" in runs[1]["metrics"], "the second day meets the first day's model"
    # The log is one file: it was read once.
    assert len(list(shop.folder.glob("runs/segments/shop/*/*"))) == 1


def test_a_day_without_data_ends_it(shop):
    found = shop("backfill", "--spec", "shop.yaml", "--from", "2025-01-01", "--to", "2025-01-03")
    assert found.returncode == 2
    assert len(found.stdout.splitlines()) == 1
    assert "later than as_of" in found.stdout
