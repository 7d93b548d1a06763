"""Warm start: a training begins with what the champion knows.

The champion's table and the new one number their rows differently: vocabularies are sorted by count, and counts move from
window to window. Rows are matched by the value that they stand for. A value that is new gets a fresh row, one that is gone is
dropped, and a numeric or hashed field keeps its rows only if its buckets are the same. Dense weights are copied where their
shapes are equal. The optimiser starts fresh.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from elec.errors import InputError
from elec.features import FeatureEncoder
from elec.features.buckets import Buckets
from elec.features.crossed import CrossedVocabulary
from elec.features.encoder_state import Code
from elec.features.hashed import HashBuckets
from elec.features.ids import FIRST_VALUE, OUT_OF_VOCABULARY
from elec.features.vocabulary import Vocabulary
from elec.models import Embedding
from elec.spec import CrossedField
from elec.spec.learning import ModelSpec
from elec.students.knowledge import CODEBOOKS, PROJECTION
from elec.training.checkpoint import load_record

#: A row of the new table that no row of the champion's stands behind.
_NEW = -1


@dataclass(frozen=True)
class WarmStart:
    """A champion to start from.

    Attributes:
        folder: Its weights (`<network>.safetensors`) and `model.json`.
        row_V: int64, for each row of the new table the champion's row of the same value, or -1.
    """

    folder: Path
    row_V: npt.NDArray[np.int64]

    @torch.no_grad()
    def begin(self, name: str, network: nn.Module) -> None:
        """Copies what the champion's network of this name knows into a fresh one.

        Args:
            name: `vanilla`, `gain` or `plain`.
            network: The fresh one.

        Raises:
            InputError: If the champion's weights cannot be read.
        """
        path = self.folder / f"{name}.safetensors"
        try:
            known = load_file(path)
        except (OSError, SafetensorError) as error:
            raise InputError(f"{path}: cannot be read ({error}); set run.distill.warm_start to false") from None
        tables = {f"{where}.table.weight" for where, module in network.named_modules() if isinstance(module, Embedding)}
        kept_V = torch.from_numpy(np.flatnonzero(self.row_V != _NEW))
        source_V = torch.from_numpy(self.row_V)[kept_V]
        for where, parameter in network.named_parameters():
            before = known.get(where)
            if before is None:
                continue
            if where in tables:
                parameter[kept_V] = before[source_V].to(parameter)
            elif before.shape == parameter.shape:
                parameter.copy_(before)


def warm_start(
    folder: Path,
    vocabulary: Path,
    model: ModelSpec,
    *,
    vector_size: int = 0,
    semantic: Sequence[str] = (),
    knowledge: Path | None = None,
) -> tuple[WarmStart | None, str]:
    """Finds out whether a training can start from a champion.

    Args:
        folder: The champion's weights, `model.json` and `vocabulary/`, with the projection and codebooks that it reads.
        vocabulary: Of the new training.
        model: Of the new training.
        vector_size: Of the new training's text vectors.
        semantic: Fields that hold semantic ids; with other codebooks than the champion's their codes mean something else.
        knowledge: Folder of the new training's projection and codebooks; None for a student that reads neither.

    Returns:
        What to start from, or None to start fresh; and a sentence that says which, and why.
    """
    if not (folder / "model.json").is_file():
        return None, "starts fresh: the champion's weights were not kept beside its bundle"
    try:
        record, old = load_record(folder), FeatureEncoder.load(folder / "vocabulary")
    except InputError as error:
        return None, f"starts fresh: {error}"
    new = FeatureEncoder.load(vocabulary)
    # Dropout is no weight.
    if record.model.model_copy(update={"dropout": model.dropout}) != model:
        return None, f"starts fresh: the champion is another model ({_changes(record.model, model)})"
    if _what_it_reads(old) != _what_it_reads(new):
        return None, f"starts fresh: the champion reads other fields ({_names(old)}; now {_names(new)})"
    if record.vector_size != vector_size:
        return None, f"starts fresh: the champion reads text vectors of {record.vector_size} numbers, this one of {vector_size}"
    if vector_size and not _same(folder, knowledge, PROJECTION):
        return None, "starts fresh: the champion reads text vectors of another projection"
    row_V = matching_rows(old, new, () if _same(folder, knowledge, CODEBOOKS) else semantic)
    return WarmStart(folder, row_V), (
        f"starts from the champion: {np.count_nonzero(row_V != _NEW):,} of {len(row_V):,} embedding rows are known to it"
    )


def matching_rows(old: FeatureEncoder, new: FeatureEncoder, refit: Sequence[str] = ()) -> npt.NDArray[np.int64]:
    """For each row of the new table the old table's row of the same field and value, or -1; int64 [V].

    Args:
        old: Has the same fields in the same order.
        new: Numbers the rows of the result.
        refit: Fields whose values have a new meaning; only padding, missing and out of vocabulary keep theirs.
    """
    parts, start = [], 0
    for before, after, field in zip(old.codes, new.codes, new.fields, strict=True):
        part = np.full(after.size, _NEW, dtype=np.int64)
        part[:FIRST_VALUE] = np.arange(FIRST_VALUE)
        if field.name not in refit:
            part[FIRST_VALUE:] = _ids_before(before, after)
        parts.append(np.where(part == _NEW, _NEW, part + start))
        start += before.size
    return np.concatenate(parts)


def _ids_before(before: Code, after: Code) -> npt.NDArray[np.int64]:
    """The ids that a field's values had before; -1 for a value that was not there."""
    if isinstance(before, Vocabulary) and isinstance(after, Vocabulary):
        found = before.ids(after.values)
        return np.where(found == OUT_OF_VOCABULARY, _NEW, found)
    if isinstance(before, CrossedVocabulary) and isinstance(after, CrossedVocabulary):
        found = before.of_hashes(after.hashes)
        return np.where(found == OUT_OF_VOCABULARY, _NEW, found)
    if isinstance(before, Buckets | HashBuckets) and before == after:
        return np.arange(FIRST_VALUE, after.size, dtype=np.int64)
    return np.full(after.size - FIRST_VALUE, _NEW, dtype=np.int64)


def _same(champion: Path, knowledge: Path | None, name: str) -> bool:
    """Whether a file of the champion's knowledge is the new training's, too."""
    files = [folder / name for folder in (champion, knowledge) if folder is not None]
    return len(files) == 2 and all(path.is_file() for path in files) and files[0].read_bytes() == files[1].read_bytes()


def _changes(before: ModelSpec, after: ModelSpec) -> str:
    was, now = before.model_dump(), after.model_dump()
    return ", ".join(f"{name} {was[name]}, now {now[name]}" for name in now if was[name] != now[name] and name != "dropout")


def _what_it_reads(encoder: FeatureEncoder) -> list[tuple[object, ...]]:
    """The fields, and of crossed ones what they are made of."""
    return [
        (spec.name, spec.width, spec.kind, spec.parents if isinstance(spec, CrossedField) else None) for spec in encoder.specs
    ]


def _names(encoder: FeatureEncoder) -> str:
    return ", ".join(f"{field.name} ({field.kind}, {field.width})" for field in encoder.fields)
