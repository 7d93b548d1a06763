"""Crossed fields of pairs that no record shows: their ids follow from those of their parents."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from elec.features import FeatureEncoder
from elec.features.crossed import CrossedVocabulary
from elec.features.hashed import NOTHING, HashBuckets
from elec.features.ids import FIRST_VALUE, MISSING, OUT_OF_VOCABULARY
from elec.features.lookup_hash import Hashes, text_hashes
from elec.features.vocabulary import Vocabulary
from elec.spec import CrossedField, Entity


class CrossedPairs:
    """Computes the crossed fields of a user's and an item's together.

    A parent's id tells its value if the value is in its vocabulary, or its bucket. Of a value out of the parent's vocabulary
    a combination is out of its own vocabulary too, for it is as rare. Where the value cannot be told and would matter, of a
    hashed parent or in a hashed combination, the field is missing.

    Args:
        encoder: Of the rows.
    """

    def __init__(self, encoder: FeatureEncoder) -> None:
        fields = [spec for spec in encoder.specs if isinstance(spec, CrossedField) and spec.of is Entity.PAIR]
        slots = np.cumsum([0, *(spec.width for spec in encoder.specs)]).tolist()
        place_of = {spec.name: place for place, spec in enumerate(encoder.specs)}
        self._crossing = encoder.crossing(fields)
        self._slots = [slots[place_of[field.name]] for field in fields]
        self._learned = [isinstance(encoder.codes[place_of[field.name]], CrossedVocabulary) for field in fields]
        self._slot_of = {name: slots[place_of[name]] for name in self._crossing.parents}
        self._hashes: dict[str, Hashes] = {}
        self._unknown: dict[str, bool] = {}
        for name, parent in self._crossing.parents.items():
            code = encoder.codes[place_of[name]]
            self._unknown[name] = isinstance(code, Vocabulary)
            if isinstance(code, Vocabulary):
                self._hashes[name] = np.concatenate([np.full(FIRST_VALUE, NOTHING), text_hashes(code.values)])
            elif not isinstance(code, HashBuckets):
                self._hashes[name] = parent.bucket_hashes

    @classmethod
    def of_rows(cls, encoded: Path) -> "CrossedPairs":
        """Those of encoded rows, `encoded/<split>.parquet` with `vocabulary/` beside the folder."""
        return cls(FeatureEncoder.load(encoded.parent.parent / "vocabulary"))

    def filled(self, slots_US: torch.Tensor) -> torch.Tensor:
        """Encoded rows with their crossed fields put right.

        Args:
            slots_US: int64; those of the crossed fields are not read.
        """
        if not self._slots:
            return slots_US
        columns = {name: slots_US[:, slot].cpu().numpy() for name, slot in self._slot_of.items()}
        found = np.stack([self._ids(columns, place) for place in range(len(self._slots))], axis=1)
        filled_US = slots_US.clone()
        filled_US[:, self._slots] = torch.from_numpy(found).to(slots_US.device)
        return filled_US

    def _ids(self, columns: dict[str, npt.NDArray[np.int64]], place: int) -> npt.NDArray[np.int64]:
        """The ids of one of the fields, int64 [U]."""
        parents = self._crossing.fields[place].parents
        rows = len(columns[parents[0]])
        if any(name not in self._hashes for name in parents):
            return np.full(rows, MISSING, np.int64)
        ids_U = self._crossing.ids({name: self._hashes[name][columns[name]] for name in parents}, place)
        if not self._learned[place]:
            return ids_U
        rare_U, missing_U = np.zeros(rows, np.bool_), np.zeros(rows, np.bool_)
        for name in parents:
            missing_U |= columns[name] == MISSING
            if self._unknown[name]:
                rare_U |= columns[name] == OUT_OF_VOCABULARY
        ids_U[rare_U & ~missing_U] = OUT_OF_VOCABULARY
        return ids_U
