"""Ingested rows to encoded columns: the whole step, and what it leaves when it fails."""

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ingested_folder import DATASET, moment, write_entities, write_ingested, write_log

from elec.errors import InputError
from elec.features import FIRST_VALUE, MISSING, OUT_OF_VOCABULARY, FeatureEncoder
from elec.features.build import FeaturesReport, build_features
from elec.features.online import OnlineFeatures
from elec.features.vocabulary import Vocabulary
from elec.spec import DatasetSpec, Entity, Spec

SPEC = Spec(dataset=DATASET)
SPLITS = {"train": 30, "valid": 5, "test": 5}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, FeaturesReport]:
    root = tmp_path_factory.mktemp("built")
    ingested = write_ingested(root / "ingested")
    return root, build_features(SPEC, ingested, root / "features", feast_folder=str(root / "feast"), as_of=moment(100))


def test_every_row_is_there_in_order(built: tuple[Path, FeaturesReport]) -> None:
    root, report = built
    assert report.rows == SPLITS
    first = 0
    for split, rows in SPLITS.items():
        for part in ("frame", "encoded"):
            ids = pq.read_table(root / "features" / part / f"{split}.parquet")["row_id"].to_pylist()
            assert ids == list(range(first, first + rows)), (part, split)
        first += rows


def test_encoded_columns(built: tuple[Path, FeaturesReport]) -> None:
    root, report = built
    encoded = pq.read_table(root / "features" / "encoded" / "train.parquet")
    assert encoded.schema == pa.schema(
        [
            ("row_id", pa.int64()),
            ("label", pa.int8()),
            ("user_index", pa.int64()),
            ("slots", pa.list_(pa.int64(), report.slots)),
        ]
    )
    # user_id, item_id, age, city, tags x 2, price, device: text has no slot.
    assert report.slots == 8
    encoder = FeatureEncoder.load(root / "features" / "vocabulary")
    frame = pq.read_table(root / "features" / "frame" / "train.parquet")
    slots = np.array(encoded["slots"].to_pylist())
    assert (slots == encoder.encode(frame)).all()
    assert encoded["label"].to_pylist() == [number % 2 for number in range(30)]


def test_crossed_lists_are_encoded_and_never_looked_up(built: tuple[Path, FeaturesReport], tmp_path: Path) -> None:
    root, plain = built
    crossed = [
        {"fields": ["tags", "city"], "min_count": 1},
        {"fields": ["device", "tags", "price"], "hash_buckets": 9, "max_values": 3},
    ]
    spec = Spec(dataset=DatasetSpec.model_validate(DATASET.model_dump() | {"crossed": crossed}))
    report = build_features(
        spec, root / "ingested", tmp_path / "features", feast_folder=str(tmp_path / "feast"), as_of=moment(100)
    )
    assert report.slots == plain.slots + 2 + 3
    assert report.feature_views == plain.feature_views
    encoder = FeatureEncoder.load(tmp_path / "features" / "vocabulary")
    for split in SPLITS:
        frame = pq.read_table(tmp_path / "features" / "frame" / f"{split}.parquet")
        assert frame.equals(pq.read_table(root / "features" / "frame" / f"{split}.parquet"))
        slots = np.array(pq.read_table(tmp_path / "features" / "encoded" / f"{split}.parquet")["slots"].to_pylist())
        assert (slots == encoder.encode(frame)).all()
        assert (slots[:, :8] == encoder_of(root).encode(frame)).all()
        assert (slots[:, 8:] >= FIRST_VALUE).any()
        # An item without tags has no combination.
        untagged = np.array([not tags for tags in frame["tags"].to_pylist()])
        assert (slots[untagged][:, [8, 10]] == MISSING).all()


def encoder_of(root: Path) -> FeatureEncoder:
    """That of the fixture."""
    return FeatureEncoder.load(root / "features" / "vocabulary")


def test_a_user_has_one_index_in_all_splits(built: tuple[Path, FeaturesReport]) -> None:
    root, report = built
    pairs = set()
    for split in SPLITS:
        keys = pq.read_table(root / "features" / "frame" / f"{split}.parquet")["user_id"].to_pylist()
        indices = pq.read_table(root / "features" / "encoded" / f"{split}.parquet")["user_index"].to_pylist()
        pairs |= set(zip(keys, indices, strict=True))
    assert pairs == {("u1", 0), ("u2", 1), ("u3", 2), ("u4", 3)}
    assert report.users == 4


def test_rows_without_a_user_are_all_of_one(tmp_path: Path) -> None:
    ingested = write_ingested(tmp_path / "ingested")
    file = ingested / "valid.parquet"
    rows = pq.read_table(file)
    keys = pa.array(["u1", None, "new", None, "u2"])
    pq.write_table(rows.set_column(rows.column_names.index("user_id"), "user_id", keys), file)
    report = build_features(SPEC, ingested, tmp_path / "features", feast_folder=tmp_path / "feast", as_of=moment(100))
    found = pq.read_table(tmp_path / "features" / "encoded" / "valid.parquet")["user_index"].to_pylist()
    # In the order of row_id, against which the file lies. Users are sorted: new, u1, u2, u3, u4, and whoever has no key.
    assert found == [2, 5, 0, 5, 1]
    assert report.users == 6


def test_only_training_rows_teach_the_vocabulary(built: tuple[Path, FeaturesReport]) -> None:
    root, report = built
    # `watch` and Oslo are in valid and test only, and the text has no vocabulary at all.
    encoder = FeatureEncoder.load(root / "features" / "vocabulary")
    known = {
        spec.name: code.values for spec, code in zip(encoder.specs, encoder.codes, strict=True) if isinstance(code, Vocabulary)
    }
    assert known["device"].to_pylist() == ["phone"]
    assert "Oslo" not in known["city"].to_pylist()
    assert "title" not in known
    assert report.out_of_vocabulary["train"]["device"] == 0
    assert report.out_of_vocabulary["valid"]["device"] == 1
    device = np.array(pq.read_table(root / "features" / "encoded" / "test.parquet")["slots"].to_pylist())[:, 7]
    assert (device == OUT_OF_VOCABULARY).all()


def test_the_report_is_in_the_folder(built: tuple[Path, FeaturesReport]) -> None:
    root, report = built
    assert FeaturesReport.model_validate_json((root / "features" / "report.json").read_bytes()) == report
    assert set(report.seconds) == {"publish", "frame", "fit", "encode"}
    assert report.vocabulary["device"] == 3 + 1


def test_the_same_input_gives_the_same_bytes(built: tuple[Path, FeaturesReport]) -> None:
    root, _ = built
    build_features(SPEC, root / "ingested", root / "again", feast_folder=root / "feast", as_of=moment(100))
    files = sorted(path.relative_to(root / "features") for path in (root / "features").rglob("*") if path.is_file())
    assert len(files) == 3 + 3 + 1 + 5 + 1
    for file in files:
        if file.name != "report.json":
            assert (root / "again" / file).read_bytes() == (root / "features" / file).read_bytes(), file


def test_a_folder_that_holds_something_is_not_overwritten(built: tuple[Path, FeaturesReport]) -> None:
    root, _ = built
    with pytest.raises(InputError, match="holds files already"):
        build_features(SPEC, root / "ingested", root / "features", feast_folder=root / "feast", as_of=moment(100))


def test_a_failure_leaves_no_folder(tmp_path: Path) -> None:
    ingested = write_ingested(tmp_path / "ingested")
    (ingested / "test.parquet").write_bytes(b"PAR1 broken")
    with pytest.raises(pa.ArrowInvalid):
        build_features(SPEC, ingested, tmp_path / "out" / "features", feast_folder=tmp_path / "feast", as_of=moment(100))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_data_set_without_any_field_but_the_keys(tmp_path: Path) -> None:
    bare = DATASET.model_copy(update={"fields": (), "name": "bare"})
    for entity, name in ((Entity.USER, "users"), (Entity.ITEM, "items")):
        key = bare.key_of(entity)
        write_entities(tmp_path / f"{name}.parquet", entity, [{key: "u1", "event_timestamp": moment(0)}], bare)
    for number, split in enumerate(SPLITS):
        row = {"row_id": number, "label": 1, "event_timestamp": moment(1), "user_id": "u1", "item_id": split}
        write_log(tmp_path / f"{split}.parquet", [row], bare)
    report = build_features(
        Spec(dataset=bare), tmp_path, tmp_path / "features", feast_folder=tmp_path / "feast", as_of=moment(2)
    )
    assert report.slots == 2
    assert report.online == {}
    slots = pq.read_table(tmp_path / "features" / "encoded" / "test.parquet")["slots"].to_pylist()
    assert slots == [[OUT_OF_VOCABULARY, OUT_OF_VOCABULARY]]
    assert MISSING not in slots[0]


@pytest.mark.slow
@pytest.mark.parametrize("delay", [0.2, 0.7])
def test_a_killed_step_leaves_nothing_half_published_and_the_rerun_completes(tmp_path: Path, delay: float) -> None:
    ingested = write_ingested(tmp_path / "ingested")
    program = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from ingested_folder import DATASET, moment
from elec.features.build import build_features
from elec.features.library import feast
from elec.spec import Spec
feast()
print("ready", flush=True)
root = Path({str(tmp_path)!r})
build_features(Spec(dataset=DATASET), root / "ingested", root / "features", feast_folder=root / "feast", as_of=moment(100))
"""
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(delay)
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "features").exists() or (tmp_path / "features" / "report.json").exists()
    build_features(SPEC, ingested, tmp_path / "again", feast_folder=tmp_path / "feast", as_of=moment(100))
    assert orjson.loads((tmp_path / "again" / "report.json").read_bytes())["rows"] == SPLITS
    assert OnlineFeatures.of_dataset(DATASET, tmp_path / "feast", SPEC.run.feast).user("u1")["city"] == "Köln"
