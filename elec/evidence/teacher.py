"""The M-LLM of a cell: adapted once for each (sample, text, LLM, control, settings, seed), with its view of every row."""

import hashlib
import json
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import torch

from elec.evidence.arms import Source
from elec.evidence.prepared import Sample, once
from elec.llm import llm_id
from elec.llm.adapt import adapt
from elec.llm.mllm import MLLM, as_tensor, load_mllm, vectors_of
from elec.llm.representations import PairRepresentations, representations
from elec.llm.rows import read_texts
from elec.spec.run import RunSpec
from elec.storage import whole_folder

_ROWS_AT_ONCE = 8192


class Teacher:
    """An adapted M-LLM.

    Args:
        sample: Whose rows it reads.
        run: `text`, `llm`, `adapt` and `seed` count here.
        source: Whose vectors it reads.
    """

    def __init__(self, sample: Sample, run: RunSpec, source: Source) -> None:
        self._sample, self._run, self._source = sample, run, source
        self._texts = sample.texts(run.text)
        parts = [
            run.text.model_dump(mode="json"),
            run.adapt.model_dump(mode="json"),
            llm_id(run.llm),
            source,
            run.seed,
        ]
        key = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
        self.folder = sample.folder / f"teacher-{source}-{key}"
        self._vectors: npt.NDArray[np.float16] | None = None

    def make(self) -> None:
        """Adapts the LLM, unless that was done."""
        once(self.folder, self._adapt)

    @property
    def mllm(self) -> MLLM:
        """The M-LLM, frozen."""
        return load_mllm(self.folder / "mllm")

    def rows(self, split: str) -> npt.NDArray[np.float16]:
        """Representations of a split's rows, float16 [N, D], computed once."""
        path = self.folder / f"{split}.npy"
        if not path.exists():
            found = representations(self.mllm, self.vectors, self._texts / "rows" / f"{split}.parquet").astype(np.float16)
            with tempfile.NamedTemporaryFile(dir=self.folder, suffix=".tmp", delete=False) as file:
                np.save(file, found, allow_pickle=False)
            Path(file.name).replace(path)
        loaded: npt.NDArray[np.float16] = np.load(path, allow_pickle=False)
        return loaded

    def scores(self, split: str) -> npt.NDArray[np.float64]:
        """What the M-LLM alone predicts for a split's rows, float64 [N]."""
        mllm = self.mllm
        _, _, texts = read_texts(self._texts / "rows" / f"{split}.parquet")
        matrix = as_tensor(self.vectors, "cpu")
        found = []
        with torch.inference_mode():
            for start in range(0, len(texts), _ROWS_AT_ONCE):
                part = as_tensor(texts[start : start + _ROWS_AT_ONCE].astype(np.int64), "cpu")
                found.append(mllm(vectors_of(matrix, part))[0].double().sigmoid().numpy())
        return np.concatenate(found)

    def epochs(self) -> tuple[int, int]:
        """How many epochs were trained, and which of them was kept."""
        content = json.loads((self.folder / "mllm" / "mllm.json").read_text(encoding="utf-8"))
        return len(content["curve"]), int(content["best_epoch"])

    @property
    def pairs(self) -> PairRepresentations:
        """What represents pairs that are no rows."""
        return PairRepresentations(self.mllm, self.vectors)

    @property
    def vectors(self) -> npt.NDArray[np.float16]:
        """Of all texts, float16 [T, H], in the order of `texts.parquet`."""
        if self._vectors is None:
            keys = pq.read_table(self._texts / "texts.parquet", columns=["key"])["key"]
            self._vectors = self._sample.store(self._run, self._source).gather(keys)
        return self._vectors

    def _adapt(self, folder: Path) -> None:
        spec = self._sample.spec.model_copy(update={"run": self._run})
        store = self._sample.store(self._run, self._source)
        with whole_folder(folder) as written:
            adapt(spec, self._texts, self._sample.features, store, written / "mllm", device="cpu")
