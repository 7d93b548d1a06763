"""The M-LLM (modified LLM): what ELEC adds to a frozen language model (section 3.2).

The LLM's pooled vectors are standardised; the *transformation layer* (an MLP) turns them into a representation; the
*prediction layer* turns that into a click-through rate. Only these two are trained.

With a text of the user u and one of the item i, the transformation layer reads [u, i, u * i, |u - i|, cos(u, i)]; with one
text of the whole record, as in the paper, it reads that text's vector.
"""

import itertools
import json
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn import functional

from elec.device import fast_bfloat16
from elec.errors import InputError
from elec.models.dropout import Dropout

SCHEMA_VERSION = 1


class MllmConfig(BaseModel):
    """What it takes to build an M-LLM.

    Attributes:
        llm_dim: Length of the LLM's vectors.
        roles: What the texts of a row are of: user and item, or sample.
        layers: Widths of the transformation layer; the last one is the representation's.
        dropout: Behind each of them.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    llm_dim: int
    roles: tuple[str, ...]
    layers: tuple[int, ...] = (512, 256, 128)
    dropout: float = 0.1


class MLLM(nn.Module):
    """Standardisation, transformation layer and prediction layer over the vectors of a frozen LLM.

    Args:
        llm_dim: H, the length of the LLM's vectors.
        roles: R, texts a row: 2 (user and item) or 1 (sample).
        layers: Widths of the transformation layer.
        dropout: Behind each of its layers, in training.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, llm_dim: int, roles: int, layers: tuple[int, ...] = (512, 256, 128), dropout: float = 0.1) -> None:
        super().__init__()
        if roles not in {1, 2}:
            raise ValueError(f"an M-LLM reads one or two texts a row, not {roles}")
        self.register_buffer("mean", torch.zeros(roles, llm_dim))
        self.register_buffer("std", torch.ones(roles, llm_dim))
        widths = [llm_dim if roles == 1 else 4 * llm_dim + 1, *layers]
        steps: list[nn.Module] = []
        for width_in, width_out in itertools.pairwise(widths):
            steps += [nn.Linear(width_in, width_out), nn.ReLU(), Dropout(dropout)]
        self.transformation = nn.Sequential(*steps)
        self.prediction = nn.Linear(widths[-1], 1)

    @property
    def representation_size(self) -> int:
        """D, the length of a representation."""
        return self.prediction.in_features

    def standardise(self, mean_RH: Tensor, variance_RH: Tensor) -> None:
        """Sets what vectors are standardised with; a dimension that never changes is only centred."""
        self.mean.copy_(mean_RH)
        std_RH = variance_RH.sqrt()
        self.std.copy_(torch.where(std_RH > 1e-6, std_RH, torch.ones_like(std_RH)))

    def forward(self, vectors_BRH: Tensor) -> tuple[Tensor, Tensor]:
        """Predicts.

        Args:
            vectors_BRH: float32 [B, R, H], as the LLM gave them.

        Returns:
            logit [B]; representation [B, D].
        """
        scaled_BRH = (vectors_BRH - self.mean) / self.std
        representation_BD = self.transformation(_joined(scaled_BRH))
        return self.prediction(representation_BD).squeeze(-1), representation_BD


def _joined(vectors_BRH: Tensor) -> Tensor:
    if vectors_BRH.shape[1] == 1:
        return vectors_BRH[:, 0]
    user_BH, item_BH = vectors_BRH.unbind(1)
    cosine_B1 = functional.cosine_similarity(user_BH, item_BH, dim=1).unsqueeze(1)
    return torch.cat([user_BH, item_BH, user_BH * item_BH, (user_BH - item_BH).abs(), cosine_B1], dim=1)


def save_mllm(mllm: MLLM, config: MllmConfig, facts: dict[str, Any], folder: Path) -> None:
    """Writes `mllm.safetensors` and `mllm.json`.

    Args:
        mllm: What was trained.
        config: How it is built.
        facts: What else there is to know: the curve, the seed, the LLM.
        folder: An existing folder.
    """
    save_file({name: tensor.cpu().contiguous() for name, tensor in mllm.state_dict().items()}, folder / "mllm.safetensors")
    content = {"schema_version": SCHEMA_VERSION, "config": config.model_dump(mode="json"), **facts}
    (folder / "mllm.json").write_text(json.dumps(content, indent=2), encoding="utf-8")


def load_mllm(folder: Path, *, device: torch.device | str = "cpu") -> MLLM:
    """Loads an M-LLM, frozen.

    Args:
        folder: With `mllm.safetensors` and `mllm.json`.
        device: Where to put it.

    Raises:
        InputError: If a file is missing, unreadable, or they do not go together.
    """
    try:
        content = json.loads((folder / "mllm.json").read_text(encoding="utf-8"))
        if content["schema_version"] != SCHEMA_VERSION:
            raise ValueError(f"schema_version {content['schema_version']} instead of {SCHEMA_VERSION}")
        config = MllmConfig.model_validate(content["config"])
        mllm = MLLM(config.llm_dim, len(config.roles), config.layers, config.dropout)
        mllm.load_state_dict(load_file(folder / "mllm.safetensors"))
    except (OSError, KeyError, TypeError, ValueError, RuntimeError, ValidationError, SafetensorError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{folder}: not an M-LLM that can be loaded ({reason}); adapt the LLM again") from error
    return mllm.requires_grad_(False).eval().to(device)


def vectors_of(matrix_TH: Tensor, texts_BR: Tensor) -> Tensor:
    """The vectors of a batch of rows.

    Args:
        matrix_TH: float16 [T, H], a vector a text.
        texts_BR: int64 [B, R], the rows' texts.

    Returns:
        float32 [B, R, H].
    """
    rows, roles = texts_BR.shape
    return matrix_TH.index_select(0, texts_BR.reshape(-1)).view(rows, roles, -1).float()


def half_where_fast(device: torch.device) -> AbstractContextManager[None]:
    """Inside, matrix products are in bfloat16 on devices that have it; on others everything stays float32.

    The vectors come from a store in float16, so the M-LLM loses nothing that its input has.

    Args:
        device: Where the M-LLM is.
    """
    return torch.autocast(device.type, torch.bfloat16, enabled=fast_bfloat16(device))


def as_tensor(array: np.ndarray, device: torch.device | str) -> Tensor:
    """An array on a device; memory that cannot be written to is copied."""
    return torch.from_numpy(array if array.flags.writeable else array.copy()).to(device)
