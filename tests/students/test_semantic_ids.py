"""Semantic ids: similar vectors share prefixes, every level says more, and the codes are the same every time."""

from pathlib import Path

import numpy as np
import pytest

from elec.errors import InputError
from elec.students import semantic_ids
from elec.students.semantic_ids import Codebooks, field_names, prefixes


@pytest.fixture
def grouped() -> tuple[np.ndarray, np.ndarray]:
    """400 vectors in 4 groups of 5 sub-groups: vectors [400, 6], group * 5 + sub-group [400]."""
    draw = np.random.default_rng(0)
    group = draw.normal(0, 10, (4, 6))
    within = draw.normal(0, 1, (4, 5, 6))
    number = np.arange(400) % 20
    vectors = group[number // 5] + within[number // 5, number % 5] + draw.normal(0, 0.01, (400, 6))
    return vectors.astype(np.float32), number


def test_codes_go_from_coarse_to_fine(grouped: tuple[np.ndarray, np.ndarray]) -> None:
    vectors, number = grouped
    books = Codebooks.fit(vectors, 3, 4, seed=1)
    codes = books.assign(vectors)
    assert codes.shape == (400, 3)
    assert codes.dtype == np.int64
    # The first code is the group.
    assert len({(group, code) for group, code in zip(number // 5, codes[:, 0], strict=True)}) == 4
    shares = books.left_over(vectors, codes)
    assert shares[0] < 0.1
    assert shares[0] > shares[1] > shares[2]


def test_codes_are_the_nearest_centre_of_what_is_left(grouped: tuple[np.ndarray, np.ndarray]) -> None:
    vectors, _ = grouped
    books = Codebooks.fit(vectors, 2, 4, seed=1)
    codes = books.assign(vectors)
    for row in range(0, 400, 37):
        left = vectors[row].astype(np.float64)
        for level in range(2):
            distance = ((left - books.centres_LKV[level]) ** 2).sum(axis=1)
            assert codes[row, level] == distance.argmin()
            left = left - books.centres_LKV[level][codes[row, level]]


def test_the_same_seed_gives_the_same_centres(grouped: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    vectors, _ = grouped
    files = [tmp_path / "1", tmp_path / "2", tmp_path / "3"]
    for file, seed in zip(files, (1, 1, 2), strict=True):
        Codebooks.fit(vectors, 2, 7, seed).save(file)
    assert files[0].read_bytes() == files[1].read_bytes()
    assert files[0].read_bytes() != files[2].read_bytes()


def test_fewer_items_than_codes() -> None:
    vectors = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    repeated = np.concatenate([vectors, vectors])
    books = Codebooks.fit(repeated, 3, 64, seed=1)
    codes = books.assign(repeated)
    assert books.centres_LKV.shape == (3, 64, 5)
    assert len(set(codes[:3, 0])) == 3
    assert np.array_equal(codes[:3], codes[3:])
    # Nothing is left to say after the first level.
    assert (codes[:, 1:] == 0).all()
    # A centre that does not exist is never chosen, near to zero as its place holder may be.
    assert books.assign(np.full((1, 5), 1e-3, np.float32)).max() < 3


def test_no_variance_at_all() -> None:
    books = Codebooks.fit(np.zeros((10, 4), np.float32), 2, 8, seed=1)
    assert (books.assign(np.zeros((10, 4), np.float32)) == 0).all()


def test_new_items_get_the_codes_of_their_neighbours(grouped: tuple[np.ndarray, np.ndarray]) -> None:
    vectors, _ = grouped
    books = Codebooks.fit(vectors[:300], 2, 8, seed=1)
    before = books.assign(vectors[:300])
    new = books.assign(vectors[300:])
    assert np.array_equal(books.assign(vectors)[:300], before)
    # Row 300 + n is of the same sub-group as row 280 + n and as row n.
    assert (new[:20] == before[280:]).all(axis=1).mean() > 0.9


def test_a_sample_is_enough(grouped: tuple[np.ndarray, np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    vectors, number = grouped
    monkeypatch.setattr(semantic_ids, "_FITTED_AT_MOST", 100)
    monkeypatch.setattr(semantic_ids, "_ROWS_AT_ONCE", 33)
    codes = Codebooks.fit(vectors, 1, 4, seed=1).assign(vectors)
    assert len({(group, code) for group, code in zip(number // 5, codes[:, 0], strict=True)}) == 4


def test_prefixes_are_text() -> None:
    found = prefixes(np.array([[12, 3, 60], [0, 3, 1]]))
    assert [column.to_pylist() for column in found] == [["12", "0"], ["12-3", "0-3"], ["12-3-60", "0-3-1"]]
    assert list(field_names(2)) == ["semantic_id_1", "semantic_id_2"]


def test_save_and_load(grouped: tuple[np.ndarray, np.ndarray], tmp_path: Path) -> None:
    vectors, _ = grouped
    books = Codebooks.fit(vectors, 2, 4, seed=1)
    books.save(tmp_path / "codebooks.safetensors")
    assert np.array_equal(Codebooks.load(tmp_path / "codebooks.safetensors").assign(vectors), books.assign(vectors))
    with pytest.raises(InputError, match="no such file"):
        Codebooks.load(tmp_path / "other.safetensors")
