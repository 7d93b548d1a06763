"""Pairs of a user and an item that were never shown to each other: only the teacher says what it thinks of them.

The users are those of the batch's rows, as those rows saw them, so a user comes as often as it does in the log; each meets an
item that is drawn anew at every step. The student imitates the teacher on these pairs as it does on labelled ones, with
L_score (the pairs are a list of their own) and L_rep of Eq. 5, but there is no click to learn. Crosses of the user's fields and
the item's are those of the pair; what else is of both, such as their aggregates, is missing, for the log does not have it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch

from elec.features.encoding import EncodedField
from elec.features.ids import MISSING
from elec.models import GainNetwork, SiameseOutput, VanillaNetwork
from elec.spec import Entity
from elec.spec.learning import DistillSpec
from elec.training.crossed_pairs import CrossedPairs
from elec.training.data import Batch
from elec.training.losses import teaching_loss
from elec.training.parallel import gathered

_ROWS_READ_AT_ONCE = 65_536


class Represent(Protocol):
    """The M-LLM over pairs of texts."""

    def __call__(self, user_B: torch.Tensor, item_B: torch.Tensor) -> torch.Tensor:
        """The representations, float32 [B, L], of (texts of users int64 [B], texts of items int64 [B])."""

    def predict(self, representation_BD: torch.Tensor) -> torch.Tensor:
        """Its logits [B] of representations."""


@dataclass(frozen=True)
class Items:
    """The distinct items of the train rows, each as its last row has it.

    Attributes:
        row_I: int64, that row's position.
        shown_I: int64, how many rows the item has.
        slots_IS: int64, that row's encoded fields.
        vector_IV: The item's text vector, float32; None for students that read none.
    """

    row_I: npt.NDArray[np.int64]
    shown_I: npt.NDArray[np.int64]
    slots_IS: npt.NDArray[np.int64]
    vector_IV: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class PairTeacher:
    """What the M-LLM reads of pairs.

    Attributes:
        user_N: int64, the number of the user's text in every train row.
        item_N: int64, the number of the item's text in every train row.
        represent: The M-LLM; it takes such numbers.
    """

    user_N: npt.NDArray[np.int64]
    item_N: npt.NDArray[np.int64]
    represent: Represent


def read_items(frame: Path, item: str, encoded: Path, vectors: Path | None = None) -> Items:
    """Finds the distinct items of the train rows.

    Args:
        frame: `frame/train.parquet`; only one column of it is read.
        item: The column of the item's key.
        encoded: `encoded/train.parquet` of the student, the same rows; read block by block.
        vectors: `rows/train.npy`, float16 [N, 2, V], for a student that reads vectors.
    """
    keys = pq.read_table(frame, columns=[item])[item].combine_chunks()
    codes = pc.dictionary_encode(keys)
    code_N = codes.indices.to_numpy(zero_copy_only=False).astype(np.int64)
    row_I = np.empty(len(codes.dictionary), np.int64)
    row_I[code_N] = np.arange(len(code_N))  # A later row overwrites an earlier one.
    order_I = np.argsort(row_I)
    row_I, shown_I = row_I[order_I], np.bincount(code_N, minlength=len(row_I))[order_I]
    parts, start = [], 0
    with pq.ParquetFile(encoded) as file:
        for block in file.iter_batches(_ROWS_READ_AT_ONCE, columns=["slots"]):
            inside = row_I[np.searchsorted(row_I, start) : np.searchsorted(row_I, start + len(block))] - start
            flat = block.column("slots").flatten().to_numpy()
            parts.append(flat.reshape(len(block), -1)[inside])
            start += len(block)
    if start != len(code_N):
        raise ValueError(f"{encoded} has {start:,} rows, but {frame} has {len(code_N):,}")
    vector_IV = None
    if vectors is not None:
        vector_IV = np.load(vectors, mmap_mode="r", allow_pickle=False)[row_I, 1].astype(np.float32)
    return Items(row_I, shown_I, np.concatenate(parts), vector_IV)


class UnlabelledPairs:
    """Draws pairs and says how far the student is from the teacher on them.

    Args:
        fields: The encoded fields, in the order of their slots.
        settings: Share, weight and rule of the pairs; CLID and alpha of the loss.
        items: Those to draw from; of their slots, only those of item fields are read.
        device: Where the networks are.
        teacher: What the M-LLM reads of pairs; None where the gain network's teacher knows only the labels.
        crossed: Computes the crossed fields of pairs; without it they are missing.
    """

    def __init__(
        self,
        fields: Sequence[EncodedField],
        settings: DistillSpec,
        items: Items,
        device: torch.device,
        teacher: PairTeacher | None,
        crossed: CrossedPairs | None = None,
    ) -> None:
        of_item = [field.of is Entity.ITEM for field in fields for _ in range(field.width)]
        self._settings = settings
        of_pair = [field.of is Entity.PAIR for field in fields for _ in range(field.width)]
        self._of_item_S = torch.tensor(of_item, device=device)
        self._crossed = crossed
        self._of_pair_S = torch.tensor(of_pair, device=device)
        self._slots_IS = torch.from_numpy(items.slots_IS).to(device)
        self._vector_IV = torch.from_numpy(items.vector_IV).to(device) if items.vector_IV is not None else None
        self._teacher = teacher
        if teacher is not None:
            self._user_text_N = torch.from_numpy(teacher.user_N).to(device)
            self._item_text_I = torch.from_numpy(teacher.item_N[items.row_I]).to(device)
        # The item of a draw is the first whose share of all rows, summed from the first item on, exceeds a random number.
        weight_I = items.shown_I if settings.unlabelled.items == "popularity" else np.ones_like(items.shown_I)
        self._until_I = torch.from_numpy(np.cumsum(weight_I) / weight_I.sum()).to(device)

    def draw(self, batch: Batch) -> Batch:
        """Pairs of the batch's users with random items; they have no label that means anything.

        Torch's random numbers on the CPU decide, which the loop seeds at every step.

        Args:
            batch: With `index_B`.
        """
        rows = len(batch.label_B)
        place = batch.slots_BS.device
        pairs = max(1, round(self._settings.unlabelled.share * rows)) if rows else 0
        row_U = torch.arange(pairs, device=place) % max(rows, 1)
        random_U = torch.rand(pairs, dtype=torch.float64).to(place)
        item_U = torch.searchsorted(self._until_I, random_U, right=True).clamp(max=len(self._until_I) - 1)
        slots_US = torch.where(self._of_item_S, self._slots_IS[item_U], batch.slots_BS[row_U])
        slots_US = slots_US.masked_fill(self._of_pair_S, MISSING)
        if self._crossed is not None:
            slots_US = self._crossed.filled(slots_US)
        vectors_U2V = llm_UL = None
        if batch.vectors_B2V is not None:
            assert self._vector_IV is not None
            vectors_U2V = torch.stack([batch.vectors_B2V[row_U, 0], self._vector_IV[item_U]], dim=1)
        if self._teacher is not None:
            llm_UL = self._teacher.represent(self._user_text_N[batch.index_B[row_U]], self._item_text_I[item_U])
        return replace(
            batch,
            label_B=batch.label_B[row_U],
            slots_BS=slots_US,
            llm_BL=llm_UL,
            vectors_B2V=vectors_U2V,
            index_B=batch.index_B[row_U],
        )

    def loss(self, student: VanillaNetwork, gain: GainNetwork, batch: Batch) -> torch.Tensor:
        """How far the student is from its teacher on the pairs of a step, unweighted.

        Args:
            student: Gets the gradient.
            gain: Scores without dropout, and nothing of it is changed; not asked where the M-LLM is the teacher.
            batch: The step's labelled rows.
        """
        pairs, rule = self.draw(batch), self._settings.unlabelled
        learnt_U, learnt_UD = student(pairs.slots_BS, pairs.vectors_B2V)
        if rule.teacher == "mllm" and self._teacher is not None and pairs.llm_BL is not None:
            # It has no representation as wide as the student's, so there is no L_rep.
            taught_U, taught_UD = self._teacher.represent.predict(pairs.llm_BL), learnt_UD.detach()
        else:
            taught_U, taught_UD = _scored(gain, pairs)
        output = SiameseOutput(*gathered(taught_U, taught_UD, learnt_U, learnt_UD))
        return teaching_loss(
            output,
            clid_reduction=self._settings.clid,
            score_weight=self._settings.score_weight,
            alpha=self._settings.alpha,
        ).total


@torch.no_grad()
def _scored(gain: GainNetwork, pairs: Batch) -> tuple[torch.Tensor, torch.Tensor]:
    llm_UL = pairs.llm_BL if pairs.llm_BL is not None else pairs.label_B.new_zeros((len(pairs.label_B), 0))
    in_training = gain.training
    gain.eval()
    logit_U, representation_UD = gain(pairs.slots_BS, llm_UL, pairs.vectors_B2V)
    gain.train(in_training)
    return logit_U, representation_UD
