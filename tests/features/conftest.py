import shutil
from collections.abc import Iterator

import pytest

from benchmarks.redis_server import redis_server


@pytest.fixture(scope="module")
def redis_address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Redis of the tests' own."""
    if shutil.which("redis-server") is None:
        pytest.skip("redis-server is not on PATH, so what is in Redis is not tested")
    with redis_server(tmp_path_factory.mktemp("redis")) as address:
        yield address
