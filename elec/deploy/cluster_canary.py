"""The canary on a cluster: KServe splits the traffic, the pods of both versions tell their figures."""

from types import TracebackType
from typing import Any, Self

from elec.deploy.arguments import request_headers
from elec.deploy.cluster import Cluster
from elec.deploy.figures import Figures
from elec.deploy.kserve import VERSION_LABEL, Manifest, Version, selector
from elec.deploy.scrape import PodFigures
from elec.errors import BlockedError
from elec.spec import Spec


class ClusterCanary:
    """Two versions of an InferenceService that run side by side.

    Args:
        cluster: Where.
        spec: How.
        champion: What serves.
        challenger: What is tried; it runs, without traffic.
        split: The InferenceService with the challenger's share.
        whole: The InferenceService without: all traffic is the champion's.
    """

    def __init__(
        self, cluster: Cluster, spec: Spec, champion: Version, challenger: Version, split: Manifest, whole: Manifest
    ) -> None:
        self._cluster = cluster
        self._split = split
        self._whole = whole
        headers = request_headers(spec.run.serving)
        self._champion, self._challenger = (
            PodFigures(
                cluster,
                spec.run.deploy.namespace,
                {**selector(spec), VERSION_LABEL: version.label},
                version.bundle_id,
                headers,
            )
            for version in (champion, challenger)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._champion.close()
        self._challenger.close()

    def challengers(self) -> list[dict[str, Any]]:
        """The challenger's pods.

        Raises:
            BlockedError: If it has none.
        """
        pods = self._challenger.pods()
        if not pods:
            raise BlockedError("the challenger is ready, and has no pods that can be asked; the champion stays")
        return pods

    def start(self) -> None:
        """Gives the challenger its share; what both were asked before does not count."""
        self._champion.begin()
        self._challenger.begin()
        self._cluster.apply(self._split)

    def figures(self) -> tuple[Figures, Figures]:
        """The champion's and the challenger's figures since the canary began."""
        return self._champion.look(), self._challenger.look()

    def promote(self) -> None:
        """Nothing yet: the manifests of the challenger alone, which the roll-out applies next, give it all of the traffic."""

    def roll_back(self) -> None:
        """Takes the traffic from the challenger at once; the roll-out then removes it."""
        self._cluster.apply(self._whole)
