"""Text vectors brought to the size that a student reads: principal components of the items' texts, no labels.

Each dimension is standardised first, since in a causal model's states a few dimensions are far larger than all others and
would be all that the components see (Timkey and van Schijndel 2021, "All bark and no bite"). The components then share one
scale, which makes their mean variance 1: a network wants inputs of that size. One scale and not one for each: that would blow
the last components, which are mostly noise, up to the size of the first, and change every cosine.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from elec.errors import InputError

Floats = np.ndarray[Any, np.dtype[np.float32]]

_ROWS_AT_ONCE = 16_384
# Relative to the largest; below it a component is rounding.
_SMALLEST_VARIANCE = 1e-9


@dataclass(frozen=True)
class Projection:
    """(x - mean) @ basis.

    Attributes:
        mean_H: float32.
        basis_HV: float32; its last columns are zero where the texts have less than V components.
        explained: Share of the standardised variance that the components hold.
    """

    mean_H: Floats
    basis_HV: Floats
    explained: float

    @property
    def size(self) -> int:
        """V."""
        return int(self.basis_HV.shape[1])

    @classmethod
    def fit(cls, vectors_TH: np.ndarray[Any, Any], size: int) -> "Projection":
        """Finds the components; sums are in float64.

        Args:
            vectors_TH: Vectors of distinct texts, any float.
            size: V.
        """
        count, width = vectors_TH.shape
        blocks = range(0, count, _ROWS_AT_ONCE)
        mean_H = sum(
            (vectors_TH[start : start + _ROWS_AT_ONCE].sum(axis=0, dtype=np.float64) for start in blocks), np.zeros(width)
        ) / max(count, 1)
        covariance_HH = np.zeros((width, width))
        for start in blocks:
            centred = vectors_TH[start : start + _ROWS_AT_ONCE].astype(np.float64) - mean_H
            covariance_HH += centred.T @ centred
        covariance_HH /= max(count, 1)
        deviation_H = np.sqrt(np.diag(covariance_HH))
        varies = deviation_H > np.sqrt(_SMALLEST_VARIANCE) * max(deviation_H.max(initial=0.0), 1e-30)
        weight_H = np.where(varies, 1.0 / np.where(varies, deviation_H, 1.0), 0.0)
        variance_H, components_HH = np.linalg.eigh(covariance_HH * weight_H[:, None] * weight_H)
        # eigh gives rising variances.
        variance_K = variance_H[::-1][:size]
        components_HK = components_HH[:, ::-1][:, :size]
        kept = variance_K > _SMALLEST_VARIANCE * max(variance_K.max(initial=0.0), 1e-30)
        variance_K, components_HK = variance_K[kept], components_HK[:, kept]
        basis_HV = np.zeros((width, size))
        explained = 0.0
        if kept.any():
            # A component's sign is arbitrary; its largest weight is made positive.
            sign_K = np.sign(components_HK[np.abs(components_HK).argmax(axis=0), np.arange(components_HK.shape[1])])
            scale = np.sqrt(variance_K.mean())
            basis_HV[:, : components_HK.shape[1]] = weight_H[:, None] * components_HK * sign_K / scale
            explained = float(variance_K.sum() / variance_H.sum())
        return cls(mean_H.astype(np.float32), basis_HV.astype(np.float32), explained)

    def apply(self, vectors_NH: np.ndarray[Any, Any]) -> Floats:
        """Projects N vectors, float32 [N, V]."""
        found_NV = np.empty((len(vectors_NH), self.size), np.float32)
        for start in range(0, len(vectors_NH), _ROWS_AT_ONCE):
            part = slice(start, start + _ROWS_AT_ONCE)
            found_NV[part] = (vectors_NH[part].astype(np.float32) - self.mean_H) @ self.basis_HV
        return found_NV

    def save(self, file: Path) -> None:
        """Writes safetensors: `mean` [H], `basis` [H, V], `explained` [1]."""
        from safetensors.numpy import save_file

        explained = np.array([self.explained], np.float64)
        save_file({"mean": self.mean_H, "basis": np.ascontiguousarray(self.basis_HV), "explained": explained}, file)

    @classmethod
    def load(cls, file: Path) -> "Projection":
        """Reads what `save` wrote.

        Raises:
            InputError: If the file is not there or is no projection.
        """
        found = read_tensors(file, {"mean": 1, "basis": 2, "explained": 1})
        if found["mean"].shape[0] != found["basis"].shape[0]:
            raise InputError(f"{file}: `mean` and `basis` differ in length; take the file from a whole knowledge folder")
        return cls(found["mean"], found["basis"], float(found["explained"][0]))


def read_tensors(file: Path, dimensions: dict[str, int]) -> dict[str, np.ndarray[Any, Any]]:
    """Reads named tensors with so many dimensions each.

    Raises:
        InputError: If the file is not there, is no safetensors file, or holds other tensors.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        found: dict[str, np.ndarray[Any, Any]] = load_file(file)
    except FileNotFoundError:
        raise InputError(f"{file}: there is no such file; give a folder that build_knowledge wrote") from None
    except (OSError, SafetensorError) as error:
        raise InputError(f"{file}: cannot be read ({error}); take the file from a whole knowledge folder") from None
    if {name: tensor.ndim for name, tensor in found.items()} != dimensions:
        raise InputError(
            f"{file}: holds {sorted(found)} where {sorted(dimensions)} are expected; take it from a whole knowledge folder"
        )
    return found
