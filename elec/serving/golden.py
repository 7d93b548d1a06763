"""Golden records: rows of the test window and the scores they had in training. Whatever serves has to give the same."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa

from elec.errors import InputError
from elec.features.raw import TYPES
from elec.spec.fields import FieldSpec

#: Largest difference of a probability between training and serving.
TOLERANCE = 1e-5


class Golden:
    """Golden records.

    Args:
        records: N rows with a raw column for every field.
        scores: float64 [N], from the network in training.
        vectors: float32 [N, 2, V], the text vectors of user and item that training had; None for a student without.
        llm: float32 [N, L], the M-LLM's representations; None for a vanilla network.
    """

    def __init__(
        self, records: pa.Table, scores: np.ndarray, vectors: np.ndarray | None = None, llm: np.ndarray | None = None
    ) -> None:
        for part in (records.columns[0], vectors, llm):
            if part is not None and len(part) != len(scores):
                raise ValueError(f"{len(part)} records with {len(scores)} scores")
        self.records = records
        self.scores = scores
        self.vectors = vectors
        self.llm = llm

    def save(self, path: Path) -> None:
        """Writes the file."""
        content: dict[str, Any] = {"records": self.records.to_pydict(), "scores": self.scores.astype(np.float64)}
        for name, part in (("vectors", self.vectors), ("llm", self.llm)):
            if part is not None:
                content[name] = part.astype(np.float32)
        path.write_bytes(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_INDENT_2))

    @classmethod
    def load(cls, path: Path, fields: Sequence[FieldSpec], vector_size: int = 0, llm_size: int = 0) -> "Golden":
        """Reads the file.

        Args:
            path: The file.
            fields: What a record of the bundle has.
            vector_size: V, of its text vectors; 0 for none.
            llm_size: L, of the M-LLM's representations; 0 for none.

        Raises:
            InputError: If it is damaged, or its records do not have the bundle's fields and vectors.
        """
        try:
            content: Any = orjson.loads(path.read_bytes())
            columns = {field.name: pa.array(content["records"][field.name], TYPES[field.kind]) for field in fields}
            vectors = llm = None
            if vector_size:
                vectors = np.asarray(content["vectors"], dtype=np.float32).reshape(-1, 2, vector_size)
            if llm_size:
                llm = np.asarray(content["llm"], dtype=np.float32).reshape(-1, llm_size)
            return cls(pa.table(columns), np.asarray(content["scores"], dtype=np.float64), vectors, llm)
        except (orjson.JSONDecodeError, KeyError, TypeError, ValueError, pa.ArrowException) as error:
            raise InputError(f"{path}: not golden records of this model ({error}); publish the bundle anew") from None
