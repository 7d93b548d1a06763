"""The smoke test: a server that shall go into service answers as the network did in training."""

import math
import time
from collections.abc import Mapping
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
from pydantic import BaseModel, ConfigDict

from elec.errors import BlockedError
from elec.serving.bundle import Bundle
from elec.serving.golden import Golden
from elec.serving.http.protocol import MODEL_NAME, infer_request
from elec.serving.predictor import Features, Predictor
from elec.serving.ranker import Ranker
from elec.spec.fields import Entity
from elec.spec.serving import ServingSpec

_SECONDS_FOR_AN_ANSWER = 30.0
_CANDIDATES = 32


class SmokeReport(BaseModel):
    """What the server was asked.

    Attributes:
        golden: Records whose score was compared with training's.
        difference: Largest difference of a probability.
        ranked: Candidates ranked; 0 if there was no feature store to rank with.
        seconds: All of it took.
    """

    model_config = ConfigDict(frozen=True)

    golden: int
    difference: float
    ranked: int
    seconds: float


def smoke_test(url: str, bundle: Bundle, features: Features | None, *, headers: Mapping[str, str] | None = None) -> SmokeReport:
    """Questions a running server.

    Args:
        url: Its address.
        bundle: What it has to serve.
        features: The store that it looks features up in; None for a server without one, which is not asked to rank.
        headers: Of every request: a bearer token.

    Raises:
        BlockedError: At the first answer that is not as it should be.
    """
    started = time.monotonic()
    with httpx.Client(
        base_url=url.rstrip("/"), headers=dict(headers or {}), timeout=_SECONDS_FOR_AN_ANSWER, trust_env=False
    ) as client:
        _ask(client, "GET", "/v2/health/ready")
        served = _ask(client, "GET", f"/v2/models/{MODEL_NAME}").get("versions")
        if served != [bundle.manifest.bundle_id]:
            raise BlockedError(f"smoke test: {url} serves {served} and not {bundle.manifest.bundle_id}; the champion stays")
        golden = Golden.load(bundle.golden, bundle.manifest.fields, bundle.manifest.vector_size)
        difference = _largest_difference(_infer(client, bundle, golden.records, golden.vectors), golden.scores)
        tolerance = bundle.manifest.precision.tolerance
        if not difference <= tolerance:
            raise BlockedError(
                f"smoke test: scores of /infer differ from training's by {difference:.3g} (at most {tolerance:g}); "
                "the champion stays"
            )
        ranked = _rank(client, bundle, golden, features) if features is not None else 0
    return SmokeReport(
        golden=len(golden.scores), difference=difference, ranked=ranked, seconds=round(time.monotonic() - started, 3)
    )


def _rank(client: httpx.Client, bundle: Bundle, golden: Golden, features: Features) -> int:
    """Ranks golden items for a golden user, and compares with `/infer` on the features that the store holds for them."""
    manifest = bundle.manifest
    record = next((found for found in golden.records.to_pylist() if found[manifest.user]), None)
    items = [item for item in golden.records.column(manifest.item).unique().to_pylist() if item][:_CANDIDATES]
    if record is None or not items:
        raise BlockedError("smoke test: the golden records have no user or no items to rank with; the champion stays")
    user = record[manifest.user]
    context = {field.name: record[field.name] for field in manifest.fields if field.of is Entity.CONTEXT}
    answer = _ask(client, "POST", "/rank", {"user": user, "items": items, "context": context})
    ranked = answer.get("items") or []
    scores = [_number(entry["score"]) for entry in ranked]
    if answer.get("bundle") != manifest.bundle_id or sorted(entry["item"] for entry in ranked) != sorted(items):
        raise BlockedError("smoke test: /rank does not answer with the items it was asked about; the champion stays")
    if not all(math.isfinite(score) for score in scores) or scores != sorted(scores, reverse=True):
        raise BlockedError("smoke test: the scores of /rank are not finite, or not in order; the champion stays")
    order = [entry["item"] for entry in ranked]
    predictor = Predictor(bundle, features)
    records = Ranker(predictor, features, ServingSpec()).rank(user, order, context, recorded=True).records
    assert records is not None
    vectors_N2V = predictor.look_up(records) if manifest.vectors is not None else None
    difference = _largest_difference(_infer(client, bundle, records, vectors_N2V), np.asarray(scores))
    # In int8 a sum that lies between two steps may round either way; float32's tolerance is that of rounding alone.
    if not difference <= manifest.precision.tolerance:
        raise BlockedError(
            f"smoke test: /rank and /infer differ by {difference:.3g} on the same features "
            f"(at most {manifest.precision.tolerance:g}); "
            "the champion stays"
        )
    return len(ranked)


def _infer(client: httpx.Client, bundle: Bundle, records: pa.Table, vectors_N2V: np.ndarray | None) -> np.ndarray:
    content = infer_request(records, bundle.manifest.fields, vectors_N2V)
    answer = _ask(client, "POST", f"/v2/models/{MODEL_NAME}/infer", content)
    outputs = answer.get("outputs")
    if not isinstance(outputs, list) or len(outputs) != 1 or not isinstance(outputs[0].get("data"), list):
        raise BlockedError("smoke test: what /infer gives is not an answer of the Open Inference Protocol; the champion stays")
    return np.asarray([_number(score) for score in outputs[0]["data"]])


def _number(score: Any) -> float:
    """A score; not a number if it is none."""
    return float(score) if isinstance(score, int | float) else math.nan


def _largest_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference; infinite if there is not one score for each that is expected."""
    if found.shape != expected.shape:
        return math.inf
    return float(np.abs(found - expected).max())


def _ask(client: httpx.Client, method: str, path: str, content: Mapping[str, Any] | None = None) -> dict[str, Any]:
    try:
        response = client.request(method, path, json=content)
    except httpx.HTTPError as error:
        raise BlockedError(f"smoke test: {client.base_url}{path} does not answer ({error}); the champion stays") from None
    if response.status_code != httpx.codes.OK:
        detail = response.text[:300]
        raise BlockedError(f"smoke test: {path} answers {response.status_code} ({detail}); the champion stays")
    answer: dict[str, Any] = response.json()
    return answer
