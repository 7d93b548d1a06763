"""The real MiniLM, and tiny causal models, against the plain computation: one text at a time, no padding."""

import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from elec.device import choose_device
from elec.errors import InputError
from elec.llm.encoder import Encoder
from elec.llm.identity import model_folder
from elec.spec.learning import LlmSpec

TEXTS = [
    "Title is Toy Story. Release year is 1995. Genres is Animation, Comedy.",
    "",
    "Age is 24.",
    "a cat sat on the mat " * 30,
    "Title is Alien. Release year is 1979.",
]


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever calls a model hub fails the test."""
    monkeypatch.setattr(socket.socket, "connect", lambda *_: pytest.fail("the network was used"))


@pytest.fixture(scope="module")
def minilm() -> Encoder:
    return Encoder.load(LlmSpec(batch_size=3, max_tokens=64, precision="float32"), device="cpu")


def plainly(folder: Path, text: str, max_tokens: int) -> np.ndarray:
    """The mean of the last hidden states of one text."""
    from transformers import AutoModel, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    model = AutoModel.from_pretrained(folder, local_files_only=True, dtype=torch.float32).eval()
    tokens = tokenizer(text, truncation=True, max_length=max_tokens, return_tensors="pt")["input_ids"]
    with torch.no_grad():
        return np.asarray(model(input_ids=tokens).last_hidden_state[0].mean(0).numpy())


def test_minilm_equals_the_plain_mean(minilm: Encoder) -> None:
    vectors = minilm.encode(TEXTS)
    assert vectors.shape == (5, 384)
    assert vectors.dtype == np.float32
    folder = model_folder("all-MiniLM-L6-v2")
    for text, vector in zip(TEXTS, vectors, strict=True):
        np.testing.assert_allclose(vector, plainly(folder, text, 64), atol=2e-5)


def test_minilm_knows_what_is_alike(minilm: Encoder) -> None:
    vectors = minilm.encode(["a cartoon for children", "an animated film for kids", "a war documentary"])
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.2


def test_a_vector_depends_on_its_text_only(minilm: Encoder) -> None:
    np.testing.assert_allclose(minilm.encode(TEXTS)[[2]], minilm.encode([TEXTS[2]]), atol=2e-5)
    counts: list[int] = []
    minilm.encode(TEXTS, done=counts.append)
    assert counts == [3, 2]
    assert minilm.encode([]).shape == (0, 384)


@pytest.mark.parametrize("kind", ["llama", "qwen2"])
def test_causal_models_by_folder(kind: str, causal_folder: Callable[[str], Path]) -> None:
    folder = causal_folder(kind)
    # 64 positions, though the settings would allow more tokens.
    encoder = Encoder.load(LlmSpec(name=str(folder), batch_size=4, max_tokens=512, precision="float32"), device="cpu")
    done: list[int] = []
    vectors = encoder.encode(TEXTS, done=done.append)
    assert vectors.shape == (5, 32)
    assert sum(done) == 5
    # Without a token there is nothing to take the mean of.
    assert not vectors[1].any()
    for place in (0, 2, 3, 4):
        np.testing.assert_allclose(vectors[place], plainly(folder, TEXTS[place], 64), atol=1e-5)


def test_the_model_is_frozen(minilm: Encoder) -> None:
    assert not any(parameter.requires_grad for parameter in minilm._model.parameters())
    assert not minilm._model.training


def test_folders_that_cannot_be_loaded(tmp_path: Path, causal_folder: Callable[[str], Path]) -> None:
    whole = causal_folder("llama")
    cut = tmp_path / "cut"
    shutil.copytree(whole, cut)
    (cut / "model.safetensors").write_bytes((whole / "model.safetensors").read_bytes()[:100])
    with pytest.raises(InputError, match=r"cut': cannot be loaded"):
        Encoder.load(LlmSpec(name=str(cut)))
    code = tmp_path / "code"
    shutil.copytree(whole, code)
    ran = tmp_path / "ran"
    (code / "own.py").write_text(f"open({str(ran)!r}, 'w')\nclass Own: ...\n")
    (code / "config.json").write_text('{"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.Own"}}')
    with pytest.raises(InputError, match="cannot be loaded"):
        Encoder.load(LlmSpec(name=str(code)))
    assert not ran.exists()


def test_models_that_would_load_and_mean_nothing(tmp_path: Path, causal_folder: Callable[[str], Path]) -> None:
    from safetensors.torch import load_file, save_file

    whole = causal_folder("llama")
    partial, foreign = tmp_path / "partial", tmp_path / "foreign"
    shutil.copytree(whole, partial)
    weights = load_file(whole / "model.safetensors")
    weights.pop("model.layers.1.mlp.up_proj.weight")
    save_file(weights, partial / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(InputError, match=r"1 weights are missing \(layers.1.mlp.up_proj.weight"):
        Encoder.load(LlmSpec(name=str(partial)))
    shutil.copytree(whole, foreign)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(model_folder("all-MiniLM-L6-v2") / name, foreign / name)
    with pytest.raises(InputError, match="the model knows 18; give the model's own tokenizer"):
        Encoder.load(LlmSpec(name=str(foreign)))


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert choose_device("auto").type == "cpu"
    with pytest.raises(InputError, match="no GPU"):
        choose_device("cuda")
    with pytest.raises(InputError, match="use auto, cpu or cuda"):
        choose_device("tpu")


def test_cuda_gives_nearly_the_same_vectors(minilm: Encoder) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a GPU")
    found: Any = Encoder.load(LlmSpec(max_tokens=64), device="cuda").encode(TEXTS)
    expected = minilm.encode(TEXTS)
    cosine = (found * expected).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(expected, axis=1)
    assert cosine.min() > 0.999
