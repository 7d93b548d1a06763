"""How fast a bundle scores: 100 candidates, one thread, inside the process."""

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from elec.errors import InputError
from elec.serving.bundle import Bundle, open_bundle
from elec.serving.manifest import Cost
from elec.serving.network import Network
from elec.serving.predictor import Predictor, Vectors

_WARM_UP = 20


class Latency(BaseModel):
    """Milliseconds to score one request's candidates.

    Attributes:
        candidates: Rows scored at once.
        p50_ms: Median from raw records to scores, and the look-up of text vectors before it where the student reads them.
        p99_ms: 99th percentile of the same.
        model_p50_ms: Median of the network's part alone; of a split network of what is left where the items' part is kept.
        model_p99_ms: 99th percentile of the same.
        lookup_p50_ms: Median of the look-up of text vectors alone, one user and the candidates; None where there is none.
        lookup_p99_ms: 99th percentile of the same.
    """

    model_config = ConfigDict(frozen=True)

    candidates: int
    p50_ms: float
    p99_ms: float
    model_p50_ms: float
    model_p99_ms: float
    lookup_p50_ms: float | None = None
    lookup_p99_ms: float | None = None

    @property
    def cost(self) -> Cost:
        """What the bundle's manifest tells of it."""
        return Cost(
            candidates=self.candidates,
            score_ms=round(self.p50_ms - (self.lookup_p50_ms or 0.0), 3),
            lookup_ms=None if self.lookup_p50_ms is None else round(self.lookup_p50_ms, 3),
        )


def measure_latency(bundle: Path, features: Path, vectors: Vectors | None = None) -> Latency:
    """Times a bundle on the test rows of its run; `p50_ms` is the figure that the gate judges.

    It is the median: on a machine that is shared with the rest of a pipeline the tail tells of the neighbours.

    Args:
        bundle: Folder of a bundle.
        features: Folder of the features step, whose test rows are scored.
        vectors: Where the student that reads text vectors looks them up.

    Raises:
        InputError: If there are no test rows.
    """
    return profile_latency(open_bundle(bundle), features / "frame" / "test.parquet", vectors)


def profile_latency(
    bundle: Bundle, frame: Path, vectors: Vectors | None = None, *, candidates: int = 100, repeats: int = 300
) -> Latency:
    """Times a bundle's network on real records, one thread.

    Args:
        bundle: An opened bundle.
        frame: Parquet file of raw records.
        vectors: Where the student that reads text vectors looks them up.
        candidates: Rows to score at once; of a shorter frame rows are repeated.
        repeats: Measurements.

    Raises:
        InputError: If the frame has no rows.
    """
    predictor = Predictor(bundle, vectors=vectors)
    manifest = bundle.manifest
    names = [field.name for field in manifest.fields]
    table = next(pq.ParquetFile(frame).iter_batches(batch_size=candidates, columns=names), None)
    if table is None or table.num_rows == 0:
        raise InputError(f"{frame}: has no rows, so there is nothing to time; give a frame of records")
    records = table.take(np.arange(candidates) % table.num_rows)
    if manifest.vectors is not None:
        # One request: one user with all candidates.
        user = records.column(manifest.user).take(np.zeros(candidates, np.int64))
        records = records.set_column(names.index(manifest.user), manifest.user, user)
    slots_NS = predictor.encode(records)
    known_N2V = predictor.look_up(records) if manifest.vectors is not None else None
    run = request_call(predictor.network, slots_NS, known_N2V)
    looked, whole, model = np.zeros(repeats), np.empty(repeats), np.empty(repeats)
    for repeat in range(-_WARM_UP, repeats):
        started = time.perf_counter()
        vectors_N2V = predictor.look_up(records) if manifest.vectors is not None else None
        found = time.perf_counter()
        predictor.score(records, vectors_N2V)
        scored = time.perf_counter()
        run()
        ended = time.perf_counter()
        if repeat >= 0:
            looked[repeat], whole[repeat], model[repeat] = found - started, scored - started, ended - scored
    p50, p99 = np.percentile(whole * 1e3, [50, 99])
    model_p50, model_p99 = np.percentile(model * 1e3, [50, 99])
    lookup_p50, lookup_p99 = np.percentile(looked * 1e3, [50, 99]) if manifest.vectors is not None else (None, None)
    return Latency(
        candidates=candidates,
        p50_ms=p50,
        p99_ms=p99,
        model_p50_ms=model_p50,
        model_p99_ms=model_p99,
        lookup_p50_ms=lookup_p50,
        lookup_p99_ms=lookup_p99,
    )


def request_call(network: Network, slots_NS: np.ndarray, vectors_N2V: np.ndarray | None) -> Callable[[], np.ndarray]:
    """What a request for a user's candidates runs: the join alone where the items' states are kept.

    Args:
        network: To run.
        slots_NS: int64; the first row's user and context, and every row's item.
        vectors_N2V: Of the same rows, for a network that reads them.
    """
    if not network.split:
        return lambda: network.run(slots_NS, vectors_N2V)
    requests = slice(None if network.pairs else 1)
    of_user, of_item = (None, None) if vectors_N2V is None else (vectors_N2V[requests, 0], vectors_N2V[:, 1])
    states_NK = network.item_states(slots_NS[:, network.item_columns], of_item)
    requests_MR = np.ascontiguousarray(slots_NS[requests, network.request_columns])
    return lambda: network.join(requests_MR, states_NK, of_user)
