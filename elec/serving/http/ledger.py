"""Where answered requests are noted: in the figures, and in the access log."""

import time

from elec.serving.http.plans import Told
from elec.serving.telemetry.logs import AccessLog
from elec.serving.telemetry.metrics import Metrics

#: The status that is noted where the client left before its answer.
CLIENT_LEFT = 499


class Ledger:
    """Notes what became of requests.

    Args:
        metrics: Counts them.
        access: Writes a line of some.
    """

    def __init__(self, metrics: Metrics, access: AccessLog) -> None:
        self._metrics = metrics
        self._access = access

    def note(self, about: Told, status: int, started: float) -> None:
        """Notes a request at its end.

        Args:
            about: What its route told of it.
            status: Of the answer.
            started: By `time.perf_counter`.
        """
        seconds = time.perf_counter() - started
        parts = about.seconds
        if parts:
            parts = parts | {"http": max(seconds - sum(parts.values()), 0.0)}
        self._metrics.observe_request(about.route, status, seconds, parts)
        self._access.line(about.route, status, seconds, request=about.request, bundle=about.bundle)
