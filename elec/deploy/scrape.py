"""The figures of a version from what its pods count at `GET /metrics`.

The pods are asked themselves, one by one, so it works in any cluster, with Prometheus or without; who asks has to reach pods,
as the pods of a pipeline do. What counts is the difference from where the counters stood in the beginning; what a pod counted
that is gone meanwhile is kept.
"""

import logging
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any

import httpx

from elec.deploy.cluster import Cluster
from elec.deploy.figures import Counts, Figures
from elec.deploy.kserve import CONTAINER, PORT

log = logging.getLogger("elec.deploy")

_SECONDS_FOR_AN_ANSWER = 5.0
_PATHS = ("/rank", "/infer")


class PodFigures:
    """Watches the pods of one version.

    Args:
        cluster: Where they are.
        namespace: Their namespace.
        labels: What they are told by.
        bundle_id: What they serve.
        headers: Of the requests for their metrics: the bearer token.
    """

    def __init__(
        self, cluster: Cluster, namespace: str, labels: Mapping[str, str], bundle_id: str, headers: Mapping[str, str]
    ) -> None:
        self._cluster = cluster
        self._namespace = namespace
        self._labels = labels
        self._bundle_id = bundle_id
        self._client = httpx.Client(headers=dict(headers), timeout=_SECONDS_FOR_AN_ANSWER, trust_env=False)
        self._first: dict[str, Figures] = {}
        self._last: dict[str, Figures] = {}
        self._restarts: dict[str, int] = {}
        self._alive = True

    def close(self) -> None:
        """Gives its connections back."""
        self._client.close()

    def pods(self) -> list[dict[str, Any]]:
        """The pods that have an address."""
        found = self._cluster.pods(self._namespace, self._labels)
        return [pod for pod in found if pod.get("status", {}).get("podIP")]

    def begin(self) -> None:
        """Takes what the pods have counted until now as what does not count."""
        for pod in self.pods():
            uid = pod["metadata"]["uid"]
            self._restarts[uid] = _restarts(pod)
            self._first[uid] = self._last[uid] = self._ask(pod) or Figures()

    def look(self) -> Figures:
        """The figures of all pods since the beginning; a pod that does not answer keeps its last ones."""
        for pod in self.pods():
            uid = pod["metadata"]["uid"]
            self._alive = self._alive and _restarts(pod) <= self._restarts.setdefault(uid, 0)
            found = self._ask(pod)
            if found is not None:
                self._last[uid] = found
        since = [self._last[uid] - self._first.get(uid, Figures()) for uid in self._last]
        return sum(since, Figures(alive=self._alive))

    def _ask(self, pod: Mapping[str, Any]) -> Figures | None:
        url = f"{pod_address(pod)}/metrics"
        try:
            response = self._client.get(url).raise_for_status()
            return parse_metrics(response.text, self._bundle_id)
        except (httpx.HTTPError, ValueError) as error:
            log.warning("%s does not tell its figures (%s)", url, error)
            return None


def pod_address(pod: Mapping[str, Any]) -> str:
    """The address of the server in a pod."""
    containers = [found for found in pod["spec"]["containers"] if found["name"] == CONTAINER]
    ports = [port["containerPort"] for container in containers for port in container.get("ports", ())]
    ip = pod["status"]["podIP"]
    return f"http://{f'[{ip}]' if ':' in ip else ip}:{ports[0] if ports else PORT}"


def parse_metrics(text: str, bundle_id: str) -> Figures:
    """Figures from what a server counts.

    Args:
        text: In Prometheus' format.
        bundle_id: Whose scores are meant; a server may have counted those of the bundle before, too.

    Raises:
        ValueError: If it is something else.
    """
    from prometheus_client.parser import text_string_to_metric_families

    requests = errors = refused = 0
    # By edge: the number of values up to it, of all routes together.
    latency: defaultdict[float, float] = defaultdict(float)
    scores: defaultdict[float, float] = defaultdict(float)
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            labels = sample.labels
            if sample.name == "elec_requests_total" and labels["route"].endswith(_PATHS):
                status, count = int(labels["status"]), int(sample.value)
                requests += count
                errors += count * (status >= httpx.codes.INTERNAL_SERVER_ERROR)
                refused += count * (
                    httpx.codes.BAD_REQUEST <= status < httpx.codes.INTERNAL_SERVER_ERROR
                    and status != httpx.codes.TOO_MANY_REQUESTS
                )
            elif sample.name == "elec_request_seconds_bucket" and labels["route"].endswith(_PATHS):
                latency[float(labels["le"])] += sample.value
            elif sample.name == "elec_scores_bucket" and labels["bundle"] == bundle_id:
                scores[float(labels["le"])] += sample.value
    return Figures(requests, errors, refused, _counts(latency.items()), _counts(scores.items()))


def _counts(cumulative: Iterable[tuple[float, float]]) -> Counts:
    found = list(cumulative)
    return Counts.from_cumulative(found) if found else Counts()


def _restarts(pod: Mapping[str, Any]) -> int:
    return sum(int(found.get("restartCount", 0)) for found in pod.get("status", {}).get("containerStatuses") or ())
