"""Crossed fields of pairs that were never shown: as the encoder would have them, as far as ids tell."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from elec.features import MISSING, OUT_OF_VOCABULARY, PADDING, FeatureEncoder
from elec.features.raw import TYPES
from elec.spec import DatasetSpec
from elec.training.crossed_pairs import CrossedPairs

SPEC = DatasetSpec.model_validate(
    {
        "name": "d",
        "source": {"path": "/x.csv"},
        "label": {"column": "c"},
        "timestamp": {"column": "t"},
        "user": "user",
        "item": "item",
        "fields": [
            {"name": "age", "of": "user", "kind": "numeric", "buckets": 3},
            {"name": "category", "of": "item"},
            {"name": "brand", "of": "item", "hash_buckets": 9},
            {"name": "tags", "of": "item", "kind": "multivalued", "max_values": 4},
        ],
        "crossed": [
            ["age", "category"],
            {"fields": ["user", "category"], "hash_buckets": 50},
            ["user", "brand"],
            {"fields": ["item", "category"], "name": "of_the_item"},
            {"fields": ["age", "tags"], "min_count": 1},
            {"fields": ["tags", "user"], "hash_buckets": 50, "max_values": 2},
        ],
    }
)


def rows(count: int, seed: int, *, rare: bool) -> pa.Table:
    draw = np.random.default_rng(seed)
    users = [f"u{one}" for one in draw.integers(0, 9 if rare else 5, count)]
    columns = {
        "user": users,
        "item": [f"i{one}" for one in draw.integers(0, 6, count)],
        "age": [None if one < 10 else float(one) for one in draw.integers(0, 60, count)],
        "category": [None if one == 0 else f"c{one}" for one in draw.integers(0, 9 if rare else 5, count)],
        "brand": [f"b{one}" for one in draw.integers(0, 4, count)],
        "tags": [[f"t{tag}" for tag in range(one, one + one % 4)] for one in draw.integers(0, 15 if rare else 10, count)],
    }
    return pa.table({field.name: pa.array(columns[field.name], TYPES[field.kind]) for field in SPEC.all_fields})


def test_the_fields_of_a_pair_are_those_that_the_encoder_gives(tmp_path: Path) -> None:
    pq.write_table(rows(300, 1, rare=False), tmp_path / "train.parquet")
    encoder = FeatureEncoder.fit(SPEC, tmp_path / "train.parquet")
    encoder.save(tmp_path / "vocabulary")
    table = rows(500, 2, rare=True)
    slots = encoder.encode(table)
    blank = torch.from_numpy(slots).clone()
    names = [field.name for field in encoder.fields]
    starts = np.cumsum([0, *(field.width for field in encoder.fields)]).tolist()
    of_pair = [starts[names.index(name)] for name in ("age_x_category", "user_x_category", "user_x_brand")]
    of_lists = [slice(*starts[names.index(name) :][:2]) for name in ("age_x_tags", "tags_x_user")]
    blank[:, of_pair] = MISSING
    for of_list in of_lists:
        blank[:, of_list] = MISSING
    before = blank.clone()
    found = CrossedPairs.of_rows(tmp_path / "encoded" / "train.parquet").filled(blank)
    assert torch.equal(blank, before)
    learned, hashed, of_hashed = (found[:, place].numpy() for place in of_pair)
    np.testing.assert_array_equal(learned, slots[:, of_pair[0]])
    assert {MISSING, OUT_OF_VOCABULARY} < set(learned.tolist())
    # A hashed combination of a value that the vocabulary does not have cannot be told.
    known = (slots[:, starts[names.index("user")]] != OUT_OF_VOCABULARY) & (
        slots[:, starts[names.index("category")]] != OUT_OF_VOCABULARY
    )
    np.testing.assert_array_equal(hashed[known], slots[known, of_pair[1]])
    assert set(hashed[~known].tolist()) == {MISSING}
    assert set(of_hashed.tolist()) == {MISSING}
    tags = slots[:, slice(*starts[names.index("tags") :][:2])]
    learned, hashed = (found[:, of_list].numpy() for of_list in of_lists)
    np.testing.assert_array_equal(learned, slots[:, of_lists[0]])
    assert {PADDING, MISSING, OUT_OF_VOCABULARY} < set(learned.ravel().tolist())
    known = (slots[:, starts[names.index("user")]] != OUT_OF_VOCABULARY) & (tags != OUT_OF_VOCABULARY).all(axis=1)
    np.testing.assert_array_equal(hashed[known], slots[known, of_lists[1]])
    others = list(range(starts[names.index("age_x_category")]))
    np.testing.assert_array_equal(found[:, others].numpy(), slots[:, others])


def test_without_crossed_fields_nothing_is_copied(tmp_path: Path) -> None:
    plain = SPEC.model_copy(update={"crossed": ()})
    pq.write_table(rows(50, 1, rare=False), tmp_path / "train.parquet")
    slots = torch.ones(3, 5, dtype=torch.int64)
    assert CrossedPairs(FeatureEncoder.fit(plain, tmp_path / "train.parquet")).filled(slots) is slots
