from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elec.errors import InputError
from elec.serving.bundle import open_bundle
from elec.serving.golden import Golden
from elec.serving.latency import measure_latency, profile_latency
from elec.serving.predictor import Predictor
from elec.serving.start import load_predictor


@pytest.fixture(scope="module")
def predictor(made: Path) -> Predictor:
    return Predictor(open_bundle(made / "bundle"))


@pytest.fixture(scope="module")
def frame(made: Path) -> pa.Table:
    return pq.read_table(made / "features" / "frame" / "test.parquet")


def test_serving_scores_as_training(made: Path, predictor: Predictor, frame: pa.Table) -> None:
    import torch

    from elec.features import FeatureEncoder
    from elec.training import load_network

    slots = FeatureEncoder.load(made / "features" / "vocabulary").encode(frame)
    with torch.inference_mode():
        expected = torch.sigmoid(load_network(made / "model-0")(torch.from_numpy(slots))[0]).numpy()
    scores = predictor.score(frame)
    assert scores.dtype == np.float32
    assert scores.std() > 0.01, "the made network must tell rows apart, or nothing is tested"
    np.testing.assert_allclose(scores, expected, atol=1e-5, rtol=0)


def test_a_row_scores_alone_as_in_a_batch_and_in_any_type(predictor: Predictor, frame: pa.Table) -> None:
    scores = predictor.score(frame)
    alone = np.concatenate([predictor.score(frame.slice(row, 1)) for row in range(20)])
    np.testing.assert_allclose(alone, scores[:20], atol=1e-6, rtol=0)
    hours = frame["hour"].cast(pa.int64())
    as_numbers = frame.set_column(frame.schema.get_field_index("hour"), "hour", hours)
    np.testing.assert_array_equal(predictor.score(as_numbers), scores)
    np.testing.assert_array_equal(predictor.score(frame.to_batches()[0]), scores)
    assert predictor.score(frame.slice(0, 0)).shape == (0,)


def test_long_tables_are_scored_in_parts(predictor: Predictor, frame: pa.Table, monkeypatch: pytest.MonkeyPatch) -> None:
    scores = predictor.score(frame)
    monkeypatch.setattr("elec.serving.predictor._ROWS", 7)
    np.testing.assert_allclose(predictor.score(frame), scores, atol=1e-6, rtol=0)


def test_missing_values_and_unknown_values_score(predictor: Predictor, frame: pa.Table) -> None:
    names = [field.name for field in predictor.manifest.fields]
    nothing = pa.table({name: pa.nulls(2, frame.schema.field(name).type) for name in names})
    unknown = frame.slice(0, 2).set_column(frame.schema.get_field_index("user_id"), "user_id", pa.array(["nobody", "no one"]))
    for table in (nothing, unknown):
        assert np.isfinite(predictor.score(table)).all()


def test_a_missing_column_is_named(predictor: Predictor, frame: pa.Table) -> None:
    with pytest.raises(InputError, match="'price'"):
        predictor.score(frame.drop_columns("price"))


def test_a_feast_folder_of_something_else_is_refused(made: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no feature service 'toy_v1' there"):
        load_predictor(str(made / "bundle"), str(tmp_path))


def test_golden_records_come_back_as_they_were(made: Path) -> None:
    bundle = open_bundle(made / "bundle")
    golden = Golden.load(bundle.golden, bundle.manifest.fields)
    assert golden.records.num_rows == len(golden.scores) == 64
    np.testing.assert_allclose(Predictor(bundle).score(golden.records), golden.scores, atol=1e-5, rtol=0)
    assert golden.records["genres"].null_count
    assert golden.records["hour"].null_count


def test_latency(made: Path) -> None:
    latency = profile_latency(open_bundle(made / "bundle"), made / "features" / "frame" / "test.parquet", repeats=20)
    assert latency.candidates == 100
    assert 0 < latency.model_p50_ms <= latency.p50_ms <= latency.p99_ms
    assert 0 < measure_latency(made / "bundle", made / "features").cost.score_ms < 1000
