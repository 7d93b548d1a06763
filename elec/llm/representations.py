"""The M-LLM's representation of rows, and of pairs that are no rows, for the gain network of the distillation."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from elec.ingest.report import SPLITS
from elec.llm.mllm import MLLM, as_tensor, half_where_fast, vectors_of
from elec.llm.rows import read_texts
from elec.llm.vector_store import VectorStore
from elec.progress import Progress

_ROWS_AT_ONCE = 8192


class PairRepresentations:
    """Computes the representation of any user with any item, a batch at a time.

    Args:
        mllm: The M-LLM over texts of user and item, on the device to compute on.
        vectors: float16 [T, H], the vectors of all texts in the order of `texts.parquet`.
    """

    def __init__(self, mllm: MLLM, vectors: np.ndarray) -> None:
        self._mllm = mllm.eval()
        self._matrix_TH = as_tensor(vectors, mllm.mean.device)

    @torch.no_grad()
    def __call__(self, user_B: torch.Tensor, item_B: torch.Tensor) -> torch.Tensor:
        """Reads pairs.

        Args:
            user_B: int64, the numbers of the users' texts.
            item_B: int64, the numbers of the items' texts.

        Returns:
            representation_BD, float32.
        """
        texts_B2 = torch.stack([user_B, item_B], dim=1)
        with half_where_fast(self._matrix_TH.device):
            _, representation_BD = self._mllm(vectors_of(self._matrix_TH, texts_B2))
        return torch.as_tensor(representation_BD, dtype=torch.float32)

    @torch.no_grad()
    def predict(self, representation_BD: torch.Tensor) -> torch.Tensor:
        """The M-LLM's own logit_B of representations."""
        return torch.as_tensor(self._mllm.prediction(representation_BD)).squeeze(1)


def representations(mllm: MLLM, vectors: np.ndarray, rows: Path) -> np.ndarray:
    """Computes the representations of rows.

    Args:
        mllm: The M-LLM, on the device to compute on.
        vectors: float16 [T, H], the vectors of all texts in the order of `texts.parquet`.
        rows: `rows/<split>.parquet`.

    Returns:
        float32 [N, D], in the order of the rows.
    """
    _, _, texts = read_texts(rows)
    found = np.empty((len(texts), mllm.representation_size), dtype=np.float32)
    _fill(found, mllm, as_tensor(vectors, mllm.mean.device), texts)
    return found


def representations_of(mllm: MLLM, texts: Path, store: VectorStore, splits: Iterable[str] = SPLITS) -> dict[str, np.ndarray]:
    """Computes the representations of the rows of several splits.

    Args:
        mllm: The M-LLM, on the device to compute on.
        texts: Folder of texts and rows.
        store: Vectors of all texts.
        splits: Which.

    Returns:
        float32 [N, D] by split, in the order of the rows.
    """
    vectors = store.gather(pq.read_table(texts / "texts.parquet", columns=["key"])["key"])
    return {split: representations(mllm, vectors, texts / "rows" / f"{split}.parquet") for split in splits}


def write_representations(mllm: MLLM, texts: Path, store: VectorStore, folder: Path) -> dict[str, Path]:
    """Computes the representations of all rows into files, so that they need not fit in memory.

    Args:
        mllm: The M-LLM, on the device to compute on.
        texts: Folder of texts and rows.
        store: Vectors of all texts.
        folder: Made where it does not exist.

    Returns:
        By split a .npy file, float16 [N, D] in the order of the rows.
    """
    folder.mkdir(parents=True, exist_ok=True)
    vectors = store.gather(pq.read_table(texts / "texts.parquet", columns=["key"])["key"])
    matrix = as_tensor(vectors, mllm.mean.device)
    files = {split: folder / f"{split}.npy" for split in SPLITS}
    for split, file in files.items():
        _, _, numbers = read_texts(texts / "rows" / f"{split}.parquet")
        shape = (len(numbers), mllm.representation_size)
        written = np.lib.format.open_memmap(file, mode="w+", dtype=np.float16, shape=shape)
        _fill(written, mllm, matrix, numbers)
        written.flush()
    return files


def _fill(found: np.ndarray, mllm: MLLM, matrix_TH: torch.Tensor, texts: np.ndarray) -> None:
    device = matrix_TH.device
    largest = np.finfo(found.dtype).max
    mllm.eval()
    with (
        torch.inference_mode(),
        half_where_fast(device),
        Progress("representations", unit="rows", total=len(texts)) as progress,
    ):
        for start in range(0, len(texts), _ROWS_AT_ONCE):
            part = as_tensor(texts[start : start + _ROWS_AT_ONCE].astype(np.int64), device)
            _, representation = mllm(vectors_of(matrix_TH, part))
            # A number that float16 cannot hold would be infinite, and so would the gain network's loss.
            found[start : start + len(part)] = representation.float().clamp(max=float(largest)).cpu().numpy()
            progress.advance(len(part))
