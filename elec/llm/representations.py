"""The M-LLM's representation of every row, for the gain network of the distillation."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch

from elec.llm.mllm import MLLM, as_tensor, vectors_of
from elec.llm.rows import read_texts
from elec.llm.vector_store import VectorStore
from elec.progress import Progress

_ROWS_AT_ONCE = 8192


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
    device = mllm.mean.device
    matrix = as_tensor(vectors, device)
    mllm.eval()
    with torch.inference_mode(), Progress("representations", unit="rows", total=len(texts)) as progress:
        for start in range(0, len(texts), _ROWS_AT_ONCE):
            part = as_tensor(texts[start : start + _ROWS_AT_ONCE].astype(np.int64), device)
            _, representation = mllm(vectors_of(matrix, part))
            found[start : start + len(part)] = representation.float().cpu().numpy()
            progress.advance(len(part))
    return found


def representations_of(
    mllm: MLLM, texts: Path, store: VectorStore, splits: Iterable[str] = ("train", "valid", "test")
) -> dict[str, np.ndarray]:
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
