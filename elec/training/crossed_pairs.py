"""Crossed fields of pairs that no record shows: their ids follow from those of their parents."""

from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from elec.features import FeatureEncoder
from elec.features.crossed import CrossedVocabulary
from elec.features.hashed import NOTHING, HashBuckets
from elec.features.ids import FIRST_VALUE, MISSING, OUT_OF_VOCABULARY, PADDING
from elec.features.lookup_hash import Hashes, text_hash, text_hashes
from elec.features.vocabulary import Vocabulary
from elec.spec import CrossedField, Entity

# The hash of values that are out of vocabulary.
_UNKNOWN = np.uint64(text_hash(b"out of vocabulary"))


class CrossedPairs:
    """Computes the crossed fields of a user's and an item's together.

    A parent's id tells its value if the value is in its vocabulary, or its bucket. Of a value out of the parent's vocabulary
    a combination is out of its own vocabulary too, for it is as rare. Where the value cannot be told and would matter, of a
    hashed parent or in a hashed combination, the field is missing; of lists, the combinations with it are left out.

    Args:
        encoder: Of the rows.
    """

    def __init__(self, encoder: FeatureEncoder) -> None:
        fields = [spec for spec in encoder.specs if isinstance(spec, CrossedField) and spec.of is Entity.PAIR]
        slots = np.cumsum([0, *(spec.width for spec in encoder.specs)]).tolist()
        place_of = {spec.name: place for place, spec in enumerate(encoder.specs)}
        self._crossing = encoder.crossing(fields)
        places = [place_of[field.name] for field in fields]
        self._slots = [slot for place in places for slot in range(slots[place], slots[place + 1])]
        self._learned = [isinstance(encoder.codes[place], CrossedVocabulary) for place in places]
        self._slots_of = {name: slice(*slots[place_of[name] :][:2]) for name in self._crossing.parents}
        self._hashes: dict[str, Hashes] = {}
        self._unknown: set[str] = set()
        for name, parent in self._crossing.parents.items():
            code = encoder.codes[place_of[name]]
            if isinstance(code, Vocabulary):
                self._hashes[name] = np.concatenate([np.full(FIRST_VALUE, NOTHING), text_hashes(code.values)])
                self._unknown.add(name)
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
        columns = {name: slots_US[:, slots].cpu().numpy() for name, slots in self._slots_of.items()}
        found = np.concatenate([self._ids(columns, place) for place in range(len(self._learned))], axis=1)
        filled_US = slots_US.clone()
        filled_US[:, self._slots] = torch.from_numpy(found).to(slots_US.device)
        return filled_US

    def _ids(self, columns: dict[str, npt.NDArray[np.int64]], place: int) -> npt.NDArray[np.int64]:
        """The ids of one of the fields, int64 [U, W]."""
        field = self._crossing.fields[place]
        if any(name not in self._hashes for name in field.parents):
            ids_UW = np.full((len(columns[field.parents[0]]), field.width), PADDING, np.int64)
            ids_UW[:, 0] = MISSING
            return ids_UW
        hashes = {}
        for name in field.parents:
            hash_UW = self._hashes[name][columns[name]]
            if self._learned[place] and name in self._unknown:
                # No combination has this hash, so that all with it are out of vocabulary.
                hash_UW[columns[name] == OUT_OF_VOCABULARY] = _UNKNOWN
            # Values that cannot be told are left out of lists.
            order_UW = np.argsort(hash_UW == NOTHING, axis=1, kind="stable")
            hashes[name] = np.take_along_axis(hash_UW, order_UW, axis=1)
        return self._crossing.ids(hashes, place)
