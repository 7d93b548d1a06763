"""Deployment is tested on the bundles that serving is tested on."""

from tests.serving.conftest import bucket, copy, feast_folder, made

__all__ = ["bucket", "copy", "feast_folder", "made"]
