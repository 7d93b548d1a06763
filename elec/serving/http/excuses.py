"""What a request is answered with that fails, or is turned away: one sentence, `{"error": "..."}`."""

import logging

import orjson

from elec.errors import InputError
from elec.features.store_config import OnlineStoreError
from elec.serving.http.admission import RefusedError
from elec.serving.http.plans import Headers, Reply
from elec.serving.http.protocol_errors import RequestError
from elec.serving.predictor import FeatureLookupError
from elec.serving.telemetry.metrics import Metrics

log = logging.getLogger("elec.serving")

#: Seconds after which a client that was turned away may try again.
RETRY_AFTER = 1

#: What there is an excuse for.
EXCUSED = (FeatureLookupError, OnlineStoreError, InputError)

_LATER = ((b"retry-after", str(RETRY_AFTER).encode()),)


class Excuses:
    """Answers for failures, which it counts.

    Args:
        metrics: Counts them.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def reply(self, error: Exception) -> Reply | None:
        """What an exception is answered with; None for what is a fault of our own."""
        if isinstance(error, RefusedError):
            self._metrics.refused(error.kind)
            return refusal(str(error), error.status, _LATER)
        if isinstance(error, FeatureLookupError | OnlineStoreError):
            log.error("%s", error)
            self._metrics.error("store")
            return refusal(str(error), 503, _LATER)
        if isinstance(error, InputError):
            self._metrics.error("request")
            return refusal(str(error), error.status if isinstance(error, RequestError) else 400)
        return None

    def unauthorized(self) -> Reply:
        """For a request without the token."""
        self._metrics.error("unauthorized")
        message = "send the header 'Authorization: Bearer TOKEN' with this server's token"
        return refusal(message, 401, ((b"www-authenticate", b"Bearer"),))

    def internal(self) -> Reply:
        """For a fault of our own."""
        self._metrics.error("internal")
        return refusal("the server failed on this request; its log says why", 500)


def refusal(message: str, status: int, headers: Headers = ()) -> Reply:
    """One sentence as an answer."""
    return Reply(orjson.dumps({"error": message}), status, headers=headers)
