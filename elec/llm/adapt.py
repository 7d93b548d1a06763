"""Adapts the LLM to clicks: trains the M-LLM's transformation layer and prediction layer with the LLM frozen.

BCE, AdamW, early stopping on the validation rows' LogLoss. The LLM itself is not run: its vectors come from the store, once.
"""

import math
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import torch
from pydantic import BaseModel, ConfigDict
from torch import Tensor
from torch.nn import functional

from elec import storage
from elec.device import choose_device
from elec.errors import RunFailedError
from elec.evaluation.metrics import auc, logloss
from elec.llm.mllm import MLLM, MllmConfig, as_tensor, half_where_fast, save_mllm, vectors_of
from elec.llm.rows import read_rows
from elec.llm.vector_store import VectorStore
from elec.progress import Progress
from elec.spec import Spec
from elec.spec.learning import AdaptSpec

_ROWS_AT_ONCE = 8192


class Epoch(BaseModel):
    """One point of the learning curve."""

    model_config = ConfigDict(frozen=True)

    epoch: int
    train_loss: float
    valid_logloss: float
    valid_auc: float


class AdaptReport(BaseModel):
    """What came out.

    Attributes:
        rows: Trained on.
        texts: Whose vectors were used.
        best_epoch: The one that was kept.
        valid_logloss: Its LogLoss on the validation rows.
        valid_auc: Its AUC on the validation rows.
        curve: All epochs.
        device: Where it was trained.
        seconds: For everything.
    """

    model_config = ConfigDict(frozen=True)

    rows: int
    texts: int
    best_epoch: int
    valid_logloss: float
    valid_auc: float
    curve: tuple[Epoch, ...]
    device: str
    seconds: float


class _Part(NamedTuple):
    """Rows on the device: texts int64 [N, R], label float32 [N]."""

    texts: Tensor
    label: Tensor


def adapt(spec: Spec, texts: Path, features: Path, store: VectorStore, folder: Path, device: str = "auto") -> AdaptReport:
    """Trains the M-LLM on the train rows and keeps the epoch that is best on the validation rows.

    Args:
        spec: Settings and seed.
        texts: Folder of texts and rows.
        features: Folder with the encoded columns, for the labels.
        store: Vectors of all texts.
        folder: To be written: `mllm.safetensors`, `mllm.json`; complete, or absent.
        device: `auto`, `cpu` or `cuda`.

    Raises:
        InputError: If a text has no vector.
        RunFailedError: If the loss stops being a number.
        FileExistsError: If the folder holds something already.
    """
    started = time.monotonic()
    settings = spec.run.adapt
    place = choose_device(device)
    matrix = as_tensor(store.gather(pq.read_table(texts / "texts.parquet", columns=["key"])["key"]), place)
    rows = {split: read_rows(texts, features, split) for split in ("train", "valid")}
    train, valid = (
        _Part(as_tensor(part.texts.astype(np.int64), place), as_tensor(part.label, place)) for part in rows.values()
    )
    config = MllmConfig(llm_dim=matrix.shape[1], roles=rows["train"].roles, layers=settings.layers, dropout=settings.dropout)

    # Initial weights, dropout and the order of rows all come from the seed, and the caller's generator stays as it was.
    with torch.random.fork_rng(devices=[place] if place.type == "cuda" else []):
        torch.manual_seed(spec.run.seed)
        mllm = MLLM(config.llm_dim, len(config.roles), config.layers, config.dropout).to(place)
        _standardise(mllm, matrix, train.texts)
        curve, best = _train(mllm, matrix, train, valid, settings, math.log(spec.dataset.split.negatives))

    report = AdaptReport(
        rows=len(train.label),
        texts=len(matrix),
        best_epoch=best.epoch,
        valid_logloss=best.valid_logloss,
        valid_auc=best.valid_auc,
        curve=tuple(curve),
        device=place.type,
        seconds=round(time.monotonic() - started, 3),
    )
    facts = {
        "seed": spec.run.seed,
        "vectors": store.uri.rstrip("/").rsplit("/", 1)[-1],
        "settings": settings.model_dump(mode="json"),
        "best_epoch": best.epoch,
        "curve": [epoch.model_dump() for epoch in curve],
    }
    with storage.whole_folder(folder) as staging:
        save_mllm(mllm, config, facts, staging)
    return report


def _standardise(mllm: MLLM, matrix_TH: Tensor, texts_NR: Tensor) -> None:
    """Mean and variance of each role's texts in the train rows; every distinct text counts once, however often it is shown."""
    means, variances = [], []
    for role in range(texts_NR.shape[1]):
        total = torch.zeros(matrix_TH.shape[1], dtype=torch.float64, device=matrix_TH.device)
        squares = torch.zeros_like(total)
        seen = torch.bincount(texts_NR[:, role], minlength=len(matrix_TH)).nonzero().squeeze(1)
        for part in torch.split(seen, _ROWS_AT_ONCE):
            vectors = matrix_TH[part].double()
            total += vectors.sum(0)
            squares += vectors.square().sum(0)
        mean = total / len(seen)
        means.append(mean)
        variances.append((squares / len(seen) - mean.square()).clamp_min(0))
    mllm.standardise(torch.stack(means).float(), torch.stack(variances).float())


def _train(
    mllm: MLLM, matrix_TH: Tensor, train: _Part, valid: _Part, settings: AdaptSpec, correction: float
) -> tuple[list[Epoch], Epoch]:
    """Trains, and leaves the best epoch's weights in the M-LLM.

    Where the rows without a click are a sample, epochs are judged with the correction, and the weights stay the sample's: the
    M-LLM teaches networks that learn from the sample, and answers nobody.
    """
    optimiser = torch.optim.AdamW(mllm.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)
    rows = len(train.label)
    curve: list[Epoch] = []
    best: Epoch | None = None
    kept: dict[str, Tensor] = {}
    with Progress("adapt LLM", unit="rows", total=rows * settings.epochs) as progress:
        for number in range(1, settings.epochs + 1):
            mllm.train()
            total = torch.zeros((), device=matrix_TH.device)
            order = torch.randperm(rows, device=matrix_TH.device)
            for batch in torch.split(order, settings.batch_size):
                with half_where_fast(matrix_TH.device):
                    logit_B, _ = mllm(vectors_of(matrix_TH, train.texts[batch]))
                loss = functional.binary_cross_entropy_with_logits(logit_B.float(), train.label[batch])
                optimiser.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                optimiser.step()
                total += loss.detach() * len(batch)
                progress.advance(len(batch))
            epoch = _measured(number, float(total) / rows, mllm, matrix_TH, valid, correction)
            curve.append(epoch)
            progress.advance(0, note=f"epoch {number}: validation LogLoss {epoch.valid_logloss:.4f}, AUC {epoch.valid_auc:.4f}")
            if best is None or epoch.valid_logloss < best.valid_logloss:
                best = epoch
                kept = {name: tensor.clone() for name, tensor in mllm.state_dict().items()}
            elif number - best.epoch >= settings.patience:
                break
    assert best is not None
    mllm.load_state_dict(kept)
    mllm.eval()
    return curve, best


def _measured(number: int, train_loss: float, mllm: MLLM, matrix_TH: Tensor, valid: _Part, correction: float) -> Epoch:
    mllm.eval()
    with torch.inference_mode(), half_where_fast(matrix_TH.device):
        logits = [mllm(vectors_of(matrix_TH, part))[0] for part in torch.split(valid.texts, _ROWS_AT_ONCE)]
    probability = (torch.cat(logits).double() + correction).sigmoid().cpu().numpy()
    if not (math.isfinite(train_loss) and np.isfinite(probability).all()):
        raise RunFailedError(f"the M-LLM's loss is not a number after epoch {number}; lower adapt.learning_rate")
    label = valid.label.cpu().numpy()
    return Epoch(
        epoch=number,
        train_loss=train_loss,
        valid_logloss=logloss(label, probability),
        valid_auc=auc(label, probability),
    )
