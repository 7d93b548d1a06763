"""From a bundle's URI to a predictor that is ready, and to a server."""

import contextlib
import logging
import socket
import sys
from pathlib import Path

from elec.errors import InputError
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
        InputError: If the bundle is refused, or the Feast folder does not have its feature service or its text vectors.
    """
    opened = open_bundle(bundle, cache)
    predictor = Predictor(opened, open_features(opened.manifest, feast_folder) if feast_folder else None)
    predictor.warm_up()
    return predictor


def load_scorer(bundle: str, feast_folder: str = "", *, cache: Path | None = None) -> Predictor:
    """Opens a bundle for scoring files: text vectors are read from the files behind Feast's views, all at once.

    Args:
        bundle: Its URI.
        feast_folder: The Feast folder of a workspace; only a student that reads text vectors needs it.
        cache: Where a bundle from S3 is kept.

    Raises:
        InputError: If the bundle is refused, or its text vectors are not there.
    """
    opened = open_bundle(bundle, cache)
    manifest = opened.manifest
    if manifest.vectors is None:
        return Predictor(opened)
    if not feast_folder:
        raise InputError(
            f"{bundle}: this model reads text vectors of users and items from Feast's folder; "
            "give the workspace of the run that published it with --workspace"
        )
    from elec.features.stored_vectors import StoredVectors

    stored = StoredVectors(
        dataset=manifest.dataset,
        user=manifest.user,
        item=manifest.item,
        views=manifest.vectors,
        feast_folder=feast_folder,
    )
    return Predictor(opened, vectors=stored)


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
        vectors=manifest.vectors,
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
