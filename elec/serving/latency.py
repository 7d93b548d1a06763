"""How fast a bundle scores: 100 candidates, one thread, inside the process."""

import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from elec.errors import InputError
from elec.serving.bundle import Bundle, open_bundle
from elec.serving.predictor import Predictor

_WARM_UP = 20


class Latency(BaseModel):
    """Milliseconds to score one request's candidates.

    Attributes:
        candidates: Rows scored at once.
        p50_ms: Median from raw records to scores.
        p99_ms: 99th percentile of the same.
        model_p50_ms: Median of the network's part alone.
        model_p99_ms: 99th percentile of the same.
    """

    model_config = ConfigDict(frozen=True)

    candidates: int
    p50_ms: float
    p99_ms: float
    model_p50_ms: float
    model_p99_ms: float


def measure_latency(bundle: Path, features: Path) -> float:
    """The figure that the gate judges.

    It is the median: on a machine that is shared with the rest of a pipeline the tail tells of the neighbours.

    Args:
        bundle: Folder of a bundle.
        features: Folder of the features step, whose test rows are scored.

    Returns:
        Milliseconds from 100 raw records to their scores, one thread.

    Raises:
        InputError: If there are no test rows.
    """
    return profile_latency(open_bundle(bundle), features / "frame" / "test.parquet").p50_ms


def profile_latency(bundle: Bundle, frame: Path, *, candidates: int = 100, repeats: int = 300) -> Latency:
    """Times a bundle's network on real records.

    Args:
        bundle: An opened bundle.
        frame: Parquet file of raw records.
        candidates: Rows to score at once; of a shorter frame rows are repeated.
        repeats: Measurements.

    Raises:
        InputError: If the frame has no rows.
    """
    predictor = Predictor(bundle)
    names = [field.name for field in bundle.manifest.fields]
    table = next(pq.ParquetFile(frame).iter_batches(batch_size=candidates, columns=names), None)
    if table is None or table.num_rows == 0:
        raise InputError(f"{frame}: has no rows, so there is nothing to time; give a frame of records")
    records = table.take(np.arange(candidates) % table.num_rows)
    slots_NS = predictor.encode(records)
    whole, model = np.empty(repeats), np.empty(repeats)
    for repeat in range(-_WARM_UP, repeats):
        started = time.perf_counter()
        predictor.score(records)
        scored = time.perf_counter()
        predictor.run(slots_NS)
        ended = time.perf_counter()
        if repeat >= 0:
            whole[repeat], model[repeat] = scored - started, ended - scored
    p50, p99 = np.percentile(whole * 1e3, [50, 99])
    model_p50, model_p99 = np.percentile(model * 1e3, [50, 99])
    return Latency(candidates=candidates, p50_ms=p50, p99_ms=p99, model_p50_ms=model_p50, model_p99_ms=model_p99)
