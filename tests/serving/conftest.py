import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.made import s3_bucket, shared_bundle, shared_feast


@pytest.fixture(scope="session")
def made() -> Path:
    """A folder with `bundle`, `features` and `model-0`; not to be changed."""
    return shared_bundle()


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
