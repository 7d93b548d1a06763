"""What the LLM knows of items and users, as a student may read it without the LLM: semantic ids and text vectors."""

import time
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import BaseModel, ConfigDict

from elec.errors import InputError
from elec.ingest.report import SPLITS
from elec.spec import Spec
from elec.spec.learning import StudentSpec
from elec.storage import whole_folder
from elec.students.item_texts import ItemTexts
from elec.students.projection import Floats, Projection
from elec.students.semantic_fields import write_encoded
from elec.students.semantic_ids import Codebooks, Codes, prefixes
from elec.students.user_vectors import UserVectors, vector_column

PROJECTION = "projection.safetensors"
CODEBOOKS = "codebooks.safetensors"


class Vectors(Protocol):
    """Where vectors come from: a vector store, or a control in its place."""

    def gather(self, keys: pa.Array) -> np.ndarray[Any, Any]:
        """The vectors of n texts by key, float16 [n, H]."""


class KnowledgeReport(BaseModel):
    """What was made.

    Attributes:
        items: Items with codes and a vector.
        item_texts: Their distinct texts.
        users: Users with a vector, that is with a click.
        rows: By split.
        rows_with_history: By split, the share of rows whose user has a vector.
        reused: Whether projection and codebooks are those of an earlier run.
        explained: Share of the standardised variance of the item texts, of the run that fit the projection, that the
            vectors keep.
        left_over: After each level, the share of the vectors' squared length that the codes so far do not say.
        prefixes: Distinct prefixes of each level.
        vocabulary: Ids of each semantic field, those of padding, missing and out of vocabulary included.
        out_of_vocabulary: By split and semantic field, the share of rows with a prefix that training did not know.
        seconds: Of all of it.
    """

    model_config = ConfigDict(frozen=True)

    items: int
    item_texts: int
    users: int
    rows: dict[str, int]
    rows_with_history: dict[str, float]
    reused: bool
    explained: float
    left_over: tuple[float, ...]
    prefixes: tuple[int, ...]
    vocabulary: dict[str, int]
    out_of_vocabulary: dict[str, dict[str, float]]
    seconds: float


def build_knowledge(
    spec: Spec, features: Path, texts: Path, store: Vectors, folder: Path, *, earlier: Path | None = None
) -> KnowledgeReport:
    """Makes semantic ids and text vectors of items, users and rows.

    Writes `items.parquet`, `users.parquet`, `rows/<split>.npy`, `encoded/`, `vocabulary/`, `projection.safetensors`,
    `codebooks.safetensors` and `report.json`.

    Args:
        spec: The data set; `run.student` and `run.seed` count here.
        features: Folder of the features: `frame/`, `encoded/`, `vocabulary/`.
        texts: Folder of the texts, per entity.
        store: Vectors of the texts. It is asked once, for all texts of items, so that a control may mix those up.
        folder: To write; complete, or absent.
        earlier: Folder with the projection and the codebooks of an earlier run. They are used as they are, so codes and
            vectors mean what they meant; without it they are fit on the items' texts.

    Returns:
        The report, also in `report.json`.

    Raises:
        InputError: If the texts are not per entity, an item's text has no vector, or `earlier` does not fit.
        FileExistsError: If the folder holds something already.
    """
    started = time.monotonic()
    dataset, settings = spec.dataset, spec.run.student
    frames = {split: features / "frame" / f"{split}.parquet" for split in SPLITS}
    shown = ItemTexts.read(texts, frames, dataset.item)
    with whole_folder(folder) as written:
        vectors_IH = store.gather(shown.keys)
        projection, codebooks, vectors_IV = _fit(settings, spec.run.seed, vectors_IH, earlier)
        del vectors_IH
        codes_IL = codebooks.assign(vectors_IV)
        names = prefixes(codes_IL)
        projection.save(written / PROJECTION)
        codebooks.save(written / CODEBOOKS)
        _write_items(written / "items.parquet", dataset.item, shown, codes_IL, vectors_IV)

        histories = UserVectors(frames, dataset.user, shown.of_row, vectors_IV, settings.history)
        users = histories.write_users(written / "users.parquet")
        with_history = histories.write_rows(written / "rows")
        vocabulary, unknown = write_encoded(features, written, shown.of_row, names)
        report = KnowledgeReport(
            items=len(shown.items),
            item_texts=len(shown.keys),
            users=users,
            rows={split: len(numbers) for split, numbers in shown.of_row.items()},
            rows_with_history=with_history,
            reused=earlier is not None,
            explained=projection.explained,
            left_over=codebooks.left_over(vectors_IV, codes_IL),
            prefixes=tuple(len(name.unique()) for name in names),
            vocabulary=vocabulary,
            out_of_vocabulary=unknown,
            seconds=round(time.monotonic() - started, 3),
        )
        (written / "report.json").write_text(report.model_dump_json(indent=2), encoding="utf-8")
    return report


def _fit(
    settings: StudentSpec, seed: int, vectors_IH: np.ndarray[Any, Any], earlier: Path | None
) -> tuple[Projection, Codebooks, Floats]:
    """Projection, codebooks and the projected vectors of the items' texts."""
    if earlier is None:
        projection = Projection.fit(vectors_IH, settings.vector_size)
        vectors_IV = projection.apply(vectors_IH)
        return projection, Codebooks.fit(vectors_IV, settings.levels, settings.codes, seed), vectors_IV
    projection, codebooks = Projection.load(earlier / PROJECTION), Codebooks.load(earlier / CODEBOOKS)
    found = (*projection.basis_HV.shape, *codebooks.centres_LKV.shape)
    wanted = (vectors_IH.shape[1], settings.vector_size, settings.levels, settings.codes, settings.vector_size)
    if found != wanted:
        raise InputError(
            f"{earlier}: holds (text size, vector_size, levels, codes, vector_size) = {found} where this run has {wanted}; "
            "put back the settings and the LLM, or leave the earlier folder out to fit anew"
        )
    return projection, codebooks, projection.apply(vectors_IH)


def _write_items(file: Path, key: str, shown: ItemTexts, codes_IL: Codes, vectors_IV: Floats) -> None:
    columns = {key: shown.items}
    for level, prefix in enumerate(prefixes(codes_IL[shown.of_item])):
        columns[f"code_{level + 1}"] = prefix
    pq.write_table(pa.table(columns | {"vector": vector_column(vectors_IV[shown.of_item])}), file)
