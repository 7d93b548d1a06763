import io
import json
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest

from elec.serving.telemetry.logs import AccessLog, configure


@pytest.fixture
def lines() -> Iterator[io.StringIO]:
    """The stream of a server that logs access; what pytest had set up is put back."""
    root = logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers = []
    stream = io.StringIO()
    configure(logging.INFO, access=True, stream=stream)
    yield stream
    logging.captureWarnings(False)
    root.handlers = before
    root.setLevel(level)


def read(stream: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_a_record_is_one_line(lines: io.StringIO) -> None:
    logging.getLogger("elec.serving").warning("two\nlines of %s", "text", extra={"request": "r1", "status": 503, "secret": "x"})
    (line,) = read(lines)
    assert line.pop("time").endswith("+00:00")
    assert line == {
        "level": "warning",
        "logger": "elec.serving",
        "message": "two\nlines of text",
        "request": "r1",
        "status": 503,
    }


def test_an_exception_shows_where_and_not_what_the_client_sent(lines: io.StringIO) -> None:
    def fail() -> None:
        try:
            int("the client's secret")
        except ValueError as error:
            raise RuntimeError("about the client's secret") from error

    try:
        fail()
    except RuntimeError:
        logging.getLogger("elec.serving").error("a request failed", exc_info=True)
    (line,) = read(lines)
    assert "secret" not in lines.getvalue()
    exception = line["exception"]
    assert exception["type"] == "builtins.RuntimeError"
    assert exception["cause"]["type"] == "builtins.ValueError"
    assert exception["frames"][-1].endswith(" fail")
    assert "test_logs.py:" in exception["frames"][-1]


def test_the_systems_own_words_are_kept(lines: io.StringIO) -> None:
    try:
        Path("/nowhere/file").read_bytes()
    except OSError:
        logging.getLogger("elec").exception("cannot write")
    (line,) = read(lines)
    assert line["exception"]["reason"] == "No such file or directory"


def test_access_lines(lines: io.StringIO) -> None:
    AccessLog(1.0).line("/rank", 200, 0.0012344, request="r" * 1000, bundle="b1")
    (line,) = read(lines)
    assert line["request"] == "r" * 128
    assert (line["route"], line["status"], line["ms"], line["bundle"]) == ("/rank", 200, 1.234, "b1")
    assert line["logger"] == "elec.access"


def test_access_lines_are_sampled_and_failures_are_not(lines: io.StringIO) -> None:
    some, none = AccessLog(0.2), AccessLog(0.0)
    for _ in range(1000):
        some.line("/rank", 200, 0.001)
        none.line("/rank", 200, 0.001)
        none.line("/rank", 500, 0.001)
    assert 130 < len(read(lines)) < 280
    some.line("/rank", 500, 0.001)
    assert read(lines)[-1]["status"] == 500


def test_warnings_and_other_loggers_are_json_too(lines: io.StringIO) -> None:
    logging.getLogger("another.library").warning("It took long.")
    warnings.warn("old", RuntimeWarning, stacklevel=1)
    assert [line["logger"] for line in read(lines)] == ["another.library", "py.warnings"]


def test_access_lines_are_off_unless_asked_for() -> None:
    stream, root = io.StringIO(), logging.getLogger()
    before, level = root.handlers[:], root.level
    root.handlers = []
    try:
        configure(stream=stream)
        AccessLog(1.0).line("/rank", 200, 0.001)
        logging.getLogger("elec.serving").info("started")
    finally:
        logging.captureWarnings(False)
        root.handlers = before
        root.setLevel(level)
    assert stream.getvalue() == ""
