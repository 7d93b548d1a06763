"""The folders of the small shop."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from elec.llm import VectorStore
from elec.spec import parse_spec
from elec.text.textify import textify

from .made import SHOP, Shop, drawn, vector_of, write_features


@pytest.fixture
def make_shop(tmp_path: Path) -> Callable[..., Shop]:
    """Writes features, texts and vectors of rows by split, which are drawn where they are not given."""

    def make(
        name: str = "shop",
        train: list[dict[str, Any]] | None = None,
        valid: list[dict[str, Any]] | None = None,
        test: list[dict[str, Any]] | None = None,
        spec: str = SHOP,
    ) -> Shop:
        rows = {
            "train": drawn(1, 300, 0) if train is None else train,
            "valid": drawn(2, 60, 100) if valid is None else valid,
            "test": drawn(3, 60, 200, items=45, users=14) if test is None else test,
        }
        parsed = parse_spec(spec, origin="shop.yaml", folder=Path("/"))
        features, texts = tmp_path / name / "features", tmp_path / name / "texts"
        write_features(parsed, features, rows)
        textify(parsed, features, texts)
        store = VectorStore(tmp_path / name / "vectors", "made")
        table = pq.read_table(texts / "texts.parquet")
        store.add(table["key"].to_pylist(), np.stack([vector_of(text) for text in table["text"].to_pylist()]))
        return Shop(parsed, features, texts, store)

    return make
