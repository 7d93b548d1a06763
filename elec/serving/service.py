"""What is in service: the bundle that answers now, and the one before it, ready to answer again.

A request takes the current service once, at its start, and keeps it to its end: an answer never mixes two versions.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from elec.serving.bundle import Bundle, open_bundle
from elec.serving.manifest import Manifest
from elec.serving.predictor import Predictor
from elec.serving.ranker import Ranker
from elec.serving.start import open_features
from elec.spec.serving import ServingSpec


@dataclass(frozen=True)
class Service:
    """An opened bundle and what answers with it.

    Attributes:
        predictor: Scores records.
        ranker: Scores a user's candidates; None without a feature store.
        bundle: Both are of.
    """

    predictor: Predictor
    ranker: Ranker | None
    bundle: Bundle

    @property
    def manifest(self) -> Manifest:
        """What the bundle is."""
        return self.bundle.manifest

    @property
    def version(self) -> str:
        """The bundle's id, which every answer carries."""
        return self.bundle.manifest.bundle_id

    def take_over(self, before: "Service") -> None:
        """Keeps what the service before is asked for most, so that answers are as fast after a swap as before it."""
        if self.ranker is not None and before.ranker is not None:
            self.ranker.take_over(before.ranker)


class Serving:
    """The service that answers, and the one before.

    Args:
        service: The first one.
        swapped: Called with a service that has begun to answer.
    """

    def __init__(self, service: Service, swapped: Callable[[Service], None] | None = None) -> None:
        # One tuple, so that a reader in another thread never sees the one without the other.
        self._services: tuple[Service, Service | None] = (service, None)
        self._swapped = swapped

    @property
    def current(self) -> Service:
        """What answers now; a request asks once."""
        return self._services[0]

    @property
    def previous(self) -> Service | None:
        """What answered before; None before the first swap."""
        return self._services[1]

    def find(self, version: str) -> Service | None:
        """The service of a version, if it is one of the two."""
        return next((service for service in self._services if service is not None and service.version == version), None)

    def swap(self, service: Service) -> None:
        """Lets a service answer from the next request on, and keeps the one that answered until now.

        Args:
            service: Loaded, and warm; the previous one for a rollback.
        """
        self._services = (service, self._services[0])
        if self._swapped is not None:
            self._swapped(service)


def open_service(uri: str, feast_folder: str, settings: ServingSpec, cache: Path | None = None) -> Service:
    """Opens a bundle and everything that answers with it, and runs it once.

    Args:
        uri: The bundle's.
        feast_folder: The Feast folder of a workspace; empty for none, and then there is no ranking.
        settings: Of the server.
        cache: Where a bundle from S3 is kept.

    Raises:
        InputError: If the bundle is refused, or the Feast folder does not have its feature service or its text vectors.
    """
    bundle = open_bundle(uri, cache)
    features = open_features(bundle.manifest, feast_folder) if feast_folder else None
    predictor = Predictor(bundle, features, settings=settings)
    predictor.warm_up()
    # A gain network answers audits, which come with what it reads; no feature store has that.
    ranks = features is not None and bundle.manifest.network == "vanilla"
    ranker = Ranker(predictor, features, settings) if features is not None and ranks else None
    if ranker is not None:
        ranker.warm_up()
    return Service(predictor, ranker, bundle)
