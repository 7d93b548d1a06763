"""The projection: principal components of standardised vectors, one scale, the same every time."""

from pathlib import Path

import numpy as np
import pytest
from sklearn.decomposition import PCA

from elec.errors import InputError
from elec.students import projection
from elec.students.projection import Projection


@pytest.fixture
def vectors() -> np.ndarray:
    """500 vectors of 20 dimensions, one of them a thousand times as large as the others, one constant."""
    draw = np.random.default_rng(0)
    found = draw.normal(size=(500, 6)) @ draw.normal(size=(6, 20)) + draw.normal(size=(500, 20)) * 0.1 + 5.0
    found[:, 3] *= 1000.0
    found[:, 7] = 2.0
    return found.astype(np.float32)


def test_it_is_the_pca_of_the_standardised_vectors(vectors: np.ndarray) -> None:
    fitted = Projection.fit(vectors, 4)
    double = vectors.astype(np.float64)
    deviation = double.std(axis=0)
    standard = (double - double.mean(axis=0)) / np.where(deviation > 0, deviation, 1.0)
    reference = PCA(4, svd_solver="full").fit(standard)
    expected = reference.transform(standard)
    found = fitted.apply(vectors)
    sign = np.sign((found * expected).sum(axis=0))
    scale = np.sqrt((expected**2).mean())
    np.testing.assert_allclose(found, expected * sign / scale, atol=2e-4)
    assert fitted.explained == pytest.approx(reference.explained_variance_ratio_.sum(), abs=1e-6)


def test_the_scale_is_one_and_the_order_falls(vectors: np.ndarray) -> None:
    found = Projection.fit(vectors * 37.0, 4).apply(vectors * 37.0)
    deviation = found.std(axis=0)
    assert (found**2).mean() == pytest.approx(1.0, abs=1e-3)
    assert (np.diff(deviation) < 0).all()
    assert deviation[0] > 1.1 * deviation[-1]


def test_sign_is_fixed(vectors: np.ndarray) -> None:
    basis = Projection.fit(vectors, 4).basis_HV * vectors.std(axis=0)[:, None]
    assert (basis[np.abs(basis).argmax(axis=0), np.arange(4)] > 0).all()
    shuffled = Projection.fit(vectors[np.random.default_rng(1).permutation(500)], 4)
    np.testing.assert_allclose(shuffled.apply(vectors), Projection.fit(vectors, 4).apply(vectors), atol=1e-3)


def test_blocks_do_not_show(vectors: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Projection.fit(vectors, 4)
    monkeypatch.setattr(projection, "_ROWS_AT_ONCE", 7)
    parts = Projection.fit(vectors, 4)
    np.testing.assert_allclose(parts.apply(vectors), whole.apply(vectors), atol=1e-4)


def test_half_precision_is_summed_exactly() -> None:
    # 60,000 * 8 is beyond float16, and far beyond the integers that it holds.
    many = np.random.default_rng(0).normal(8.0, 1.0, (60_000, 3)).astype(np.float16)
    np.testing.assert_allclose(Projection.fit(many, 2).mean_H, many.astype(np.float64).mean(axis=0), atol=1e-6)


@pytest.mark.parametrize("count", [1, 3])
def test_fewer_texts_than_dimensions(count: int) -> None:
    few = np.random.default_rng(0).normal(size=(count, 10)).astype(np.float16)
    fitted = Projection.fit(few, 8)
    found = fitted.apply(few)
    assert found.shape == (count, 8)
    assert np.isfinite(found).all()
    assert (np.abs(fitted.basis_HV).max(axis=0) > 0).tolist() == [True] * (count - 1) + [False] * (8 - count + 1)


def test_save_and_load(vectors: np.ndarray, tmp_path: Path) -> None:
    fitted = Projection.fit(vectors, 4)
    fitted.save(tmp_path / "p.safetensors")
    loaded = Projection.load(tmp_path / "p.safetensors")
    assert np.array_equal(loaded.apply(vectors), fitted.apply(vectors))
    assert loaded.explained == fitted.explained


def test_what_cannot_be_read_says_so(tmp_path: Path) -> None:
    file = tmp_path / "p.safetensors"
    with pytest.raises(InputError, match="no such file"):
        Projection.load(file)
    file.write_bytes(b"not a tensor")
    with pytest.raises(InputError, match="cannot be read"):
        Projection.load(file)
    from safetensors.numpy import save_file

    save_file({"weights": np.ones(3, np.float32)}, file)
    with pytest.raises(InputError, match=r"holds \['weights'\]"):
        Projection.load(file)
