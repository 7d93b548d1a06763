"""Small models and small folders of texts, made here."""

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

WORDS = ["a", "cat", "sat", "on", "the", "mat", "Title", "is", "Release", "year", "Genres", "Age", ".", ",", "Alien", "Comedy"]


@pytest.fixture(scope="session")
def causal_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Makes the folder of a tiny random causal model, with a tokenizer that has no padding token."""

    def make(kind: str) -> Path:
        import torch
        from tokenizers import ByteLevelBPETokenizer, Tokenizer, models, pre_tokenizers
        from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast, Qwen2Tokenizer

        folder = tmp_path_factory.mktemp(kind)
        if kind == "qwen2":
            trained = ByteLevelBPETokenizer()
            trained.train_from_iterator([" ".join(WORDS)], vocab_size=300, special_tokens=["<|endoftext|>"])
            trained.save_model(str(folder))
            tokenizer = Qwen2Tokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), pad_token=None)
        else:
            vocabulary = {word: number for number, word in enumerate(["<unk>", "</s>", *WORDS])}
            plain = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
            plain.pre_tokenizer = pre_tokenizers.Whitespace()
            tokenizer = PreTrainedTokenizerFast(tokenizer_object=plain, unk_token="<unk>", eos_token="</s>")
        tokenizer.save_pretrained(folder)
        config = AutoConfig.for_model(
            kind,
            vocab_size=len(tokenizer),
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=64,
        )
        torch.manual_seed(0)
        AutoModelForCausalLM.from_config(config).save_pretrained(folder)
        return folder

    return make


@pytest.fixture
def write_texts() -> Callable[..., Path]:
    """Writes `texts.parquet`, and rows if there are some; gives the folder."""

    def write(folder: Path, texts: Sequence[str], rows: dict[str, dict[str, Any]] | None = None) -> Path:
        (folder / "rows").mkdir(parents=True)
        keys = sorted(hashlib.sha256(text.encode()).hexdigest() for text in texts)
        by_key = {hashlib.sha256(text.encode()).hexdigest(): text for text in texts}
        pq.write_table(
            pa.table({"key": pa.array(keys, pa.string()), "text": pa.array([by_key[key] for key in keys], pa.string())}),
            folder / "texts.parquet",
        )
        for split, columns in (rows or {}).items():
            arrays = {
                name: pa.array(np.asarray(column, np.int64 if name == "row_id" else np.int32))
                for name, column in columns.items()
            }
            pq.write_table(pa.table(arrays), folder / "rows" / f"{split}.parquet")
        return folder

    return write
