"""From a bundle's URI to a predictor that is ready."""

import sys
from importlib.abc import MetaPathFinder
from pathlib import Path

import pyarrow as pa

from elec.errors import InputError
from elec.serving.bundle import open_bundle
from elec.serving.manifest import Manifest
from elec.serving.predictor import Features, Predictor


def leave_pandas_out() -> None:
    """Has pyarrow do without pandas in this process, which has no use for it.

    pyarrow imports pandas, if it is installed, when it first makes an array: a quarter of a server's start, and 30 MB. For a
    process that serves and does nothing else, before its first array; afterwards `to_pandas` is not to be had.
    """
    if "pandas" in sys.modules:
        return
    finder = _NoPandas()
    sys.meta_path.insert(0, finder)
    try:
        pa.array([0])
    finally:
        sys.meta_path.remove(finder)


class _NoPandas(MetaPathFinder):
    def find_spec(self, fullname: str, path: object, target: object = None) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError("pandas is left out of a server")


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
