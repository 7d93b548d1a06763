"""What the server says when it cannot do its work; inside the process, where the failure can be made."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest

from elec.features.store_config import OnlineStoreError
from elec.serving.bundle import open_bundle
from elec.serving.predictor import Predictor
from elec.serving.server import Limits, create_app


class Failing:
    """A feature store that fails."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def user(self, key: object) -> dict[str, Any]:
        raise self.error

    def items(self, keys: Sequence[object]) -> pa.Table:
        raise self.error


DEFAULT = Limits()


def post(predictor: Predictor, path: str, content: bytes, limits: Limits = DEFAULT) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(create_app(predictor, limits=limits), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.post(path, content=content)

    return asyncio.run(ask())


RANK = b'{"user": "u1", "items": ["i1"]}'


def test_a_store_that_is_gone_is_503_and_never_a_score(made: Path) -> None:
    predictor = Predictor(open_bundle(made / "bundle"), Failing(OnlineStoreError("Redis at redis:6379 does not answer")))
    answer = post(predictor, "/rank", RANK)
    assert answer.status_code == 503
    assert answer.json() == {"error": "Redis at redis:6379 does not answer"}


def test_a_failure_of_ours_tells_the_client_nothing_of_it(made: Path, caplog: pytest.LogCaptureFixture) -> None:
    answer = post(Predictor(open_bundle(made / "bundle"), Failing(RuntimeError("secret detail"))), "/rank", RANK)
    assert answer.status_code == 500
    assert answer.json() == {"error": "the server failed on this request; its log says why"}
    assert "secret detail" in caplog.text


def test_bounds_are_settings(made: Path) -> None:
    predictor = Predictor(open_bundle(made / "bundle"))
    assert post(predictor, "/rank", RANK, Limits(body=10)).status_code == 413
    assert post(predictor, "/rank", RANK, Limits(rows=0)).status_code == 422
