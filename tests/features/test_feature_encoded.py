"""Encoded files: the ids that the encoder gives the decoded rows, in the row groups that training reads."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elec.features import OUT_OF_VOCABULARY, FeatureEncoder
from elec.features import counts as counting
from elec.features import encoded as encoding
from elec.features.encoded import GROUP_ROWS, EncodedWriter, encode_file, fit_files
from elec.features.raw import TYPES
from elec.features.vocabulary import Vocabulary
from elec.progress import Progress
from elec.spec import DatasetSpec
from elec.training.order import BLOCK_ROWS
from elec.training.stream import open_rows

DATASET = DatasetSpec.model_validate(
    {
        "name": "shop",
        "source": {"path": "/nowhere.csv"},
        "label": {"column": "click"},
        "timestamp": {"column": "time"},
        "user": "user",
        "item": "item",
        "fields": [
            {"name": "city"},
            {"name": "title", "kind": "text"},
            {"name": "tags", "kind": "multivalued", "max_values": 3},
            {"name": "age", "kind": "numeric", "buckets": 8},
            {"name": "price", "kind": "numeric"},
        ],
    }
)


def rows(count: int, seed: int, first: int = 0) -> pa.Table:
    """A split with nulls, empty texts, empty lists and numbers that are not finite."""
    draw = np.random.default_rng(seed)

    def some(values: list[object], share: float = 0.05) -> list[object]:
        return [None if missing else value for value, missing in zip(values, draw.random(count) < share, strict=True)]

    word = (draw.pareto(1, (count, 5)) * 20).astype(int)
    columns = {
        "row_id": pa.array(np.arange(first, first + count)),
        "label": pa.array((draw.random(count) < 0.2).astype(np.int8)),
        "user": some([f"user-{number}" for number in word[:, 0]]),
        "item": some([str(number) for number in word[:, 1]]),
        "city": some([f"c{number}" if number else "" for number in word[:, 2] % 40]),
        "title": ["a title"] * count,
        "tags": some([[f"t{tag}" if tag else None for tag in tags] for tags in (word % 30)[:, : 1 + seed % 4].tolist()]),
        "age": some(np.where(draw.random(count) < 0.01, np.inf, draw.integers(0, 90, count)).tolist()),
        "price": some(draw.lognormal(3, 1, count).round(2).tolist()),
    }
    types = {field.name: TYPES[field.kind] for field in DATASET.all_fields}
    return pa.table({name: pa.array(values, types.get(name)) for name, values in columns.items()})


@pytest.fixture(scope="module")
def splits(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("splits")
    first = 0
    for seed, (split, count) in enumerate((("train", 150_000), ("valid", 3_000), ("test", 0))):
        pq.write_table(rows(count, seed, first), folder / f"{split}.parquet", row_group_size=50_000)
        first += count
    return {split: folder / f"{split}.parquet" for split in ("train", "valid", "test")}


def encode(splits: dict[str, Path], folder: Path) -> tuple[FeatureEncoder, list[str | None], dict[str, dict[str, float]]]:
    train, *others = splits.values()
    encoder, users = fit_files(DATASET, train, others)
    unknown = {}
    with Progress("encode", unit="rows") as progress:
        for split, file in splits.items():
            unknown[split] = encode_file(encoder, DATASET.user, users, file, folder / f"{split}.parquet", progress)
        assert progress.done == 153_000
    return encoder, users.values.to_pylist(), unknown


def test_rows_are_encoded_as_the_encoder_encodes_them(splits: dict[str, Path], tmp_path: Path) -> None:
    encoder, users, unknown = encode(splits, tmp_path)
    alone = FeatureEncoder.fit(DATASET, splits["train"])
    alone.save(tmp_path / "alone")
    encoder.save(tmp_path / "both")
    for file in (tmp_path / "alone").iterdir():
        assert file.read_bytes() == (tmp_path / "both" / file.name).read_bytes(), file.name
    everyone = {key for file in splits.values() for key in pq.read_table(file)["user"].to_pylist()}
    assert users == [*sorted(everyone - {None}), None]
    index = {user: number for number, user in enumerate(users)}
    for split, file in splits.items():
        plain, found = pq.read_table(file), pq.read_table(tmp_path / f"{split}.parquet")
        assert found["row_id"].equals(plain["row_id"])
        assert found["label"].equals(plain["label"])
        slots_NS = np.array(found["slots"].to_pylist(), np.int64).reshape(-1, encoder.slots)
        # Plain texts, and in parts that Python's own values are for.
        assert (slots_NS == encoder.encode(plain)).all()
        for start in range(0, min(len(plain), 2_000), 400):
            assert (encoder.encode(plain.slice(start, 400)) == slots_NS[start : start + 400]).all()
        assert found["user_index"].to_pylist() == [index[user] for user in plain["user"].to_pylist()]
        slot = 0
        for field in encoder.fields:
            share = (slots_NS[:, slot : slot + field.width] == OUT_OF_VOCABULARY).any(axis=1).sum() / max(len(plain), 1)
            assert unknown[split][field.name] == share
            slot += field.width
    assert unknown["train"]["user"] > 0
    assert set(unknown["test"].values()) == {0}


def test_row_groups_are_what_training_reads_at_once(splits: dict[str, Path], tmp_path: Path) -> None:
    assert GROUP_ROWS == BLOCK_ROWS
    encode(splits, tmp_path)
    metadata = pq.ParquetFile(tmp_path / "train.parquet").metadata
    assert [metadata.row_group(group).num_rows for group in range(metadata.num_row_groups)] == [65_536, 65_536, 18_928]
    whole, streamed = (open_rows(tmp_path / "train.parquet", memory=memory) for memory in ("1Gi", "1Ki"))
    assert type(whole) is not type(streamed)
    for one, other in zip(whole.in_order(40_000), streamed.in_order(40_000), strict=True):
        assert one.slots_BS.equal(other.slots_BS)


def test_how_rows_are_cut_into_batches_leaves_no_trace(
    splits: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
    encode(splits, tmp_path / "one")
    monkeypatch.setattr(counting, "BATCH_ROWS", 7_000)
    encode(splits, tmp_path / "other")
    for split in splits:
        one, other = (pq.ParquetFile(tmp_path / name / f"{split}.parquet") for name in ("one", "other"))
        assert one.read().equals(other.read())
        groups = [[file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)] for file in (one, other)]
        assert groups[0] == groups[1]


def test_a_disk_that_is_full_stops_the_writing(monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("there is no /dev/full")
    monkeypatch.setattr(encoding, "GROUP_ROWS", 100)
    schema = pa.schema([("row_id", pa.int64()), ("slots", pa.list_(pa.int64(), 2))])
    slots = pa.FixedSizeListArray.from_arrays(pa.array(np.random.default_rng(0).integers(0, 2**60, 200_000)), 2)
    batch = pa.record_batch([pa.array(np.arange(100_000)), slots], schema)

    def write() -> None:
        with EncodedWriter(full, schema) as writer:
            for _ in range(20):
                writer.write(batch)

    with pytest.raises(OSError, match="No space left"):
        write()


@pytest.mark.parametrize("longest", [3, 30])
def test_lists_of_dictionaries_are_encoded_as_lists_of_texts(longest: int) -> None:
    draw = np.random.default_rng(longest)
    codes = Vocabulary(pa.array([f"t{number}" for number in range(0, 40, 2)]))
    texts = [None, "", *(f"t{number}" for number in range(40))]
    chosen = [[texts[tag] for tag in draw.integers(0, len(texts), draw.integers(0, longest + 1))] for _ in range(3_000)]
    lists = pa.array([None if draw.random() < 0.1 else tags for tags in chosen], pa.list_(pa.string()))
    coded = pa.ListArray.from_arrays(lists.offsets, lists.values.dictionary_encode(), mask=lists.is_null())
    expected = np.array(codes.few_list_ids(lists.to_pylist(), 4), np.int64).T
    assert (codes.list_ids(lists, 4) == expected).all()
    assert (codes.list_ids(coded, 4) == expected).all()
    assert (codes.list_ids(coded.slice(1_000), 4) == expected[1_000:]).all()
    assert codes.list_ids(coded.slice(0, 0), 4).shape == (0, 4)
