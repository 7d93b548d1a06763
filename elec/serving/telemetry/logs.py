"""Structured logs: one line of JSON a record, on stderr. What clients send, and their tokens, are never in it."""

import logging
import random
import sys
import traceback
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, TextIO

import orjson

#: What a record may say beyond its message: `log.info("...", extra={"request": ..., "ms": ...})`.
EXTRA = ("request", "bundle", "route", "status", "ms")

_ACCESS = logging.getLogger("elec.access")


class JsonFormatter(logging.Formatter):
    """A record as one line of JSON: time, level, logger, message, then what there is of `EXTRA`, then the exception.

    An exception is shown by its type and its frames. Its message is left out, for it may quote what a client sent; only the
    operating system's own words (`OSError`) are kept.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: vars(record)[name] for name in EXTRA if name in vars(record)}
        if record.exc_info and record.exc_info[1] is not None:
            line["exception"] = _exception(record.exc_info[1], record.exc_info[2])
        return orjson.dumps(line, default=str).decode()


class AccessLog:
    """Access lines at INFO, for a share of the requests.

    Args:
        share: 0 for none, 1 for all. An answer of 500 and above is always logged, unless the share is 0.
    """

    def __init__(self, share: float = 0.0) -> None:
        self._share = share

    def line(self, route: str, status: int, seconds: float, *, request: str = "", bundle: str = "") -> None:
        """Logs an answered request, or leaves it out.

        Args:
            route: The route's own path; what the client wrote may hold anything.
            status: Of the answer.
            seconds: All of its time.
            request: Its id.
            bundle: The bundle that answered.
        """
        if not self._share or (status < 500 and self._share < 1 and random.random() >= self._share):  # noqa: S311
            return
        extra = {"request": request[:128], "bundle": bundle, "route": route, "status": status, "ms": round(seconds * 1e3, 3)}
        _ACCESS.info("answered", extra=extra)


def configure(level: int = logging.WARNING, *, access: bool = False, stream: TextIO | None = None) -> None:
    """Makes every logger of this process write JSON lines, uvicorn's too (give it `log_config=None`).

    Args:
        level: The least that is logged.
        access: Whether access lines are.
        stream: stderr, if left out.
    """
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level, handlers=[handler], force=True)
    logging.captureWarnings(True)
    _ACCESS.setLevel(logging.INFO if access else logging.CRITICAL)


def _exception(error: BaseException, trace: TracebackType | None) -> dict[str, Any]:
    told: dict[str, Any] = {"type": f"{type(error).__module__}.{type(error).__qualname__}"}
    if isinstance(error, OSError) and error.strerror:
        told["reason"] = error.strerror
    told["frames"] = [f"{frame.filename}:{frame.lineno} {frame.name}" for frame in traceback.extract_tb(trace)]
    if error.__cause__ is not None:
        told["cause"] = _exception(error.__cause__, error.__cause__.__traceback__)
    return told
