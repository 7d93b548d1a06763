"""What a live server scores while its Redis is gone is marked in its prediction log, and the drift check leaves it out."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from elec.drift import profile_predictions
from elec.features.repository import FeatureRepository
from elec.serving.manifest import read_manifest
from elec.serving.telemetry.prediction_files import PATTERN
from elec.spec.run import FeastSpec
from tests.serving.made import AS_OF, SPEC, items_table, users_table, variant
from tests.serving.redis_process import RedisProcess
from tests.serving.test_watch import running, wait_for


def test_degraded_rankings_are_marked_and_left_out(made: Path, tmp_path: Path) -> None:
    pq.write_table(users_table(), tmp_path / "users.parquet")
    pq.write_table(items_table(), tmp_path / "items.parquet")
    log = tmp_path / "log"
    (tmp_path / "redis").mkdir()
    with RedisProcess(tmp_path / "redis") as redis:
        settings = FeastSpec(online_store="redis", redis=f"{redis.address},socket_timeout=0.3")
        with FeatureRepository(SPEC.dataset, tmp_path / "feast", settings).published(tmp_path, AS_OF):
            pass
        variant(made / "bundle", tmp_path / "bundle", feast=settings.model_dump())
        asked = ["--bundle", str(tmp_path / "bundle"), "--feast", str(tmp_path / "feast"), "--prediction-log", str(log)]
        for setting in ("log_share=1", "log_seconds=0.1", "without_store=degrade"):
            asked += ["--set", setting]
        with running(*asked) as (_, client, _log):

            def rank(name: str) -> bool:
                question = {"user": "u1", "items": ["i1", "i2"], "id": name}
                answer = client.post("/rank", json=question).raise_for_status().json()
                return "degraded" in answer

            assert not rank("before")
            redis.kill()
            assert rank("while")
            redis.start()
            turns = iter(range(1000))
            wait_for(lambda: not rank(f"again-{next(turns)}"))
            assert not rank("last")
            wait_for(lambda: "last" in pa.concat_tables(tables(log))["request_id"].to_pylist())
    logged = pa.concat_tables(tables(log))
    marked = dict(zip(logged["request_id"].to_pylist(), logged["degraded"].to_pylist(), strict=True))
    assert (marked["before"], marked["while"], marked["last"]) == (False, True, False)
    # The store does know the user's age; a log that left it out would say that ages have gone.
    ages = dict(zip(logged["request_id"].to_pylist(), logged["age"].to_pylist(), strict=True))
    assert (ages["before"], ages["while"]) == (19.0, None)
    profile = profile_predictions(log, read_manifest(tmp_path / "bundle"))
    assert profile.rows == 2 * sum(not degraded for degraded in marked.values())
    assert profile.fields["age"].counts[-1] == 0, "the last bin is that of what is missing"


def tables(log: Path) -> list[pa.Table]:
    return [pq.read_table(file) for file in sorted(log.glob(PATTERN))]
