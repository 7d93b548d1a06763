"""What the server says when it cannot do its work; inside the process, where the failure can be made."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import pyarrow as pa
import pytest
from starlette.types import ASGIApp

from elec.features.store_config import OnlineStoreError
from elec.serving.bundle import open_bundle
from elec.serving.http.app import create_app
from elec.serving.predictor import Predictor
from elec.serving.ranker import Ranker
from elec.serving.service import Service, Serving
from elec.spec.serving import ServingSpec
from tests.serving.apps import app_of


class Failing:
    """A feature store that fails."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def user(self, key: object) -> dict[str, Any]:
        raise self.error

    def items(self, keys: Sequence[object]) -> pa.Table:
        raise self.error

    def user_and_items(self, user: object, items: Sequence[object]) -> Any:
        raise self.error

    def vectors(self, users: object, items: object) -> Any:
        raise self.error


def failing(bundle: Path, error: Exception) -> ASGIApp:
    opened, features = open_bundle(bundle), Failing(error)
    predictor = Predictor(opened, features)
    return create_app(Serving(Service(predictor, Ranker(predictor, features, ServingSpec()), opened)))


def post(app: ASGIApp, path: str, content: bytes) -> httpx.Response:
    async def ask() -> httpx.Response:
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://x") as client:
            return await client.post(path, content=content)

    return asyncio.run(ask())


RANK = b'{"user": "u1", "items": ["i1"]}'


def test_a_store_that_is_gone_is_503_and_never_a_score(made: Path) -> None:
    answer = post(failing(made / "bundle", OnlineStoreError("Redis at redis:6379 does not answer")), "/rank", RANK)
    assert answer.status_code == 503
    assert answer.json()["error"].startswith("Redis at redis:6379 does not answer")
    assert answer.headers["retry-after"] == "1"


def test_a_failure_of_ours_tells_the_client_nothing_of_it(made: Path, caplog: pytest.LogCaptureFixture) -> None:
    answer = post(failing(made / "bundle", RuntimeError("secret detail")), "/rank", RANK)
    assert answer.status_code == 500
    assert answer.json() == {"error": "the server failed on this request; its log says why"}
    assert "/rank failed" in caplog.text


def test_bounds_are_settings(made: Path, feast_folder: Path) -> None:
    app = app_of(made / "bundle", feast_folder, body_bytes=1024, rows=1)
    assert post(app, "/rank", b'{"user": "u1", "items": ["i1", "i2"]}').status_code == 422
    assert post(app_of(made / "bundle", body_bytes=1024), "/rank", RANK + b" " * 1024).status_code == 413
