"""From a bundle's URI to a predictor that is ready, and to a server."""

import contextlib
import logging
import socket
import sys
from pathlib import Path

from elec.serving.bundle import open_bundle
from elec.serving.manifest import Manifest
from elec.serving.predictor import Features, Predictor
from elec.serving.server import serve


def load_predictor(bundle: str, feast_folder: str = "", *, cache: Path | None = None) -> Predictor:
    """Opens a bundle and everything that its predictor needs.

    Args:
        bundle: Its URI.
        feast_folder: The Feast folder of a workspace; empty for none, and then there is no ranking.
        cache: Where a bundle from S3 is kept.

    Raises:
        InputError: If the bundle is refused, or the Feast folder does not have its feature service.
    """
    opened = open_bundle(bundle, cache)
    predictor = Predictor(opened, open_features(opened.manifest, feast_folder) if feast_folder else None)
    predictor.warm_up()
    return predictor


def open_features(manifest: Manifest, feast_folder: str) -> Features:
    """The look-ups that a bundle ranks with.

    Raises:
        InputError: If the Feast folder does not have the bundle's feature service.
    """
    from elec.features.online import OnlineFeatures

    return OnlineFeatures(
        dataset=manifest.dataset,
        user=manifest.user,
        item=manifest.item,
        fields=manifest.fields,
        feature_service=manifest.feature_service,
        feast_folder=feast_folder,
        settings=manifest.feast,
    )


def serve_bundle(bundle: str, listener: socket.socket, feast_folder: str = "") -> None:
    """Serves a bundle until SIGTERM or SIGINT.

    Args:
        bundle: Its URI.
        listener: A bound socket.
        feast_folder: The Feast folder of a workspace; empty for none.

    Raises:
        InputError: If the bundle is refused, or the Feast folder does not have its feature service.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    predictor = load_predictor(bundle, feast_folder)
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host

    def ready() -> None:
        print(f"{predictor.manifest.bundle_id} on http://{shown}:{port} (Ctrl-C stops it)", file=sys.stderr, flush=True)

    # Ctrl-C is how a server is meant to end, once its requests are answered.
    with contextlib.suppress(KeyboardInterrupt):
        serve(predictor, listener, ready=ready)
