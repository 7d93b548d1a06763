import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.made import make_bundle, s3_bucket, shared_bundle, shared_feast


@pytest.fixture(scope="session")
def made() -> Path:
    """A folder with `bundle`, `features` and `model-0`; not to be changed."""
    return shared_bundle()


@pytest.fixture(scope="session")
def other(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of the same data set that scores otherwise."""
    root = tmp_path_factory.mktemp("other")
    make_bundle(root, seed=1)
    return root / "bundle"


@pytest.fixture(scope="session")
def feast_folder() -> Path:
    """A Feast folder with the made data set's users and items online, in SQLite."""
    return shared_feast()


@pytest.fixture
def copy(made: Path, tmp_path: Path) -> Path:
    """A copy of the bundle, to be changed."""
    return Path(shutil.copytree(made / "bundle", tmp_path / "bundle"))


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty workspace on S3."""
    with s3_bucket(monkeypatch) as uri:
        yield uri
